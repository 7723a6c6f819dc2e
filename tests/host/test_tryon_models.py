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


def _beside(name: str) -> ModuleType:
    """A module of the library's own tests."""
    path = Path(__file__).resolve().parents[1] / "helpers" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


paper = _beside("paper_models")
runs = _beside("paper_runs")
FAMILIES, SIDE, SIZES, STEPS = runs.FAMILIES, runs.SIDE, runs.SIZES, runs.STEPS
given_to, hole, picture = runs.given_to, runs.hole, runs.picture


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    names = {
        "comfy": "hosts.comfy.record",
        "errors": "errors",
        "choice": "levels.choice",
        "levels": "levels.marginal",
        "patches": "levels.patch",
        "carried": "models.carried",
    }
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


def test_both_hosts_have_the_same_autoencoder(pack: ModuleType, states: dict[str, dict[str, Tensor]]) -> None:
    pytest.importorskip("diffusers")
    networks = importlib.import_module(f"{pack.__name__}.i2am.models.tryon.networks")
    checkpoint = importlib.import_module(f"{pack.__name__}.i2am.models.tryon.checkpoint")
    _, vae, _ = load(states["custom"])
    other = networks.vae_of(checkpoint.sort_checkpoint(states["custom"]).parts["vae"])
    with torch.inference_mode():
        latents = vae.encode(picture(1))
        theirs = other.encode(picture(1).movedim(-1, 1) * 2 - 1).latent_dist.mode()
        shown, seen = vae.decode(latents), (other.decode(latents).sample / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    assert torch.allclose(latents, theirs, atol=1e-5)
    assert torch.allclose(shown, seen, atol=1e-5)


@pytest.mark.parametrize("family", runs.SOME_SELDOM)
def test_a_ddim_run_equals_the_familys_own_arithmetic(lib: Any, states: dict[str, dict[str, Tensor]], family: str) -> None:
    state, given = states[family], given_to(family)
    model, vae, encoder = load(state)
    positive, negative, latent = conditioning(encoder, vae, **given)
    recorded, recording = lib.comfy.attach(model, lib.comfy.Options())
    with torch.inference_mode():
        sampled = nodes.common_ksampler(recorded, 5, STEPS, 5.0, "ddim", "ddim_uniform", positive, negative, latent)[0][
            "samples"
        ]
    known, start = runs.channels_of(family, vae.encode, given)
    noise = torch.randn(1, 4, 16, 16, generator=torch.manual_seed(5))
    garment = runs.on_vae(vae.encode, picture(1, 56)) if family == "stableviton" else None
    expected = runs.ddim(state, known, start, noise, [positive[0][0], negative[0][0]], 5.0, garment) / runs.SCALE
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
        assert lib.patches.sram(maps, (3, 4), choice=lib.choice.Choice(layers="warp.4")).values.shape == (1, 8, 8)
        assert "single-token reference: these weights cannot affect the picture" in r2g.notes
        layers = {side: lib.levels.llam(maps, side, preset="official").labels for side in ("R2G", "G2R")}
        assert [label.split(" ")[0] for label in layers["G2R"]] == ["warp.4"]
        assert len(layers["R2G"]) == 15
        assert not any(label.startswith("warp.") for label in layers["R2G"])
    else:
        assert "single-token reference: these weights cannot affect the picture" in r2g.notes
        with pytest.raises(lib.errors.UnavailableError, match="attend to a single token"):
            lib.levels.ulam(maps, "G2R")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["07_paint_by_example", "08_dci_vton", "09_stableviton", "10_custom"])
def test_the_workflow_runs_at_the_models_own_size(run_graph: Graphs, states: dict[str, dict[str, Tensor]], name: str) -> None:
    """With narrow weights, in a file of torch.save where the name says so, and one step."""
    twin = json.loads((Path(__file__).parents[1] / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    by_class = {node["class_type"]: node["inputs"] for node in twin.values()}
    loader, look = by_class["I2AM_LoadTryOn"], next(k for k, n in twin.items() if n["class_type"] == "I2AM_Look")
    folder = Path(folder_paths.get_folder_paths("checkpoints")[0])
    folder.mkdir(parents=True, exist_ok=True)
    if loader["checkpoint"].endswith(".safetensors"):
        write(states[loader["family"]], loader["checkpoint"])
    else:
        torch.save({"state_dict": states[loader["family"]], "global_step": 3}, folder / loader["checkpoint"])
    inputs = Path(folder_paths.get_input_directory())
    inputs.mkdir(parents=True, exist_ok=True)
    shown = (torch.rand(64, 48, 4, generator=torch.Generator().manual_seed(1)) * 255).byte()
    shown[..., 3] = 255
    shown[20:40, 10:30, 3] = 0  # what LoadImage gives as its mask
    Image.fromarray(shown.numpy(), "RGBA").save(inputs / "example.png")
    by_class["KSampler"]["steps"] = 1
    out = run_graph(twin, watch={"maps": (look, 1), "sheet": (look, 0)})
    assert out["maps"].generated_size == (512, 512 if name[:2] in ("07", "08") else 384)
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
    maps = recording.maps_of(latents)
    assert [x.name for x in maps.layers] == ["warp.3", "warp.4", "warp.5"]
    both = [lib.choice.Choice(branch=branch) for branch in ("cond", "uncond")]  # both see the garment
    seen = [lib.levels.ulam(maps, "G2R", choice).values for choice in both]
    assert not torch.equal(*seen)
    assert seen[1].sum() == pytest.approx(float(seen[0].sum()), rel=1e-3)
    known = positive[0][1]["noise_concat"].clone()
    known[:, -4:] += 1  # the garment's latents
    assert not torch.equal(latents, sample(model, [[positive[0][0], {**positive[0][1], "noise_concat": known}]]))
    with pytest.raises(lib.errors.RecordingError, match=r"matches 'warp.9'; it has: .*warp.8"):
        lib.comfy.attach(model, lib.comfy.Options(layers=("warp.9",)))


def in_diffusers_layout(folder: Path, state: dict[str, Tensor], networks: Any, parts: Any) -> None:
    """Paint-by-Example's weights as a folder of diffusers."""
    networks.unet_of(parts["unet"]).save_pretrained(folder / "unet")
    networks.vae_of(parts["vae"]).save_pretrained(folder / "vae")
    encoder = {"model.vision_model." + key: value for key, value in parts["vision"].items()}
    names = {
        "attn.c_proj": "attn1.to_out.0",
        "ln_1": "norm1",
        "ln_2": "norm3",
        "mlp.c_fc": "ff.net.0.proj",
        "mlp.c_proj": "ff.net.2",
    }
    for key, value in parts["mapper"].items():
        if key.startswith("resblocks."):
            _, number, rest = key.split(".", 2)
            name, _, last = rest.rpartition(".")
            block = f"mapper.blocks.{number}"
            if name == "attn.c_qkv":
                encoder |= {f"{block}.attn1.to_{x}.{last}": part for x, part in zip("qkv", value.chunk(3), strict=True)}
            else:
                encoder[f"{block}.{names[name]}.{last}"] = value
        else:
            encoder[key.replace("final_ln", "final_layer_norm")] = value
    encoder["uncond_vector"] = parts["null"]["vector"]
    (folder / "image_encoder").mkdir()
    torch.save(encoder, folder / "image_encoder" / "pytorch_model.bin")


def test_a_folder_in_diffusers_layout_loads(pack: ModuleType, lib: Any, states: dict[str, dict[str, Tensor]]) -> None:
    pytest.importorskip("diffusers")
    networks = importlib.import_module(f"{pack.__name__}.i2am.models.tryon.networks")
    checkpoint = importlib.import_module(f"{pack.__name__}.i2am.models.tryon.checkpoint")
    state = states["paint-by-example"]
    folder = Path(folder_paths.get_folder_paths("diffusers")[0]) / "paint"
    in_diffusers_layout(folder, state, networks, checkpoint.sort_checkpoint(state).parts)
    node = nodes.NODE_CLASS_MAPPINGS["I2AM_LoadTryOn"]
    assert "paint [diffusers]" in node.define_schema().inputs[0].options
    with torch.inference_mode():
        model, vae, encoder = node.execute("paint [diffusers]", "auto").result
        expected, expected_vae, expected_encoder = load(state)
        assert torch.equal(
            encoder.encode(picture(2, 56).movedim(-1, 1)), expected_encoder.encode(picture(2, 56).movedim(-1, 1))
        )
        assert torch.equal(vae.encode(picture(1)), expected_vae.encode(picture(1)))
    theirs = expected.model.diffusion_model.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in model.model.diffusion_model.state_dict().items())
    with pytest.raises(lib.errors.I2AMError, match="there is no folder 'gone"):
        node.execute("gone [diffusers]", "auto")
    with pytest.raises(lib.errors.I2AMError, match="leads out of its folder"):
        node.execute("../../x [diffusers]", "auto")


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
    "an inpainting model of text": (
        lambda s: {
            **{k: v for k, v in s.items() if not k.startswith(("cond_stage_model.", "proj_out.", "learnable_vector"))},
            "cond_stage_model.transformer.text_model.final_layer_norm.weight": torch.zeros(1),
        },
        "auto",
        "it has a text encoder, so it makes pictures from text",
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
    "a weight of the U-Net has another width": (
        lambda s: {**s, "model.diffusion_model.out.0.bias": torch.zeros(64)},
        "auto",
        r"the weights of the U-Net do not fit: out\.0\.bias is 64, expected 32 beside the others",
    ),
    "a weight of the autoencoder has another width": (
        lambda s: {**s, "first_stage_model.encoder.conv_out.weight": torch.zeros(8, 64, 3, 3)},
        "auto",
        r"the weights of the autoencoder do not fit: encoder\.conv_out\.weight",
    ),
    "a weight of the image encoder has another width": (
        lambda s: {**s, "cond_stage_model.transformer.vision_model.encoder.layers.1.mlp.fc1.weight": torch.zeros(96, 64)},
        "auto",
        r"the weights of the image encoder do not fit: .*mlp\.fc1\.weight is 96 x 64, expected",
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


def test_the_hands_are_the_last_input_and_reach_the_unet(states: dict[str, dict[str, Tensor]]) -> None:
    inputs = nodes.NODE_CLASS_MAPPINGS["I2AM_TryOnConditioning"].define_schema().inputs
    assert [x.id for x in inputs][-2:] == ["reference_mask", "hands_mask"]
    assert inputs[-1].optional
    _, vae, encoder = load(states["dci-vton"])
    hands = torch.zeros(1, SIDE, SIDE)
    hands[:, 50:80, 20:60] = 1
    given = given_to("dci-vton")
    plain, over = (conditioning(encoder, vae, **given, **more) for more in ({}, {"hands_mask": hands}))
    feat = given["person"] * (1 - hole()[..., None]) + given["warped"] * hole()[..., None]
    seen = feat * (1 - hands[..., None]) + given["person"] * hands[..., None]
    with torch.inference_mode():
        for shown, made in ((feat, plain), (seen, over)):
            expected = vae.encode(shown) * runs.SCALE
            assert torch.allclose(made[0][0][1]["noise_concat"][:, :4], expected, atol=1e-4)
            assert torch.allclose(made[2]["samples"], vae.encode(feat), atol=1e-4)
