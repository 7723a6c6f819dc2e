"""The networks that pictures are compared through: given as files, found where PyTorch keeps them, or told to be missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from evaluated_case import row, write_run
from feature_networks import WIDTH, Features, Logits, Unlike, Wrong, exported, scripted

from i2am.evaluation.compare.results import compare
from i2am.evaluation.digest import sha256_of
from i2am.evaluation.errors import EvaluationError
from i2am.evaluation.facts import Lacking, Mean, OfKind, Summary
from i2am.evaluation.metrics.networks import ALEXNET, INCEPTION_SCRIPT, INCEPTION_STATE, Lpips, features_of, lpips_of
from i2am.evaluation.run_folder import RunFolder
from i2am.evaluation.table import lines_of

GIVEN = torch.randint(0, 256, (5, 3, 24, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where PyTorch keeps weights, empty."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("form", ["script", "script with logits", pytest.param("export", marks=pytest.mark.slow)])
def test_a_given_network_gives_its_features(tmp_path: Path, form: str) -> None:
    network = Logits() if form == "script with logits" else Features()
    path = exported(network, tmp_path / "n.pt2", (24, 20)) if form == "export" else scripted(network, tmp_path / "n.pt")
    found = features_of(path)
    assert not isinstance(found, Lacking)
    features = found(GIVEN)
    assert features.dtype == torch.float64
    assert tuple(features.shape) == (5, WIDTH)
    with torch.no_grad():
        assert torch.allclose(features, Features()(GIVEN).double(), atol=1e-6)
    assert found.name == f"{path.name} ({sha256_of([path])[:8]})"


def test_a_given_distance_is_used(tmp_path: Path) -> None:
    found = lpips_of(scripted(Unlike(), tmp_path / "n.pt"))
    assert isinstance(found, Lpips)
    assert found(torch.ones(3, 8, 8), torch.zeros(3, 8, 8)) == 4


@pytest.mark.parametrize("what", [features_of, lpips_of])
def test_what_gives_something_else_is_refused(tmp_path: Path, what) -> None:  # type: ignore[no-untyped-def]
    found = what(scripted(Wrong(), tmp_path / "wrong.pt"))
    with pytest.raises(EvaluationError, match=r"wrong\.pt .* gave .*expected"):
        _ = found(GIVEN) if what is features_of else found(torch.zeros(3, 8, 8), torch.zeros(3, 8, 8))


def test_pictures_that_a_network_cannot_take_are_told(tmp_path: Path) -> None:
    found = features_of(scripted(Features(), tmp_path / "n.pt"))
    assert not isinstance(found, Lacking)
    with pytest.raises(EvaluationError, match=r"n\.pt .* cannot take pictures of shape \(2, 3, 2, 2\)"):
        found(torch.zeros(2, 3, 2, 2, dtype=torch.uint8))


@pytest.mark.parametrize("what", [features_of, lpips_of])
@pytest.mark.parametrize("name", ["no.pt", "pyproject.toml", "text.pt2"])
def test_a_file_that_is_no_network_is_refused(tmp_path: Path, what, name: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "text.pt2").write_text("nothing")
    (tmp_path / "pyproject.toml").write_text("nothing")
    with pytest.raises(EvaluationError, match=r"there is no|holds no network"):
        what(tmp_path / name)


def test_missing_weights_are_told_with_the_file_to_place(weights: Path) -> None:
    for found, name in ((features_of(), INCEPTION_SCRIPT), (lpips_of(), ALEXNET)):
        assert isinstance(found, Lacking)
        assert found.file == str(weights / name)
        assert found.file in found.reason


def test_what_is_missing_of_all_pairs_is_said_once(weights: Path) -> None:
    lpips, other = lpips_of(), Lacking(reason="another reason")
    assert isinstance(lpips, Lacking)
    kinds = {
        kind: OfKind(images=1, values={"ssim": Mean(mean=0.5, n=1)}, unavailable={"lpips": lpips, **more})
        for kind, more in (("paired", {}), ("unpaired", {"fid": other}))
    }
    told = [line for line in lines_of(Summary(kinds=kinds)) if "unavailable" in line and ":" in line]
    assert told == ["  unavailable: FID: another reason", f"unavailable, paired and unpaired: LPIPS: {lpips.reason}"]
    alone = [line for line in lines_of(Summary(kinds={"paired": kinds["paired"]})) if "unavailable" in line]
    assert alone == [f"  unavailable: LPIPS: {lpips.reason}"]


def test_the_file_to_place_is_told_once_in_a_comparison(weights: Path, tmp_path: Path) -> None:
    lpips = lpips_of()
    assert isinstance(lpips, Lacking)
    folder = write_run(tmp_path / "a", [row("x", ssim=0.5)], pictures=True)
    RunFolder(folder).write_summary(Summary(kinds={"paired": OfKind(images=1, unavailable={"lpips": lpips})}))
    (line,) = compare([str(folder)]).table.lines
    assert [why for column, why in line.missing.items() if column.name == "lpips (paired)"] == [lpips.reason]
    assert lpips.reason.count(str(weights / ALEXNET)) == 1


def test_the_usual_network_is_found_in_its_place(weights: Path) -> None:
    scripted(Logits(), weights / INCEPTION_SCRIPT)
    found = features_of()
    assert not isinstance(found, Lacking)
    assert tuple(found(GIVEN).shape) == (5, WIDTH)


def test_packages_that_are_missing_are_told(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from i2am.evaluation.metrics import networks

    monkeypatch.setattr(networks, "find_spec", lambda _: None)
    (weights / ALEXNET).touch()
    (weights / INCEPTION_STATE).touch()
    lpips, features = lpips_of(), features_of()
    assert isinstance(lpips, Lacking)
    assert "torchvision" in lpips.reason
    assert isinstance(features, Lacking)
    assert "torch-fidelity is installed" in features.reason
    with pytest.raises(EvaluationError, match="pip install torch-fidelity"):
        features_of(weights / INCEPTION_STATE)


def test_a_path_is_told_from_home_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from i2am.evaluation.metrics.networks import told

    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert told(tmp_path / "a" / "b") == str(Path("~") / "a" / "b")
    assert told(Path("/elsewhere")) == "/elsewhere"
