"""Weights under other names or of another width than a model's: read where it is certain what they are, and told where not."""

from __future__ import annotations

import re
from pathlib import Path

import paper_models as paper
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from weights_case import BOTH, assert_same, saved

from i2am.commands.cli import main
from i2am.errors import WeightsFileError
from i2am.models.tryon.checkpoint import sort_checkpoint
from i2am.models.tryon.model import TryOnModel
from i2am.models.tryon.networks import unet_of
from i2am.models.weights.file import read_weights

FAMILIES = sorted(paper.CHANNELS)
UNET = "model.diffusion_model."


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, Tensor]]:
    return {family: paper.checkpoint(family, paper.SMALL) for family in FAMILIES}


def averaged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What latent-diffusion's `LitEma` calls the averages of the model's weights, and what it keeps beside them."""
    names = {"model_ema." + key.removeprefix("model.").replace(".", ""): x for key, x in state.items() if key.startswith(UNET)}
    return {**names, "model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(7)}


# what a wrapper put before all names


@BOTH
def test_what_wrappers_put_before_all_names_is_taken_off(tmp_path: Path, zipped: bool) -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    plain = {key: x.clone() for key, x in module.state_dict().items()}
    parallel = nn.DataParallel(module)
    compiled = torch.compile(module)
    for i, wrapped in enumerate((module, parallel, compiled, torch.compile(parallel), nn.DataParallel(compiled))):
        path = saved(tmp_path / f"{i}.ckpt", {"state_dict": wrapped.state_dict(), "epoch": 1}, zipped)
        assert_same(read_weights(path), plain)
    save_file(dict(parallel.state_dict()), tmp_path / "a.safetensors")
    assert_same(read_weights(tmp_path / "a.safetensors"), plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_of_data_parallel_is_told_as_its_family(
    states: dict[str, dict[str, Tensor]], tmp_path: Path, family: str
) -> None:
    path = saved(tmp_path / "a.ckpt", {"module." + key: x for key, x in states[family].items()})
    assert sort_checkpoint(read_weights(path)).family.name == family


def test_names_that_only_some_weights_have_stay(tmp_path: Path) -> None:
    state = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert_same(read_weights(saved(tmp_path / "a.ckpt", state)), state)


def test_thousands_of_wrappers_take_no_time(tmp_path: Path) -> None:
    state = {"module." * 50_000 + "a": torch.ones(1)}
    assert next(iter(read_weights(saved(tmp_path / "a.ckpt", state)))).endswith("module.a")


def test_convert_keeps_the_names_of_the_file(tmp_path: Path) -> None:
    state = {"module.a": torch.ones(1)}
    source, out = saved(tmp_path / "a.ckpt", state), tmp_path / "out.safetensors"
    assert main(["convert", str(source), str(out)]) == 0
    assert_same(read_weights(out), {"a": torch.ones(1)})
    assert b"module.a" in out.read_bytes()


# averages


@pytest.mark.parametrize("family", FAMILIES)
def test_averages_stand_in_for_a_u_net_that_is_not_there(
    states: dict[str, dict[str, Tensor]], tmp_path: Path, family: str, caplog: pytest.LogCaptureFixture
) -> None:
    state = states[family]
    rest = {key: x for key, x in state.items() if not key.startswith(UNET)}
    with caplog.at_level("INFO", "i2am"):
        found = read_weights(saved(tmp_path / "a.ckpt", {"state_dict": {**averaged(state), **rest}}))
    assert_same(found, state)
    assert "has the U-Net only as averaged weights (EMA)" in caplog.text
    sort_checkpoint(found)


def test_averages_beside_the_weights_are_left_alone(states: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    state = states["custom"]
    both = {**state, **{key: x + 1 for key, x in averaged(state).items()}}
    found = read_weights(saved(tmp_path / "a.ckpt", both))
    assert_same(found, both)
    checkpoint = sort_checkpoint(found)
    first = "input_blocks.0.0.weight"
    assert torch.equal(checkpoint.parts["unet"][first], state[UNET + first])


def test_averages_of_another_u_net_are_told(states: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    state = {**averaged(states["custom"]), "model_ema.diffusion_modelinput_blocks99mixer7weight": torch.ones(1)}
    words = (
        "holds the U-Net only as averaged weights (EMA, 687 under 'model_ema.'), and "
        "model_ema.diffusion_modelinput_blocks99mixer7weight is of no U-Net that is known; take the checkpoint that also has "
        "'model.diffusion_model.', or save it from its own program inside `with model.ema_scope():`"
    )
    with pytest.raises(WeightsFileError, match=re.escape(words)):
        read_weights(saved(tmp_path / "a.ckpt", state))


def test_averages_that_are_not_complete_are_not_used(states: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    state = averaged(states["custom"])
    del state["model_ema.diffusion_modelinput_blocks11transformer_blocks0attn2to_qweight"]
    found = sort_checkpoint({**states["custom"]}).parts["unet"]
    read = read_weights(saved(tmp_path / "a.ckpt", state))
    assert len(read) == len(found) - 1
    with pytest.raises(WeightsFileError, match=re.escape("missing: input_blocks.1")):
        unet_of({key.removeprefix(UNET): x for key, x in read.items()})


# a weight of another width

ODD = {
    "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (64, 99),
    "model.diffusion_model.input_blocks.2.0.in_layers.2.weight": (32, 40, 3, 3),
    "model.diffusion_model.out.0.bias": (64,),
    "model.diffusion_model.output_blocks.5.1.proj_in.weight": (128, 96, 1, 1),
    "first_stage_model.decoder.mid.attn_1.q.weight": (64, 64, 1, 1),
    "first_stage_model.encoder.conv_out.weight": (8, 64, 3, 3),
    "cond_stage_model.transformer.vision_model.encoder.layers.1.mlp.fc1.weight": (96, 64),
}
MAPPED = {
    "cond_stage_model.mapper.resblocks.1.mlp.c_fc.weight": (200, 64),
    "cond_stage_model.final_ln.weight": (32,),
}
WARPED = {
    "control_model.input_blocks.1.0.in_layers.2.weight": (32, 40, 3, 3),
    "control_model.cond_first_block.0.weight": (64, 4, 3, 3),
    "model.diffusion_model.warp_zero_convs.3.weight": (64, 64, 1, 1),
    "model.diffusion_model.warp_flow_blks.5.transformer_blocks.0.attn2.to_v.weight": (64, 99),
}
CASES = (
    [("custom", key) for key in ODD] + [("paint-by-example", key) for key in MAPPED] + [("stableviton", key) for key in WARPED]
)


@pytest.mark.parametrize(("family", "key"), CASES)
def test_one_weight_of_another_width_is_told(
    states: dict[str, dict[str, Tensor]], tmp_path: Path, family: str, key: str
) -> None:
    shape = {**ODD, **MAPPED, **WARPED}[key]
    assert tuple(states[family][key].shape) != shape
    path = saved(tmp_path / "a.ckpt", {**states[family], key: torch.zeros(shape)})
    with pytest.raises(WeightsFileError) as caught:
        TryOnModel.load(path)
    said = str(caught.value)
    assert "\n" not in said
    assert key.split(".")[-2] in said
    seen, expected = (" x ".join(map(str, x)).removesuffix(" x 1 x 1") for x in (shape, states[family][key].shape))
    assert f"{key.rpartition('.')[2]} is {seen}, expected {expected} beside the others" in said


FIRST = "input_blocks.0.0.weight"
MEASURES = (
    "diffusion_model." + FIRST,
    "diffusion_model.out.2.weight",
    "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
    "decoder.conv_in.weight",
    "encoder.down.0.block.0.conv1.weight",
    "embeddings.position_embedding.weight",
    "embeddings.patch_embedding.weight",
    "pre_layrnorm.weight",
    "encoder.layers.0.mlp.fc1.weight",
    "learnable_vector",
    "control_model." + FIRST,
    "control_model.cond_first_block.0.weight",
    "warp_flow_blks.0.norm.weight",
)
"""The weights that networks are built to the measure of."""
UNFIT: list[tuple[str, tuple[int, ...] | None]] = [
    *((key, ()) for key in MEASURES),
    ("diffusion_model." + FIRST, (17, 13, 3, 3)),  # no multiple of 32
    ("encoder.down.0.block.0.conv1.weight", (17, 32, 3, 3)),
    ("patch_embedding.weight", (0, 0, 0, 0)),
    ("control_model." + FIRST, None),  # not there
    ("patch_embedding.weight", None),
]


@pytest.mark.parametrize(("end", "shape"), UNFIT)
def test_measures_that_no_network_has_are_told(
    states: dict[str, dict[str, Tensor]], tmp_path: Path, end: str, shape: tuple[int, ...] | None
) -> None:
    odd = dict(states["stableviton"])
    key = next(key for key in odd if key.endswith(end))
    del odd[key]
    if shape is not None:
        odd[key] = torch.zeros(shape)
    with pytest.raises(WeightsFileError, match=r"no such network has|expected|takes|gives|the file has no") as caught:
        TryOnModel.load(saved(tmp_path / "a.ckpt", odd))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        "first_stage_model.encoder.down.x.block",
        "first_stage_model.encoder.down.99999999.block.0.conv1.weight",
        "cond_stage_model.transformer.vision_model.encoder.layers.99999999.layer_norm1.weight",
        "cond_stage_model.mapper.resblocks.99999999.ln_1.weight",
    ],
)
def test_a_number_in_a_name_is_no_measure(states: dict[str, dict[str, Tensor]], tmp_path: Path, key: str) -> None:
    with pytest.raises(WeightsFileError, match=r"un(expected|known)|no such network has|the file has no"):
        TryOnModel.load(saved(tmp_path / "a.ckpt", {**states["paint-by-example"], key: torch.zeros(1)}))


def test_quantised_weights_are_refused(states: dict[str, dict[str, Tensor]]) -> None:
    key = "model.diffusion_model.out.2.weight"
    for dtype, told in ((torch.int8, "int8"), (torch.bool, "bool"), (torch.complex64, "complex64")):
        state = {**states["custom"], key: states["custom"][key].to(dtype)}
        with pytest.raises(WeightsFileError, match=f"out.2.weight of the unet is {told}, expected floating-point numbers"):
            sort_checkpoint(state)


@pytest.mark.parametrize(
    ("key", "shape", "words"),
    [
        ("proj_out.weight", (99, 64), "proj_out.weight gives a width of 99, but the U-Net takes 48"),
        ("proj_out.weight", (48, 99), "proj_out.weight takes a width of 99, but the image encoder gives 64"),
        ("learnable_vector", (1, 1, 99), "learnable_vector has a width of 99, but the U-Net takes 48"),
    ],
)
def test_parts_that_were_not_made_for_each_other_are_told(
    states: dict[str, dict[str, Tensor]], key: str, shape: tuple[int, ...], words: str
) -> None:
    for family in FAMILIES:
        with pytest.raises(WeightsFileError, match=re.escape(words + "; the file mixes two models")):
            sort_checkpoint({**states[family], key: torch.zeros(shape)})
