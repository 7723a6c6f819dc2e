"""`i2am run` from files: what it refuses before the first step, what it says, and what it leaves when something fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import paper_models as paper
import pytest
import torch
from paper_runs import SIDE, SIZES, given_to, picture
from PIL import Image
from safetensors.torch import save_file
from small_pictures import make_small
from torch import Tensor

from i2am.commands.cli import main
from i2am.hosts.diffusers import tryon
from i2am.maps.value import AttributionMaps
from i2am.models.tryon import model as tryon_model
from i2am.models.tryon.model import TryOnModel


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "dci-vton.safetensors"
    save_file({k: v.contiguous() for k, v in paper.checkpoint("dci-vton", SIZES).items()}, path)
    return path


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of small pictures."""
    make_small(monkeypatch)


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The timesteps of all evaluations of the U-Net."""
    out: list[int] = []
    real = TryOnModel.predict

    def predict(self: TryOnModel, x: Tensor, known: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        out.append(int(t))
        return real(self, x, known, t, tokens)

    monkeypatch.setattr(TryOnModel, "predict", predict)
    return out


def saved(value: Tensor, path: Path) -> Path:
    Image.fromarray((value[0] * 255).round().to(torch.uint8).numpy()).save(path)
    return path


@pytest.fixture
def given(weights: Path, tmp_path: Path) -> dict[str, Path]:
    """The arguments of a run, by name."""
    pictures = given_to("dci-vton")
    garment, hands = torch.zeros(1, 56, 40), torch.zeros(1, SIDE, SIDE)
    garment[:, 10:40, 5:30] = 1
    hands[:, 60:80, 30:60] = 1
    out = {
        "model": weights,
        "reference": saved(picture(1, 56)[:, :, :40], tmp_path / "reference.png"),
        "person": saved(pictures["person"], tmp_path / "person.png"),
        "mask": saved(pictures["inpaint_mask"], tmp_path / "mask.png"),
        "warped": saved(pictures["warped"], tmp_path / "warped.png"),
        "reference-mask": saved(garment, tmp_path / "garment.png"),
        "hands": saved(hands, tmp_path / "hands.png"),
    }
    return {**out, "out": tmp_path / "out"}


def run(given: dict[str, Path], *more: str) -> int:
    return main(["run", *(str(x) for name, path in given.items() for x in (f"--{name}", path)), "--steps", "2", *more])


def test_dci_vton_is_sampled_with_plms_and_shown_at_its_own_proportions(
    given: dict[str, Path], evaluations: list[int], tmp_path: Path
) -> None:
    assert run(given) == 0
    assert evaluations == [501, 1, 1]
    assert Image.open(tmp_path / "out" / "generated.png").size == (SIDE * 3 // 4, SIDE)
    assert Image.open(tmp_path / "out" / "generated_pasted.png").size == (SIDE * 3 // 4, SIDE)
    maps = AttributionMaps.load(tmp_path / "out" / "maps.safetensors")
    assert (maps.run.sampler, maps.run.steps, maps.generated_size) == ("PLMS", 2, (SIDE, SIDE * 3 // 4))
    scores = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    assert scores["imacs"]["g"]["score"] is not None
    assert [name for name in scores["failed"] if name != "IMACS"] == []


def test_ddim_can_be_asked_for_and_odd_numbers_of_steps_are_told(
    given: dict[str, Path], evaluations: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(given, "--sampler", "ddim", "--steps", "7") == 0
    assert evaluations == [995, 853, 711, 569, 427, 285, 143, 1]
    assert "7 steps do not divide 1000: as in the authors' code there are 8, from timestep 995" in capsys.readouterr().out
    maps = AttributionMaps.load(tmp_path / "out" / "maps.safetensors")
    assert (maps.run.steps, maps.run.sampler, maps.run.extra["steps_wanted"]) == (8, "DDIM", 7)
    assert list(maps.run.timesteps) == evaluations


def test_the_hands_reach_the_unet_from_a_mask_or_a_parse_map(
    given: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Tensor] = []

    def assemble(*args: Any) -> Any:
        ready = real(*args)
        seen.append(ready.positive[0][1]["noise_concat"])
        return ready

    real = tryon.assemble
    monkeypatch.setattr(tryon, "assemble", assemble)
    monkeypatch.setattr(tryon_model, "sample", lambda predict, x, *args, **kwargs: (predict(x, torch.tensor(1)), x)[1])
    hands = given.pop("hands")
    labels = np.where(np.array(Image.open(hands)) > 0, 15, 3).astype(np.uint8)
    parse = Image.fromarray(labels, "P")
    parse.putpalette([int(x) for x in np.random.default_rng(2).integers(0, 256, 60)])
    parse.save(tmp_path / "parse.png")
    for more in ([], ["--hands", str(hands)], ["--parse", str(tmp_path / "parse.png")]):
        assert run(given, *more) == 0
    none, by_mask, by_parse = seen
    assert torch.equal(by_mask, by_parse)
    assert not torch.equal(by_mask, none)
    capsys.readouterr()
    assert run(given, "--hands", str(hands), "--parse", str(tmp_path / "parse.png")) == 2
    assert "give one of them" in capsys.readouterr().err


def turned(path: Path) -> None:
    Image.open(path).transpose(Image.Transpose.ROTATE_90).resize((56, 32)).save(path)


def shade(value: int) -> Any:
    return lambda path: Image.new("L", (SIDE, SIDE), value).save(path)


def photo(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)


SPOILT = {
    "all white": ("mask", shade(255), "the inpaint_mask is all white"),
    "all black": ("mask", shade(0), "the inpaint_mask is all black"),
    "turned": ("reference-mask", turned, "the reference_mask is 56 x 32 pixels, but the reference picture is 40 x 56"),
    "a photo as mask": ("mask", photo, "mask.png is a picture in colours, not a mask"),
    "a photo as hands": ("hands", photo, "hands.png is a picture in colours, not a mask"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_masks_that_cannot_be_meant_are_refused_before_the_first_step(
    given: dict[str, Path], evaluations: list[int], capsys: pytest.CaptureFixture[str], case: str
) -> None:
    name, spoil, text = SPOILT[case]
    spoil(given[name])
    assert run(given) == 2
    told = capsys.readouterr().err
    assert text in told
    assert told.count("\n") == 1
    assert evaluations == []
    assert not given["out"].exists()


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--budget", "0"], "--budget is 0 MB; expected more than 0"),
        (["--budget", "-1"], "--budget is -1 MB"),
        (["--device", "toaster"], "--device is 'toaster', which cannot be used here"),
        (["--device", "meta"], "--device is 'meta', which cannot be used here"),
        (["--cfg", "-5"], "a finite cfg > 0"),
        (["--seed", str(1 << 64)], "a seed from 0 to 18446744073709551615"),
        (["--steps", "2000"], "a run takes 1 to 1000 steps"),
        (["--cfg", "0"], "cfg > 0"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused_before_the_first_step(
    given: dict[str, Path], evaluations: list[int], capsys: pytest.CaptureFixture[str], more: list[str], text: str
) -> None:
    assert run(given, *more) == 2
    told = capsys.readouterr().err
    assert text in told
    assert told.count("\n") == 1
    assert evaluations == []


def test_a_folder_that_cannot_be_is_refused_before_the_first_step(
    given: dict[str, Path], evaluations: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    given["out"].write_text("a file")
    assert run({**given, "out": given["out"] / "run"}) == 2
    assert "is no folder; give another folder" in capsys.readouterr().err
    assert evaluations == []


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_picture_that_cannot_be_decoded_leaves_the_maps(given: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(self: TryOnModel, latents: Tensor) -> Tensor:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(TryOnModel, "decode", decode)
    assert run(given) == 1
    assert names(given["out"]) == {"maps.safetensors", "scores.json"}
    scores = json.loads((given["out"] / "scores.json").read_text(encoding="utf-8"))
    assert scores["failed"]["picture"] == "the latents could not be decoded (out of memory)"


def test_maps_that_cannot_be_finished_leave_the_picture(given: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from i2am.errors import RecordingError
    from i2am.recording.recorder import Recorder

    def finish(*_: Any, **__: Any) -> None:
        raise RecordingError("layers were seen in different steps")

    monkeypatch.setattr(Recorder, "finish", finish)
    assert run(given) == 1
    assert names(given["out"]) == {"generated.png", "generated_pasted.png", "scores.json"}
    scores = json.loads((given["out"] / "scores.json").read_text(encoding="utf-8"))
    assert scores["failed"] == {"maps": "layers were seen in different steps"}


def test_an_error_within_the_run_is_still_an_error(
    given: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from i2am.errors import RecordingError

    def predict(*_: Any) -> Tensor:
        raise RecordingError("a layer is not known")

    monkeypatch.setattr(TryOnModel, "predict", predict)
    assert run(given) == 2
    assert "a layer is not known" in capsys.readouterr().err
    assert not given["out"].exists()
