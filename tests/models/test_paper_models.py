"""The plain statement of the paper's models, paper_models.py: its keys and counts, and its arithmetic beside other code's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import paper_models as paper
import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

SMALL = paper.SMALL
FAMILIES = list(paper.CHANNELS)


@pytest.fixture(scope="module")
def viton() -> dict[str, Tensor]:
    return paper.checkpoint("stableviton", SMALL)


@pytest.fixture(scope="module")
def call() -> dict[str, Tensor]:
    """One call of StableVITON's: latents of 16 x 8, two different times."""
    g = torch.Generator().manual_seed(5)
    return {
        "x": torch.randn(2, 13, 16, 8, generator=g),
        "cloth": torch.randn(2, 4, 16, 8, generator=g),
        "t": torch.tensor([981, 21]),
        "context": torch.randn(2, 1, SMALL.context, generator=g),
    }


def in_double(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """In float64 another ε in a norm shows too."""
    return {name: value.double() if value.is_floating_point() else value for name, value in state.items()}


def run_viton(state: Mapping[str, Tensor], call: Mapping[str, Tensor]) -> Tensor:
    hints = paper.control(state, call["x"], call["cloth"], call["t"], call["context"])
    return paper.unet(state, call["x"], call["t"], call["context"], hints)


# ----------------------------------------------------------------------------------------- keys and counts


@pytest.mark.parametrize(
    ("family", "start", "keys", "millions"),
    [
        ("paint-by-example", "model.diffusion_model.", 686, 859.5),
        ("dci-vton", "model.diffusion_model.", 686, 859.5),
        ("custom", "model.diffusion_model.", 686, 859.5),
        ("stableviton", "model.diffusion_model.", 938, 1039.3),
        ("stableviton", "model.diffusion_model.warp_", 252, 179.8),
        ("stableviton", "control_model.", 300, 348.8),
        ("dci-vton", "vgg.", 32, 20.0),
        ("paint-by-example", "first_stage_model.", 248, 83.7),
        ("paint-by-example", "cond_stage_model.transformer.vision_model.", 392, 303.2),
        ("paint-by-example", "cond_stage_model.mapper.", 60, 63.0),
    ],
)
def test_the_real_sizes_have_the_known_counts(family: str, start: str, keys: int, millions: float) -> None:
    found = [shape for name, shape in paper.shapes(family, paper.Sizes()).items() if name.startswith(start)]
    assert len(found) == keys
    assert sum(map(math.prod, found)) / 1e6 == pytest.approx(millions, abs=0.05)


def test_the_real_warp_has_the_known_widths() -> None:
    shapes = paper.shapes("stableviton", paper.Sizes())
    blocks = [f"model.diffusion_model.warp_flow_blks.{k}.transformer_blocks.0.attn2.to_k.weight" for k in range(9)]
    assert [shapes[name][0] for name in blocks] == [1280] * 4 + [640] * 3 + [320] * 2
    assert [shapes[name][1] for name in blocks] == [1280] * 2 + [640] * 3 + [320] * 4


@pytest.mark.parametrize("family", FAMILIES)
def test_a_small_checkpoint_has_the_real_keys_and_no_dead_tensor(family: str) -> None:
    state = paper.checkpoint(family, SMALL)
    assert set(paper.shapes(family, SMALL)) == set(paper.shapes(family, replace(paper.Sizes(), clip_layers=2)))
    assert set(state) - set(paper.shapes(family, SMALL)) >= {"betas", "alphas_cumprod"}
    assert state["alphas_cumprod"][-1] == pytest.approx(0.0047, abs=1e-4)
    for name, value in state.items():
        assert value.dtype == (torch.int64 if name.endswith("position_ids") else torch.float32), name
        assert value.isfinite().all(), name
        assert value.any(), name


def test_a_checkpoint_follows_its_seed() -> None:
    one, same, other = (paper.checkpoint("custom", SMALL, seed)["proj_out.weight"] for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_customs_null_may_have_a_token_for_every_place() -> None:
    one, all_places = SMALL, replace(SMALL, null_tokens=SMALL.clip_tokens)
    assert [paper.shapes("custom", sizes)["learnable_vector"] for sizes in (one, all_places)] == [(1, 1, 48), (1, 17, 48)]


class Seen(Mapping[str, Tensor]):
    """A state that notes which tensors are read."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state, self.read = state, set[str]()

    def __getitem__(self, name: str) -> Tensor:
        value = self.state[name]
        self.read.add(name)
        return value

    def __contains__(self, name: object) -> bool:
        return name in self.state

    def __iter__(self) -> Iterator[str]:
        return iter(self.state)

    def __len__(self) -> int:
        return len(self.state)


def test_every_weight_of_the_networks_is_read(viton: dict[str, Tensor], call: dict[str, Tensor]) -> None:
    seen = Seen(viton)
    run_viton(seen, call)
    paper.single_token(seen, torch.randn(1, 3, 56, 56), SMALL.clip_heads)
    unread = {name.split(".")[0] for name in viton if name not in seen.read and name not in paper.schedule()}
    assert unread == {"first_stage_model", "cond_stage_model", "learnable_vector", "lastzc", "logvar"}
    assert {name for name in viton if name.startswith("cond_stage_model.")} - seen.read == {
        "cond_stage_model.transformer.vision_model.embeddings.position_ids"
    }


# -------------------------------------------------------------------------------------- the U-Net's arithmetic

RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
OUTER = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
MIDDLE = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}


def diffusers_name(name: str) -> str:
    """diffusers' name of a layer of the plain U-Net: three numbered blocks make one of its levels."""
    if name in OUTER:
        return OUTER[name]
    first, rest = name.split(".", 1)
    if first == "middle_block":
        part, rest = rest.split(".", 1)
        return f"mid_block.{MIDDLE[part]}.{RESIDUAL.get(rest, rest)}"
    number, part, rest = rest.split(".", 2)
    if rest == "op":
        return f"down_blocks.{int(number) // 3 - 1}.downsamplers.0.conv"
    if rest == "conv":
        return f"up_blocks.{int(number) // 3}.upsamplers.0.conv"
    level, i = divmod(int(number) - (first == "input_blocks"), 3)
    side = "down_blocks" if first == "input_blocks" else "up_blocks"
    return f"{side}.{level}.{'resnets' if part == '0' else 'attentions'}.{i}.{RESIDUAL.get(rest, rest)}"


@pytest.mark.parametrize(("family", "tokens"), [("paint-by-example", 1), ("custom", 17), ("stableviton", 1)])
def test_the_unet_equals_diffusers(family: str, tokens: int) -> None:
    state, channels = in_double(paper.checkpoint(family, SMALL)), paper.CHANNELS[family]
    host = UNet2DConditionModel(
        in_channels=channels,
        out_channels=4,
        block_out_channels=tuple(m * SMALL.width for m in (1, 2, 4, 4)),
        layers_per_block=2,
        cross_attention_dim=SMALL.context,
        attention_head_dim=8,  # the number of heads, in that library
    ).double()
    plain = {}
    for name, value in state.items():
        if name.startswith("model.diffusion_model.") and ".warp_" not in name:
            layer, kind = name.removeprefix("model.diffusion_model.").rsplit(".", 1)
            plain[f"{diffusers_name(layer)}.{kind}"] = value
    host.eval().load_state_dict(plain, strict=True)
    g = torch.Generator().manual_seed(6)
    x = torch.randn(2, channels, 8, 16, generator=g, dtype=torch.float64)
    context = torch.randn(2, tokens, SMALL.context, generator=g, dtype=torch.float64)
    t = torch.tensor([981, 21])
    with torch.no_grad():
        expected = host(x, t, encoder_hidden_states=context).sample
    assert 0.2 < expected.std() < 5
    assert torch.allclose(paper.unet(state, x, t, context), expected, rtol=0, atol=1e-9)


# -------------------------------------------------------------------------------------------- StableVITON


def test_control_gives_thirteen_maps_that_halve_and_widen(viton: dict[str, Tensor], call: dict[str, Tensor]) -> None:
    hints = paper.control(viton, call["x"], call["cloth"], call["t"], call["context"])
    assert [hint.shape[1] // SMALL.width for hint in hints] == [1, 1, 1, 1, 2, 2, 2, 4, 4, 4, 4, 4, 4]
    assert [tuple(hint.shape[2:]) for hint in hints] == [(16, 8)] * 3 + [(8, 4)] * 3 + [(4, 2)] * 3 + [(2, 1)] * 4


def test_the_garment_is_added_after_the_first_convolution(viton: dict[str, Tensor], call: dict[str, Tensor]) -> None:
    first = paper.control(viton, call["x"], call["cloth"], call["t"], call["context"])[0]
    both = torch.cat([viton[f"control_model.{name}.weight"] for name in ("input_blocks.0.0", "cond_first_block.0")], 1)
    bias = viton["control_model.input_blocks.0.0.bias"] + viton["control_model.cond_first_block.0.bias"]
    expected = nn.functional.conv2d(torch.cat([call["x"], call["cloth"]], 1), both, bias, padding=1)
    assert torch.allclose(first, expected, rtol=0, atol=1e-5)


def test_the_result_follows_the_garment_and_every_warp_block(viton: dict[str, Tensor], call: dict[str, Tensor]) -> None:
    x, t, context = call["x"], call["t"], call["context"]
    hints = paper.control(viton, x, call["cloth"], t, context)
    before = paper.unet(viton, x, t, context, hints)
    assert (before - paper.unet(viton, x, t, context)).abs().max() > 0.1
    assert (before - run_viton(viton, {**call, "cloth": call["cloth"].flip(3)})).abs().max() > 1e-2
    for k in range(9):
        name = f"model.diffusion_model.warp_flow_blks.{k}.transformer_blocks.0.attn2.to_k.weight"
        changed = paper.unet({**viton, name: viton[name].flip(0)}, x, t, context, hints)
        assert (before - changed).abs().max() > 1e-4, name


def test_the_middle_and_the_lowest_three_maps_are_dropped(viton: dict[str, Tensor], call: dict[str, Tensor]) -> None:
    x, t, context = call["x"], call["t"], call["context"]
    hints = paper.control(viton, x, call["cloth"], t, context)
    other = [hint if i < 9 else torch.full_like(hint, torch.nan) for i, hint in enumerate(hints)]
    assert torch.equal(paper.unet(viton, x, t, context, hints), paper.unet(viton, x, t, context, other))


def test_a_warp_whose_zero_convolutions_are_zero_is_no_warp(viton: dict[str, Tensor], call: dict[str, Tensor]) -> None:
    untrained = {name: value * (".warp_zero_convs." not in name) for name, value in viton.items()}
    assert torch.equal(run_viton(untrained, call), paper.unet(viton, call["x"], call["t"], call["context"]))


# ----------------------------------------------------------------------------------------- the vision model


TORCHS = ("in_proj", "self_attn.out_proj", "linear1", "linear2", "norm1", "norm2")


def layer_of(state: Mapping[str, Tensor], names: dict[str, str], heads: int, act: nn.Module) -> nn.Module:
    """torch's own pre-norm layer with the weights of `names`, torch's name: ours."""
    weights = {f"{theirs}.{kind}": state[f"{ours}.{kind}"] for theirs, ours in names.items() for kind in ("weight", "bias")}
    for kind in ("weight", "bias"):
        weights[f"self_attn.in_proj_{kind}"] = weights.pop(f"in_proj.{kind}")
    middle, width = weights["linear1.weight"].shape
    layer = nn.TransformerEncoderLayer(width, heads, middle, 0.0, act, batch_first=True, norm_first=True)
    layer.double().eval().load_state_dict(weights, strict=True)
    return layer


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / (1 + torch.exp(-1.702 * x))


@torch.no_grad()
def test_the_single_token_equals_torchs_own_layers() -> None:
    state = in_double(paper.checkpoint("paint-by-example", SMALL))
    pixels = torch.randn(3, 3, 56, 56, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    vision = "cond_stage_model.transformer.vision_model"
    joined = dict(state)
    for i in range(2):
        attention = f"{vision}.encoder.layers.{i}.self_attn"
        for kind in ("weight", "bias"):
            joined[f"{attention}.in_proj.{kind}"] = torch.cat([state[f"{attention}.{part}_proj.{kind}"] for part in "qkv"])

    def norm(name: str, z: Tensor) -> Tensor:
        return nn.functional.layer_norm(z, (64,), state[f"{name}.weight"], state[f"{name}.bias"])

    tiles = pixels.unfold(2, 14, 14).unfold(3, 14, 14).permute(0, 2, 3, 1, 4, 5).reshape(3, 16, -1)
    patches = tiles @ state[f"{vision}.embeddings.patch_embedding.weight"].flatten(1).T
    z = torch.cat([state[f"{vision}.embeddings.class_embedding"].expand(3, 1, 64), patches], 1)
    z = norm(f"{vision}.pre_layrnorm", z + state[f"{vision}.embeddings.position_embedding.weight"])
    for i in range(2):
        parts = ("self_attn.in_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2", "layer_norm1", "layer_norm2")
        names = {theirs: f"{vision}.encoder.layers.{i}.{part}" for theirs, part in zip(TORCHS, parts)}
        z = layer_of(joined, names, SMALL.clip_heads, QuickGELU())(z)
    assert torch.allclose(paper.vision_tokens(state, pixels, SMALL.clip_heads), z, rtol=0, atol=1e-9)
    z = norm(f"{vision}.post_layernorm", z)[:, :1]
    for i in range(5):
        parts = ("attn.c_qkv", "attn.c_proj", "mlp.c_fc", "mlp.c_proj", "ln_1", "ln_2")
        names = {theirs: f"cond_stage_model.mapper.resblocks.{i}.{part}" for theirs, part in zip(TORCHS, parts)}
        z = layer_of(state, names, 1, nn.GELU())(z)
    expected = norm("cond_stage_model.final_ln", z) @ state["proj_out.weight"].T + state["proj_out.bias"]
    assert expected.shape == (3, 1, SMALL.context)
    assert torch.allclose(paper.single_token(state, pixels, SMALL.clip_heads), expected, rtol=0, atol=1e-9)


def test_the_customs_tokens_keep_their_places() -> None:
    state = paper.checkpoint("custom", SMALL)
    for name in list(state):  # without attention a patch reaches its own token alone
        if ".self_attn.out_proj." in name:
            state[name] = torch.zeros_like(state[name])
    pixels = torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(8))
    other = pixels.clone()
    other[:, :, 14:28, 42:56] += 1  # row 1, column 3 of 4 x 4
    moved = (paper.patch_tokens(state, pixels, 4) - paper.patch_tokens(state, other, 4)).abs().amax(-1)[0]
    assert moved.shape == (SMALL.clip_tokens,)
    assert moved.nonzero().flatten().tolist() == [1 + 1 * 4 + 3]
