"""The paper's models in diffusers: loaded from checkpoints of the authors' layout, run with DDIM, recorded; and `i2am run`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import paper_models as paper
import paper_runs as runs
import pytest
import torch
from paper_runs import FAMILIES, SIDE, SIZES, STEPS, given_to, picture
from PIL import Image
from safetensors.torch import save_file
from small_pictures import make_small
from torch import Tensor

from i2am.commands.cli import main
from i2am.errors import I2AMError, MaskError, UnavailableError, WeightsFileError
from i2am.hosts.diffusers.tryon import run_tryon
from i2am.levels.choice import Choice
from i2am.levels.marginal import llam, tlam, ulam
from i2am.levels.patch import sram
from i2am.maps.value import AttributionMaps
from i2am.models.conditioning import assemble
from i2am.models.tryon.checkpoint import sort_checkpoint
from i2am.models.tryon.ldm_keys import unet_to_ldm, vae_to_ldm, vision_to_ldm
from i2am.models.tryon.model import TryOnModel


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, Tensor]]:
    return {family: paper.checkpoint(family, SIZES) for family in FAMILIES}


@pytest.fixture(scope="module")
def files(states: dict[str, dict[str, Tensor]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    for family, state in states.items():
        save_file({k: v.contiguous() for k, v in state.items()}, folder / f"{family}.safetensors")
    return {family: folder / f"{family}.safetensors" for family in FAMILIES}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of small pictures."""
    make_small(monkeypatch)


def shown(tensor: Tensor) -> Image.Image:
    """(1, H, W, 3) or (1, H, W) in 0-1 as a picture."""
    return Image.fromarray((tensor[0] * 255).round().to(torch.uint8).numpy())


def pictures_of(family: str) -> dict[str, Image.Image]:
    return {"reference": shown(picture(1, 56)), **{name: shown(value) for name, value in given_to(family).items()}}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loaded_parts_equal_the_statement(
    states: dict[str, dict[str, Tensor]], files: dict[str, Path], family: str
) -> None:
    state, model = states[family], TryOnModel.load(files[family])
    assert model.encoder.name == family
    source = torch.Generator().manual_seed(3)
    channels = paper.CHANNELS[family]
    x, context = torch.randn(2, channels, 16, 16, generator=source), torch.randn(2, 5, SIZES.context, generator=source)
    garment = torch.randn(2, 4, 16, 16, generator=source)
    t = torch.tensor([501, 501])
    known, hints = x[:, 4:], None
    if family == "stableviton":
        known, hints = torch.cat([known, garment], 1), paper.control(state, x, garment, t, context)
    with torch.inference_mode():
        got = model.predict(x[:, :4], known, torch.tensor(501), context)
        tokens = model.encoder.encode(picture(2, 56).movedim(-1, 1))
    assert torch.allclose(got, paper.unet(state, x, t, context, hints), atol=2e-5)
    mean, spread = (torch.tensor(v).view(1, 3, 1, 1) for v in (paper.CLIP_MEAN, paper.CLIP_STD))
    pixels = (picture(2, 56).movedim(-1, 1) - mean) / spread
    expected = (paper.patch_tokens if family == "custom" else paper.single_token)(state, pixels, heads=SIZES.clip_heads)
    assert torch.allclose(tokens, expected, atol=1e-5)
    assert torch.equal(model.encoder.null(2), state["learnable_vector"].expand(2, expected.shape[1], -1))


@pytest.mark.parametrize("family", runs.SOME_SELDOM)
def test_a_run_equals_the_familys_own_arithmetic(
    states: dict[str, dict[str, Tensor]], files: dict[str, Path], family: str
) -> None:
    state, model = states[family], TryOnModel.load(files[family])
    made, maps = run_tryon(model, pictures_of(family), steps=STEPS, cfg=5.0, seed=5, pairwise="mean")
    plms = family == "dci-vton"
    given = {  # what 8 bits leave of the pictures
        name: value if value.ndim == 3 else (value * 255).round() / 255 for name, value in given_to(family).items()
    }
    known, start = runs.channels_of(family, model.encode, given)
    noise = torch.randn(1, 4, 16, 16, generator=torch.manual_seed(5))
    garment_seen = (picture(1, 56) * 255).round() / 255
    garment = runs.on_vae(model.encode, garment_seen) if family == "stableviton" else None
    contexts = [model.encoder.encode(runs.seen(family, garment_seen)), model.encoder.null(1)]
    alphas = state["alphas_cumprod"]
    if family in ("paint-by-example", "custom"):  # from noise alone
        noise = noise / (1 - alphas[999].double()).sqrt()
    ends = {"first": 999, "last": float(alphas[0]), "plms": plms}
    latents = runs.ddim(state, known, start, noise, contexts, 5.0, garment, **ends) / runs.SCALE
    expected = model.decode(latents)
    if family == "dci-vton":  # shown in the proportions of 512 x 384
        expected = torch.nn.functional.interpolate(expected, (SIDE, SIDE * 3 // 4), mode="bilinear")
    assert float((made - expected[0]).norm() / expected.norm()) < 1e-4
    assert (maps.run.cfg, maps.run.sampler, maps.run.steps) == (5.0, "PLMS" if plms else "DDIM", STEPS)
    assert maps.generated_size == tuple(made.shape[1:])
    assert len([x for x in maps.layers if not x.middle and not x.name.startswith("warp.")]) == 15
    r2g = ulam(maps, "R2G")
    if family == "custom":
        assert sram(maps, (3, 4)).values.shape == (1, 4, 4)
        return
    assert "single-token reference: these weights cannot affect the picture" in r2g.notes
    if family == "stableviton":
        warped = {x.name: (x.grid.rows, x.references[0].grid.rows, x.keys) for x in maps.layers if x.name.startswith("warp.")}
        assert warped == {f"warp.{k}": (side, side, side**2) for k, side in enumerate([4] * 3 + [8] * 3 + [16] * 3)}
        assert llam(maps, "G2R").values.shape == (9, 16, 16)
        official = {"side": "G2R", "preset": "official"}
        assert torch.equal(ulam(maps, **official).values, ulam(maps, choice=Choice(layers="warp.4"), **official).values)
        times = tlam(maps, **official).values
        assert torch.equal(times, tlam(maps, choice=Choice(layers="warp.[345]"), **official).values)
        assert not torch.equal(times, tlam(maps, choice=Choice(layers="warp.4"), **official).values)
    else:
        with pytest.raises(UnavailableError, match="attend to a single token"):
            ulam(maps, "G2R")


def test_weights_go_back_to_the_checkpoints_own_names(states: dict[str, dict[str, Tensor]], files: dict[str, Path]) -> None:
    parts, model = sort_checkpoint(states["custom"]).parts, TryOnModel.load(files["custom"])
    for name, back in (("unet", unet_to_ldm(model.unet.state_dict())), ("vae", vae_to_ldm(model.vae.state_dict()))):
        assert back.keys() == parts[name].keys()
        assert all(torch.equal(value, parts[name][key]) for key, value in back.items())
    assert vision_to_ldm({f"vision_model.{k}": v for k, v in parts["vision"].items()}).keys() == parts["vision"].keys()


def test_the_command_writes_everything(
    files: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = pictures_of("stableviton")
    for name, one in pictures.items():
        one.save(tmp_path / f"{name}.png")
    Image.new("L", (56, 56), 0).save(tmp_path / "empty.png")
    garment = Image.new("L", (56, 56), 0)
    garment.paste(255, (10, 10, 40, 50))
    garment.save(tmp_path / "garment.png")
    arguments = ["--model", files["stableviton"], "--reference", tmp_path / "reference.png", "--image", tmp_path / "person.png"]
    arguments += ["--mask", tmp_path / "inpaint_mask.png", "--densepose", tmp_path / "densepose.png"]
    arguments += ["--reference-mask", tmp_path / "garment.png", "--steps", "2", "--out", tmp_path / "out"]
    assert main(["run", *map(str, arguments)]) == 0
    out = tmp_path / "out"
    wanted = {"generated.png", "generated_pasted.png", "first_look.png", "maps.safetensors", "report.html", "scores.json"}
    assert {path.name for path in out.iterdir()} == wanted
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    assert (scores["model"], scores["steps"], scores["cfg"]) == ("stableviton", 2, 1.0)
    assert set(scores["imacs"]) == {"g", "r"}
    maps = AttributionMaps.load(out / "maps.safetensors")
    assert (maps.branches, maps.generated_size) == (("cond",), (SIDE, SIDE))
    outside = Image.open(out / "generated_pasted.png").crop((0, 0, 20, 20))
    assert outside.tobytes() == pictures["person"].crop((0, 0, 20, 20)).tobytes()
    arguments[arguments.index(tmp_path / "garment.png")] = tmp_path / "empty.png"
    assert main(["run", *map(str, arguments)]) == 0  # a mask that gives no scores takes nothing else away
    assert json.loads((out / "scores.json").read_text(encoding="utf-8"))["imacs"]["r"]["score"] is None
    assert "it is stableviton" in capsys.readouterr().out + caplog.text


BAD: dict[str, tuple[list[str], str]] = {
    "no such file": (["--model", "none.safetensors"], "none.safetensors"),
    "another family": (["--family", "custom"], "family is 'custom' with 12 channels, but this file's U-Net takes 9"),
    "no mask": ([], "the paint-by-example model also needs inpaint_mask and agnostic"),
    "no steps": (["--steps", "0"], "a run takes 1 to 1000 steps"),
    "no picture": (["--reference", "pyproject.toml"], "pyproject.toml"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line(files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    more, text = BAD[case]
    shown(picture(1, 56)).save(tmp_path / "r.png")
    given = ["run", "--model", str(files["paint-by-example"]), "--reference", str(tmp_path / "r.png"), "--out", str(tmp_path)]
    given += ["--image", str(tmp_path / "r.png")]
    assert main([*given, *more]) == 2
    told = capsys.readouterr().err
    assert text in told
    assert told.count("\n") == 1


def test_what_does_not_fit_is_refused(states: dict[str, dict[str, Tensor]], files: dict[str, Path], tmp_path: Path) -> None:
    state = {k: v.contiguous() for k, v in states["stableviton"].items() if not k.endswith("warp_zero_convs.8.bias")}
    save_file(state, tmp_path / "cut.safetensors")
    with pytest.raises(WeightsFileError, match="warp_zero_convs"):
        TryOnModel.load(tmp_path / "cut.safetensors")
    model = TryOnModel.load(files["custom"])
    with pytest.raises(I2AMError, match="custom model also needs densepose"):
        run_tryon(model, {"reference": shown(picture(1)), "agnostic": shown(picture(2))}, steps=1)


def test_dci_vton_sees_the_reference_cut_to_its_mask(files: dict[str, Path]) -> None:
    """At the generated picture's size, by the authors' arithmetic of the box."""
    model = TryOnModel.load(files["dci-vton"])
    given: dict[str, Tensor | None] = {**given_to("dci-vton")}
    pixels = (torch.rand(90, 70, 3) * 255).byte()
    reference, mask = pixels[None] / 255, torch.zeros(1, 90, 70)
    mask[:, 20:60, 10:50] = 1
    at_size = np.array(Image.fromarray(pixels.numpy()).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    covered = np.array(Image.fromarray(mask[0].bool().numpy()).resize((SIDE, SIDE), Image.Resampling.NEAREST))
    box = []
    for places in np.where(covered):
        low, high = int(places.min()), int(places.max())
        centre, factor = (low + high) // 2, 0.15
        end = int(min(high * (1 + factor) - centre * factor + 1, SIDE))
        box.append(slice(int(max(low * (1 + factor) - centre * factor, 0)), end))
    around = torch.from_numpy(at_size[box[0], box[1]]).movedim(-1, 0)[None] / 255
    expected = model.encoder.encode(torch.nn.functional.interpolate(around, (56, 56), mode="bilinear"))
    cut, whole = (assemble(model.encoder, model.encode, reference, given, its).positive[0][0] for its in (mask, None))
    assert torch.allclose(cut, expected, atol=1e-5)
    assert not torch.allclose(cut, whole, atol=1e-2)
    with pytest.raises(MaskError, match="the reference mask is empty"):
        assemble(model.encoder, model.encode, reference, given, 0 * mask)
    with pytest.raises(MaskError, match="is 5 x 5 pixels, its picture 90 x 70"):
        assemble(model.encoder, model.encode, reference, given, torch.ones(1, 5, 5))
    other = TryOnModel.load(files["paint-by-example"])
    tokens = [
        assemble(other.encoder, other.encode, reference, {**given_to("paint-by-example")}, its).positive[0][0]
        for its in (mask, None)
    ]
    assert torch.equal(*tokens)
