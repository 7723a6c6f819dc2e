"""The edit model is evaluated as the try-on models are, without a mask: the garment's maps, and each reference's share."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_run import evaluated, untimed
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from i2am.commands.cli import main
from i2am.data.kinds import open_data_set
from i2am.evaluation.compare.measures import measure
from i2am.evaluation.metrics.names import OF_MAPS, OF_PICTURE, shares_of
from i2am.evaluation.run_folder import RunFolder
from i2am.evaluation.samplers.edit import EditSampler
from i2am.evaluation.samplers.sampler import Sampling
from i2am.evaluation.table import lines_of
from i2am.evaluation.work import seed_of
from i2am.models.demo.family import load_part
from i2am.models.demo.networks import build_vae
from i2am.models.edit.family import GRID, LATE, TEXT
from i2am.models.edit.model import EditModel
from i2am.models.edit.sampling import edit_noise, sample
from i2am.models.pictures import thumbnail

STEPS, EVERY = 4, 2
KEPT = (1, 3)
"""The steps that are recorded."""
TOKENS = GRID[0] * GRID[1]
PARTS = ("person", "garment", "text", "generated")


@pytest.fixture(scope="module")
def model() -> EditModel:
    """Random weights, sharp enough that attention is not alike everywhere."""
    random, found = torch.Generator().manual_seed(0), EditModel().eval()
    with torch.no_grad():
        for name, weight in found.named_parameters():
            nn.init.normal_(weight, std=0.1, generator=random)
            if name.endswith("scale"):
                weight.add_(2.0)
    return found


@pytest.fixture(scope="module")
def weights(model: EditModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("edit") / "edit.safetensors"
    save_file({name: value.contiguous() for name, value in model.file_state().items()}, path)
    return path


def options(weights: Path, *more: str) -> list[str]:
    return ["--family", "edit", "--model", str(weights), "--steps", str(STEPS), "--every", str(EVERY), *more]


@pytest.fixture(scope="module")
def run(data: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Both kinds of pairs, one image at a time."""
    return evaluated(data, tmp_path_factory.mktemp("edited") / "out", *options(weights, "--limit", "2"))


def tensor(picture: Image.Image) -> Tensor:
    """(1, C, H, W) in 0-1."""
    values = torch.from_numpy(np.array(picture, dtype=np.float32) / 255)
    return (values[None, None] if values.ndim == 2 else values.movedim(-1, 0)[None]).contiguous()


def stated(model: EditModel, pictures: dict[str, Image.Image], seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """The picture (3, H, W), and the share of every part at every token, (16, 12), in float64 out of the whole softmax."""
    vae, step = build_vae().eval(), 0
    vae.load_state_dict(load_part("vae"))
    kept: list[Tensor] = []

    def attend(layer: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if layer in LATE and step in KEPT:
            rows = q if q.shape[2] == TOKENS else q[:, :, TEXT : TEXT + TOKENS]
            kept.append((rows.double() @ k.double().mT * q.shape[-1] ** -0.5).softmax(-1)[0].mean(0))
        return nn.functional.scaled_dot_product_attention(q, k, v)

    def stepped(done: int) -> None:
        nonlocal step
        step = done

    with torch.no_grad():
        references = [vae.encode(tensor(pictures[name]) * 2 - 1).latent_dist.mode() for name in ("person", "reference")]
        latent = sample(model.network, model.context, references, edit_noise([seed]), STEPS, attend=attend, on_step=stepped)
        picture = (vae.decode(latent).sample[0] / 2 + 0.5).clamp(0, 1)
    whole = torch.stack(kept).mean(0)
    ends = {"text": (0, TEXT), "generated": (TEXT, TEXT + TOKENS), "person": (TEXT + TOKENS, TEXT + 2 * TOKENS)}
    ends["garment"] = (TEXT + 2 * TOKENS, whole.shape[1])
    return picture, {name: whole[:, start:end].sum(1).view(*GRID) for name, (start, end) in ends.items()}


def test_pictures_and_shares_are_those_of_the_model_called_directly(data: Path, model: EditModel, run: RunFolder) -> None:
    pair = open_data_set(data).pairs("unpaired")[1]
    row = next(row for row in run.rows() if row.name == pair.name)
    pictures = pair.open(("person", "reference", "inpaint_mask"))
    picture, shares = stated(model, pictures, seed_of(0, pair.name))
    kept = np.asarray(Image.open(run.sample(row.key))).astype(int)
    assert np.abs(kept - thumbnail(picture).numpy()).max() <= 1
    mask = tensor(pictures["inpaint_mask"])[0, 0].double()
    for part in PARTS:
        fitted = nn.functional.interpolate(shares[part][None, None], mask.shape, mode="bilinear")[0, 0]
        inside, outside = (float((fitted * area).sum() / area.sum()) for area in (mask, 1 - mask))
        found = [row.values[name] for name in shares_of([part])]
        assert found == pytest.approx([float(shares[part].mean()), inside, outside], abs=2e-4), part


def test_every_row_has_all_values_and_shares_add_up_to_one(run: RunFolder) -> None:
    names = shares_of(PARTS)
    rows = run.rows()
    assert len(rows) == 4
    for row in rows:
        assert set(row.values) | set(row.unavailable) == {*OF_PICTURE, *OF_MAPS, *names}
        assert {f"imacs_{side}.default" for side in "gr"} <= row.values.keys()
        assert run.maps(row.key).keys() == {"R2G", "G2R"}
        assert run.maps(row.key)["G2R"].shape == (20, 14)  # the garment's tokens
        for where in ("", ".inside", ".outside"):
            assert sum(row.values[f"share.{part}{where}"] for part in PARTS) == pytest.approx(1, abs=1e-3)
        assert row.seconds["record"] > 0
    facts = run.run()
    assert (facts.family, facts.sampler, facts.cfg, facts.every) == ("edit", "euler", 1.0, EVERY)
    assert set(names) <= set(facts.metrics)
    summary = run.summary()
    assert summary is not None
    assert summary.kinds["unpaired"].values["share.garment.inside"].n == 2
    assert "  share of garment, inside" in "\n".join(lines_of(summary))
    assert measure("share.garment").label == "share of garment"


def test_it_needs_no_mask(data: Path, weights: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    for name in ("agnostic-v3.2", "agnostic-mask", "image-densepose"):
        shutil.rmtree(tmp_path / "data" / "test" / name)
    folder = evaluated(tmp_path / "data", tmp_path / "out", *options(weights, "--pairs", "paired", "--limit", "1"))
    (row,) = folder.rows()
    assert {"share.garment", "ssim", "imacs_r.official"} <= row.values.keys()
    assert "eq. 17 needs the inpainting mask" in row.unavailable["imacs_r.default"]
    for name in ("share.garment.inside", "imacs_g.default"):
        assert "no inpainting mask" in row.unavailable[name]


def test_a_batch_and_a_stop_change_nothing_but_rounding(data: Path, weights: Path, run: RunFolder, tmp_path: Path) -> None:
    given = options(weights, "--limit", "2", "--batch", "2", "--pairs", "unpaired")
    folder, single = evaluated(data, tmp_path / "out", *given), untimed(run.rows())
    for row in folder.rows():
        for name, value in row.values.items():
            assert value == pytest.approx(single[row.key].values[name], abs=2e-3), name
    before, path = untimed(folder.rows()), tmp_path / "out" / "rows" / "0.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert untimed(evaluated(data, tmp_path / "out", *given, "--resume").rows()) == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--pasted"], "no mask outside of which the person could be pasted"),
        (["--sampler", "ddim"], "sampled by euler alone, not by ddim"),
        (["--steps", "0"], "1 to 1000 steps, got 0"),
    ],
)
def test_what_it_cannot_do_is_refused(
    data: Path, weights: Path, tmp_path: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(data), "--out", str(tmp_path / "out"), *options(weights), *more]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_other_weights_are_refused(data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"context": torch.zeros(4, 32)}, tmp_path / "edit.safetensors")
    for path, said in ((tmp_path, "is not of the edit model's layout"), (tmp_path / "none", "there is no")):
        given = ["--family", "edit", "--model", str(path), "--out", str(tmp_path / "out")]
        assert main(["evaluate", str(data), *given]) == 2
        assert said in capsys.readouterr().err


def test_about_ten_steps_are_recorded(model: EditModel) -> None:
    assert EditSampler(model, build_vae()).how == Sampling(steps=25, every=2, cfg=1.0, sampler="euler")
