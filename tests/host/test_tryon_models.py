"""The paper's models: checkpoints of the authors' layout, loaded by the node, equal an independent statement of each."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import folder_paths
import pytest
import safetensors.torch
import torch
from host_tests.graph import Graphs
from PIL import Image
from torch import Tensor

import nodes

SIDE = 128  # pixels of the small runs; the families' own sizes take minutes here
STEPS = 10


def _statement() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "paper_models.py"
    spec = importlib.util.spec_from_file_location("paper_models", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


paper = _statement()
SIZES = paper.Sizes(
    width=32, context=48, clip_width=128, clip_layers=2, clip_heads=2, clip_mlp=256, patch=14, picture=56, mapper_layers=2,
    vae_width=32,
)  # fmt: skip


FAMILIES = ["paint-by-example", "dci-vton", "stableviton", "custom"]


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    names = {"comfy": "hosts.comfy", "errors": "errors", "levels": "levels", "patches": "patches", "carried": "hosts.carried"}
    return type("Lib", (), {k: importlib.import_module(f"{pack.__name__}.i2am.{v}") for k, v in names.items()})


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, Tensor]]:
    """A checkpoint of each family."""
    return {family: paper.checkpoint(family, SIZES) for family in FAMILIES}


def write(state: dict[str, Tensor], name: str) -> str:
    folder = Path(folder_paths.get_folder_paths("checkpoints")[0])
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, folder / name)
    return name


def load(state: dict[str, Tensor], family: str = "auto") -> tuple[Any, Any, Any]:
    node = nodes.NODE_CLASS_MAPPINGS["I2AM_LoadTryOn"]
    with torch.inference_mode():
        made = node.execute(write(state, "model.safetensors"), family)
    model, vae, encoder = made.result
    encoder.size = (SIDE, SIDE)
    return model, vae, encoder


def picture(seed: int, side: int = SIDE) -> Tensor:
    """(1, side, side, 3) in 0-1."""
    return torch.rand(1, side, side, 3, generator=torch.Generator().manual_seed(seed))


def hole() -> Tensor:
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, 37:90, 30:99] = 1
    return mask


def conditioning(encoder: Any, vae: Any, **given: Any) -> tuple[Any, Any, dict[str, Tensor]]:
    with torch.inference_mode():
        return nodes.NODE_CLASS_MAPPINGS["I2AM_TryOnConditioning"].execute(encoder, vae, picture(1, 56), **given).result


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loaded_parts_equal_the_statement(states: dict[str, dict[str, Tensor]], family: str) -> None:
    state = states[family]
    model, _, encoder = load(state)
    assert encoder.name == family
    source = torch.Generator().manual_seed(3)
    channels = paper.CHANNELS[family]
    x, context = torch.randn(2, channels, 16, 16, generator=source), torch.randn(2, 5, SIZES.context, generator=source)
    t = torch.tensor([981, 1])
    with torch.inference_mode():
        got = model.model.diffusion_model(x, t, context)
        tokens = encoder.encode(picture(2, 56).movedim(-1, 1))
    assert torch.allclose(got, paper.unet(state, x, t, context), atol=1e-5)
    mean, spread = (torch.tensor(v).view(1, 3, 1, 1) for v in (paper.CLIP_MEAN, paper.CLIP_STD))
    pixels = (picture(2, 56).movedim(-1, 1) - mean) / spread
    expected = (paper.patch_tokens if family == "custom" else paper.single_token)(state, pixels, heads=SIZES.clip_heads)
    assert tokens.shape == expected.shape
    assert torch.allclose(tokens, expected, atol=1e-5)
    assert torch.equal(encoder.null(2), state["learnable_vector"].expand(2, expected.shape[1], -1))


def given_to(family: str) -> dict[str, Tensor]:
    """The pictures that a family needs."""
    if family == "custom":
        return {"agnostic": picture(4), "densepose": picture(5)}
    if family == "stableviton":
        return {"person": picture(4), "agnostic": picture(6), "densepose": picture(5), "inpaint_mask": hole()}
    return {"person": picture(4), "inpaint_mask": hole(), **({"warped": picture(5)} if family == "dci-vton" else {})}


def channels_of(family: str, vae: Any, given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """What stands behind the noisy latents, and the latents that the sampler starts from, by the families' own descriptions."""

    def encode(shown: Tensor) -> Tensor:
        with torch.inference_mode():
            return vae.encode(shown) * 0.18215

    if family == "custom":
        return torch.cat([encode(given["agnostic"]), encode(given["densepose"])], 1), torch.zeros(1, 4, 16, 16)
    # bilinear at an eighth: the mean of the two middle rows and columns of a cell
    cells = (1 - hole()).reshape(1, 16, 8, 16, 8)[:, :, 3:5, :, 3:5].mean((2, 4))
    if family == "stableviton":
        return torch.cat([encode(given["agnostic"]), cells[:, None], encode(given["densepose"])], 1), encode(given["person"])
    mask = given["inpaint_mask"][..., None]
    filling = given["warped"] if family == "dci-vton" else torch.full_like(given["person"], 0.5)
    latents = encode(given["person"] * (1 - mask) + filling * mask)
    return torch.cat([latents, cells[:, None]], 1), latents if family == "dci-vton" else torch.zeros(1, 4, 16, 16)


def on_vae(vae: Any, shown: Tensor) -> Tensor:
    """A picture of another size as scaled latents."""
    resized = torch.nn.functional.interpolate(shown.movedim(-1, 1), (SIDE, SIDE), mode="bilinear", antialias=True)
    with torch.inference_mode():
        return vae.encode(resized.clamp(0, 1).movedim(1, -1)) * 0.18215


def predicted(state: dict[str, Tensor], x: Tensor, t: int, context: Tensor, garment: Tensor | None) -> Tensor:
    """The noise that the model sees, in float64."""
    time = torch.tensor([t])
    hints = None if garment is None else paper.control(state, x, garment, time, context)
    return paper.unet(state, x, time, context, hints).double()


def ddim(
    state: dict[str, Tensor],
    known: Tensor,
    start: Tensor,
    noise: Tensor,
    contexts: list[Tensor],
    cfg: float,
    garment: Tensor | None,
) -> Tensor:
    """DDIM with eta 0 over timesteps 901, 801, … 1, and the clean end."""
    alphas = state["alphas_cumprod"].double()
    steps = list(range(1, 1000, 1000 // STEPS))[::-1]
    z = alphas[steps[0]].sqrt() * start + (1 - alphas[steps[0]]).sqrt() * noise
    for i, t in enumerate(steps):
        model = [predicted(state, torch.cat([z.float(), known], 1), t, c, garment) for c in contexts]
        eps = model[1] + cfg * (model[0] - model[1])
        a, after = alphas[t], alphas[steps[i + 1]] if i + 1 < len(steps) else torch.tensor(1.0)
        z = after.sqrt() * (z - (1 - a).sqrt() * eps) / a.sqrt() + (1 - after).sqrt() * eps
    return z


@pytest.mark.parametrize("family", FAMILIES)
def test_a_ddim_run_equals_the_familys_own_arithmetic(lib: Any, states: dict[str, dict[str, Tensor]], family: str) -> None:
    state, given = states[family], given_to(family)
    model, vae, encoder = load(state)
    positive, negative, latent = conditioning(encoder, vae, **given)
    recorded, recording = lib.comfy.attach(model, lib.comfy.Options())
    with torch.inference_mode():
        sampled = nodes.common_ksampler(recorded, 5, STEPS, 5.0, "ddim", "ddim_uniform", positive, negative, latent)[0][
            "samples"
        ]
    known, start = channels_of(family, vae, given)
    noise = torch.randn(1, 4, 16, 16, generator=torch.manual_seed(5))
    garment = on_vae(vae, picture(1, 56)) if family == "stableviton" else None
    expected = ddim(state, known, start, noise, [positive[0][0], negative[0][0]], 5.0, garment) / 0.18215
    assert float((sampled - expected).norm() / expected.norm()) < 1e-4
    maps = recording.maps_of(sampled)
    assert len([x for x in maps.layers if not x.middle and not x.name.startswith("warp.")]) == 15
    r2g = lib.levels.ulam(maps, "R2G")
    if family == "custom":
        assert (maps.references[0].grid.rows, maps.references[0].grid.leading) == (4, 1)
        assert lib.patches.sram(maps, (3, 4)).values.shape == (1, 4, 4)
    elif family == "stableviton":
        warped = {x.name: (x.grid.rows, x.references[0].grid.rows, x.keys) for x in maps.layers if x.name.startswith("warp.")}
        assert warped == {f"warp.{k}": (side, side, side**2) for k, side in enumerate([4] * 3 + [8] * 3 + [16] * 3)}
        assert lib.levels.llam(maps, "G2R").values.shape == (9, 16, 16)
        assert lib.patches.sram(maps, (3, 4), layers="warp.4").values.shape == (1, 8, 8)
        assert "single-token reference: these weights cannot affect the picture" in r2g.notes
        layers = {side: lib.levels.llam(maps, side, preset="official").labels for side in ("R2G", "G2R")}
        assert [label.split(" ")[0] for label in layers["G2R"]] == ["warp.4"]
        assert len(layers["R2G"]) == 15
        assert not any(label.startswith("warp.") for label in layers["R2G"])
    else:
        assert "single-token reference: these weights cannot affect the picture" in r2g.notes
        with pytest.raises(lib.errors.UnavailableError, match="attend to a single token"):
            lib.levels.ulam(maps, "G2R")


@pytest.mark.parametrize("name", ["07_paint_by_example", "08_dci_vton", "09_stableviton"])
def test_the_workflow_runs_at_the_models_own_size(run_graph: Graphs, states: dict[str, dict[str, Tensor]], name: str) -> None:
    """With narrow weights in a file of torch.save, and one step."""
    twin = json.loads((Path(__file__).parents[1] / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    by_class = {node["class_type"]: node["inputs"] for node in twin.values()}
    loader, look = by_class["I2AM_LoadTryOn"], next(k for k, n in twin.items() if n["class_type"] == "I2AM_Look")
    folder = Path(folder_paths.get_folder_paths("checkpoints")[0])
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": states[loader["family"]], "global_step": 3}, folder / loader["checkpoint"])
    inputs = Path(folder_paths.get_input_directory())
    inputs.mkdir(parents=True, exist_ok=True)
    shown = (torch.rand(64, 48, 4, generator=torch.Generator().manual_seed(1)) * 255).byte()
    shown[..., 3] = 255
    shown[20:40, 10:30, 3] = 0  # what LoadImage gives as its mask
    Image.fromarray(shown.numpy(), "RGBA").save(inputs / "example.png")
    by_class["KSampler"]["steps"] = 1
    out = run_graph(twin, watch={"maps": (look, 1), "sheet": (look, 0)})
    assert out["maps"].generated_size == (512, 384 if name[:2] == "09" else 512)
    assert out.ui[look]["images"]


def test_the_warp_can_be_recorded_alone_and_shows_the_garment(lib: Any, states: dict[str, dict[str, Tensor]]) -> None:
    model, vae, encoder = load(states["stableviton"])
    positive, negative, latent = conditioning(encoder, vae, **given_to("stableviton"))
    recorded, recording = lib.comfy.attach(model, lib.comfy.Options(layers=("warp.[3-5]",), branches=("cond", "uncond")))

    def sample(used: Any, positive: Any) -> Tensor:
        with torch.inference_mode():
            return nodes.common_ksampler(used, 5, 2, 5.0, "ddim", "ddim_uniform", positive, negative, latent)[0]["samples"]

    latents = sample(recorded, positive)
    assert torch.equal(latents, sample(model, positive))
    assert [x.name for x in recording.maps_of(latents).layers] == ["warp.3", "warp.4", "warp.5"]
    known = positive[0][1]["noise_concat"].clone()
    known[:, -4:] += 1  # the garment's latents
    assert not torch.equal(latents, sample(model, [[positive[0][0], {**positive[0][1], "noise_concat": known}]]))
    with pytest.raises(lib.errors.RecordingError, match=r"matches 'warp.9'; it has: .*warp.8"):
        lib.comfy.attach(model, lib.comfy.Options(layers=("warp.9",)))


def test_half_precision_weights_load(states: dict[str, dict[str, Tensor]]) -> None:
    half = {k: v.half() if v.is_floating_point() else v for k, v in states["paint-by-example"].items()}
    model, vae, encoder = load(half)
    positive, negative, latent = conditioning(encoder, vae, **given_to("paint-by-example"))
    with torch.inference_mode():
        made = nodes.common_ksampler(model, 5, 2, 5.0, "ddim", "ddim_uniform", positive, negative, latent)[0]["samples"]
    assert made.isfinite().all()


WRONG = {
    "another family": (lambda s: s, "custom", "family is 'custom' with 12 channels, but this file's U-Net takes 9"),
    "no model": (lambda s: {"weight": torch.zeros(1)}, "auto", "holds none of the paper's models"),
    "another width of input": (
        lambda s: {**s, "model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32, 5, 3, 3)},
        "auto",
        "takes 5 channels, which is none",
    ),
    "a part is missing": (
        lambda s: {k: v for k, v in s.items() if not k.startswith("cond_stage_model.")},
        "auto",
        "missing: cond_stage_model.transformer.vision_model",
    ),
    "a layer is missing": (
        lambda s: {k: v for k, v in s.items() if ".output_blocks.11.1.proj_out.bias" not in k},
        "auto",
        "the weights of the U-Net do not fit: missing: output_blocks.11",
    ),
    "a block of the mapper is missing": (
        lambda s: {k: v for k, v in s.items() if ".resblocks.1.ln_1" not in k},
        "auto",
        r"the weights of the token mapper do not fit: missing: resblocks.1.\* \(2\)",
    ),
    "what tells the autoencoder's width is missing": (
        lambda s: {k: v for k, v in s.items() if k != "first_stage_model.encoder.conv_in.weight"},
        "auto",
        "the file has no 'encoder.conv_in.weight' among its weights",
    ),
    "what tells the image encoder's precision is missing": (
        lambda s: {k: v for k, v in s.items() if not k.endswith("embeddings.class_embedding")},
        "auto",
        "the file has no 'embeddings.class_embedding' among its weights",
    ),
    "something is left over": (lambda s: {**s, "adapter.weight": torch.zeros(1)}, "auto", "unknown: adapter.weight"),
    "a garment encoder without its U-Net": (lambda s: {**s, "control_model.x": torch.zeros(1)}, "auto", "unknown: control"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_refused(lib: Any, states: dict[str, dict[str, Tensor]], case: str) -> None:
    change, family, text = WRONG[case]
    with pytest.raises(lib.errors.WeightsFileError, match=text):
        load(change(states["paint-by-example"]), family)


def test_missing_pictures_are_named(lib: Any, states: dict[str, dict[str, Tensor]]) -> None:
    _, vae, encoder = load(states["dci-vton"])
    with pytest.raises(lib.errors.I2AMError, match="dci-vton model also needs warped"):
        conditioning(encoder, vae, person=picture(4), inpaint_mask=hole())
    _, vae, encoder = load(states["custom"])
    with pytest.raises(lib.errors.I2AMError, match="custom model also needs densepose"):
        conditioning(encoder, vae, agnostic=picture(4))
