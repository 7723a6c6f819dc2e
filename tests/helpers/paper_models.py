"""A plain statement of the paper's four models: their checkpoints' keys and shapes, and their arithmetic, in torch alone.

Nothing here is clever, so that it can be read beside the facts (the authors' code) and believed. All four have SD1.5's U-Net
and VAE (CompVis/stable-diffusion: ldm/modules/attention.py, ldm/modules/diffusionmodules/openaimodel.py and model.py).

Shapes: B images, C input channels, H x W latent sides (multiples of 8), S context tokens, N = 1 + n·n tokens of a vision model.
A state maps a checkpoint's own keys to its tensors; `checkpoint` makes one with random weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]
Shapes = Iterator[tuple[str, tuple[int, ...]]]

# ---------------------------------------------------------------------------------------------------- facts

CHANNELS = {"paint-by-example": 9, "dci-vton": 9, "stableviton": 13, "custom": 12}
"""Channels that each family's U-Net takes; the first four are the noisy latent."""
LATENT = 4
STEPS = 1000
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Pixels in 0-1, squashed to a square, are normalised by these before the vision model, in all three released codes."""

UNET = "model.diffusion_model"
CONTROL = "control_model"
VISION = "cond_stage_model.transformer.vision_model"

CONV, RES, ATT, DOWN, UP = "conv", "residual", "attention", "down", "up"
# fmt: off
# A block: (its width in, its width out, in multiples of the first width; what it holds, by the number that ends its key).
ENCODER = (
    (0, 1, (CONV,)), (1, 1, (RES, ATT)), (1, 1, (RES, ATT)), (1, 1, (DOWN,)),
    (1, 2, (RES, ATT)), (2, 2, (RES, ATT)), (2, 2, (DOWN,)),
    (2, 4, (RES, ATT)), (4, 4, (RES, ATT)), (4, 4, (DOWN,)),
    (4, 4, (RES,)), (4, 4, (RES,)),
)
MIDDLE = (4, 4, (RES, ATT, RES))
DECODER = (  # the width in is what comes from below + the encoder's map, concatenated in this order
    (4 + 4, 4, (RES,)), (4 + 4, 4, (RES,)), (4 + 4, 4, (RES, UP)),
    (4 + 4, 4, (RES, ATT)), (4 + 4, 4, (RES, ATT)), (4 + 2, 4, (RES, ATT, UP)),
    (4 + 2, 2, (RES, ATT)), (2 + 2, 2, (RES, ATT)), (2 + 1, 2, (RES, ATT, UP)),
    (2 + 1, 1, (RES, ATT)), (1 + 1, 1, (RES, ATT)), (1 + 1, 1, (RES, ATT)),
)
# fmt: on
FIRST_WARPED = 3
"""StableVITON's warp block k stands before `output_blocks[3 + k]` and reads encoder map 8 - k."""
WARP = ((4, 4), (4, 4), (4, 2), (4, 2), (2, 2), (2, 1), (2, 1), (1, 1), (1, 1))
"""(own width, width of the encoder map that it reads) of warp block k: 1280 and 1280, …, 320 and 320 at the real width."""


@dataclass(frozen=True)
class Sizes:
    """Widths of a model; the defaults are the real ones. Widths are multiples of 32, since every group norm has 32 groups."""

    width: int = 320
    context: int = 768
    clip_width: int = 1024
    clip_layers: int = 24
    clip_heads: int = 16
    clip_mlp: int = 4096
    patch: int = 14
    picture: int = 224
    mapper_layers: int = 5
    vae_width: int = 128
    null_tokens: int = 1
    """Tokens of the custom model's `learnable_vector`: 1 (one for all places) or `clip_tokens`; the others always have 1."""

    @property
    def clip_tokens(self) -> int:
        """N: the class token and the patches, row-major."""
        return 1 + (self.picture // self.patch) ** 2


SMALL = Sizes(32, 48, clip_width=64, clip_layers=2, clip_heads=4, clip_mlp=128, picture=56, vae_width=32)

# ----------------------------------------------------------------------------------------- keys and shapes


def shapes(family: str, sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Every key of the family's checkpoint but the schedule's, with its tensor's shape; allocates nothing."""
    return dict(_all(family, sizes))


def _all(family: str, s: Sizes) -> Shapes:
    """Source of the names outside the U-Net: `LatentDiffusion` in each repository's ldm/models/diffusion/ddpm.py."""
    yield from _unet(UNET, CHANNELS[family], s)
    yield from _vae("first_stage_model", s.vae_width)
    yield from _vision(VISION, s)
    yield from _layer("proj_out", s.context, s.clip_width)
    yield "learnable_vector", (1, s.null_tokens if family == "custom" else 1, s.context)
    if family != "custom":
        yield from _mapper("cond_stage_model", s)
    if family == "dci-vton":
        yield from _vgg("vgg", s.vae_width // 2)
    if family == "stableviton":
        yield from _encoder(CONTROL, CHANNELS[family], s)
        yield from _layer(f"{CONTROL}.cond_first_block.0", s.width, LATENT, 3, 3)
        for k, (own, read) in enumerate(WARP):
            yield from _transformer(f"{UNET}.warp_flow_blks.{k}", own * s.width, read * s.width)
            yield from _layer(f"{UNET}.warp_zero_convs.{k}", own * s.width, own * s.width, 1, 1)
        yield from _layer("lastzc", LATENT, LATENT, 1, 1)


def _layer(name: str, *shape: int, bias: bool = True) -> Shapes:
    """A norm (C), a linear layer (out, in) or a convolution (out, in, side, side)."""
    yield f"{name}.weight", shape
    if bias:
        yield f"{name}.bias", shape[:1]


def _residual(name: str, taken: int, out: int, embedded: int) -> Shapes:
    yield from _layer(f"{name}.in_layers.0", taken)
    yield from _layer(f"{name}.in_layers.2", out, taken, 3, 3)
    yield from _layer(f"{name}.emb_layers.1", out, embedded)
    yield from _layer(f"{name}.out_layers.0", out)
    yield from _layer(f"{name}.out_layers.3", out, out, 3, 3)
    if taken != out:
        yield from _layer(f"{name}.skip_connection", out, taken, 1, 1)


def _transformer(name: str, width: int, context: int) -> Shapes:
    yield from _layer(f"{name}.norm", width)
    yield from _layer(f"{name}.proj_in", width, width, 1, 1)
    inner = f"{name}.transformer_blocks.0"
    for attention, keys in (("attn1", width), ("attn2", context)):
        yield from _layer(f"{inner}.{attention}.to_q", width, width, bias=False)
        yield from _layer(f"{inner}.{attention}.to_k", width, keys, bias=False)
        yield from _layer(f"{inner}.{attention}.to_v", width, keys, bias=False)
        yield from _layer(f"{inner}.{attention}.to_out.0", width, width)
    yield from _layer(f"{inner}.ff.net.0.proj", 2 * 4 * width, width)  # values, then gates
    yield from _layer(f"{inner}.ff.net.2", width, 4 * width)
    for norm in ("norm1", "norm2", "norm3"):
        yield from _layer(f"{inner}.{norm}", width)
    yield from _layer(f"{name}.proj_out", width, width, 1, 1)


def _block(name: str, block: tuple[int, int, tuple[str, ...]], s: Sizes) -> Shapes:
    taken, out = block[0] * s.width, block[1] * s.width
    for i, kind in enumerate(block[2]):
        if kind == RES:
            yield from _residual(f"{name}.{i}", taken, out, 4 * s.width)
        elif kind == ATT:
            yield from _transformer(f"{name}.{i}", out, s.context)
        else:
            yield from _layer(f"{name}.{i}.{'op' if kind == DOWN else 'conv'}", out, out, 3, 3)


def _encoder(name: str, channels: int, s: Sizes) -> Shapes:
    """A U-Net up to its middle, which is also StableVITON's control model (`NoZeroConvControlNet`)."""
    yield from _layer(f"{name}.time_embed.0", 4 * s.width, s.width)
    yield from _layer(f"{name}.time_embed.2", 4 * s.width, 4 * s.width)
    yield from _layer(f"{name}.input_blocks.0.0", s.width, channels, 3, 3)
    for i, block in enumerate(ENCODER[1:], start=1):
        yield from _block(f"{name}.input_blocks.{i}", block, s)
    yield from _block(f"{name}.middle_block", MIDDLE, s)


def _unet(name: str, channels: int, s: Sizes) -> Shapes:
    yield from _encoder(name, channels, s)
    for i, block in enumerate(DECODER):
        yield from _block(f"{name}.output_blocks.{i}", block, s)
    yield from _layer(f"{name}.out.0", s.width)
    yield from _layer(f"{name}.out.2", LATENT, s.width, 3, 3)


def _vae(name: str, width: int) -> Shapes:
    """`AutoencoderKL` with ch_mult 1, 2, 4, 4 (ldm/models/autoencoder.py, ldm/modules/diffusionmodules/model.py)."""
    mult = (1, 2, 4, 4)
    yield from _layer(f"{name}.encoder.conv_in", width, 3, 3, 3)
    yield from _layer(f"{name}.decoder.conv_in", 4 * width, LATENT, 3, 3)
    for level, m in enumerate(mult):
        before, after = mult[max(level - 1, 0)] * width, mult[min(level + 1, 3)] * width
        for i in range(2):
            yield from _vae_residual(f"{name}.encoder.down.{level}.block.{i}", before if i == 0 else m * width, m * width)
        for i in range(3):
            yield from _vae_residual(f"{name}.decoder.up.{level}.block.{i}", after if i == 0 else m * width, m * width)
        if level < 3:
            yield from _layer(f"{name}.encoder.down.{level}.downsample.conv", m * width, m * width, 3, 3)
        if level > 0:
            yield from _layer(f"{name}.decoder.up.{level}.upsample.conv", m * width, m * width, 3, 3)
    for side, last, out in (("encoder", 4 * width, 2 * LATENT), ("decoder", width, 3)):
        yield from _vae_residual(f"{name}.{side}.mid.block_1", 4 * width, 4 * width)
        yield from _layer(f"{name}.{side}.mid.attn_1.norm", 4 * width)
        for part in ("q", "k", "v", "proj_out"):
            yield from _layer(f"{name}.{side}.mid.attn_1.{part}", 4 * width, 4 * width, 1, 1)
        yield from _vae_residual(f"{name}.{side}.mid.block_2", 4 * width, 4 * width)
        yield from _layer(f"{name}.{side}.norm_out", last)
        yield from _layer(f"{name}.{side}.conv_out", out, last, 3, 3)
    yield from _layer(f"{name}.quant_conv", 2 * LATENT, 2 * LATENT, 1, 1)
    yield from _layer(f"{name}.post_quant_conv", LATENT, LATENT, 1, 1)


def _vae_residual(name: str, taken: int, out: int) -> Shapes:
    yield from _layer(f"{name}.norm1", taken)
    yield from _layer(f"{name}.conv1", out, taken, 3, 3)
    yield from _layer(f"{name}.norm2", out)
    yield from _layer(f"{name}.conv2", out, out, 3, 3)
    if taken != out:
        yield from _layer(f"{name}.nin_shortcut", out, taken, 1, 1)


def _vision(name: str, s: Sizes) -> Shapes:
    """CLIP's vision model as transformers < 4.31 stored it: `pre_layrnorm` is their spelling, `position_ids` a saved buffer."""
    yield f"{name}.embeddings.class_embedding", (s.clip_width,)
    yield f"{name}.embeddings.position_ids", (1, s.clip_tokens)
    yield f"{name}.embeddings.patch_embedding.weight", (s.clip_width, 3, s.patch, s.patch)
    yield f"{name}.embeddings.position_embedding.weight", (s.clip_tokens, s.clip_width)
    yield from _layer(f"{name}.pre_layrnorm", s.clip_width)
    for i in range(s.clip_layers):
        layer = f"{name}.encoder.layers.{i}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            yield from _layer(f"{layer}.self_attn.{part}", s.clip_width, s.clip_width)
        yield from _layer(f"{layer}.layer_norm1", s.clip_width)
        yield from _layer(f"{layer}.mlp.fc1", s.clip_mlp, s.clip_width)
        yield from _layer(f"{layer}.mlp.fc2", s.clip_width, s.clip_mlp)
        yield from _layer(f"{layer}.layer_norm2", s.clip_width)
    yield from _layer(f"{name}.post_layernorm", s.clip_width)


def _mapper(name: str, s: Sizes) -> Shapes:
    """`FrozenCLIPImageEmbedder` of Paint-by-Example (ldm/modules/encoders/modules.py, xf.py), unchanged in the other two."""
    width = s.clip_width
    for i in range(s.mapper_layers):
        block = f"{name}.mapper.resblocks.{i}"
        yield from _layer(f"{block}.attn.c_qkv", 3 * width, width)
        yield from _layer(f"{block}.attn.c_proj", width, width)
        yield from _layer(f"{block}.ln_1", width)
        yield from _layer(f"{block}.mlp.c_fc", 4 * width, width)
        yield from _layer(f"{block}.mlp.c_proj", width, 4 * width)
        yield from _layer(f"{block}.ln_2", width)
    yield from _layer(f"{name}.final_ln", width)


def _vgg(name: str, width: int) -> Shapes:
    """DCI-VTON's training loss leaves VGG19's 16 convolutions in the file (its ldm/modules/vgg.py); nothing reads them."""
    taken = 3
    for level, (mult, count) in enumerate(((1, 2), (2, 2), (4, 4), (8, 4), (8, 4)), start=1):
        for i in range(1, count + 1):
            yield from _layer(f"{name}.conv{level}_{i}", mult * width, taken, 3, 3)
            taken = mult * width


# ------------------------------------------------------------------------------------------------- weights


def checkpoint(family: str, sizes: Sizes, seed: int = 0) -> dict[str, Tensor]:
    """A state dict of the family's real key layout with random fp32 weights: activations stay O(1), no tensor is all zeros.

    The family is a key of CHANNELS. Custom: no weights or code are published, so its layout is our choice: the U-Net, VAE and
    vision model's keys as the others', no mapper, `proj_out` on every token, `learnable_vector` (1, null_tokens, context).
    """
    generator = torch.Generator().manual_seed(seed)
    state = {name: _random(name, shape, generator) for name, shape in shapes(family, sizes).items()}
    state.update(schedule())
    if family == "stableviton":  # a saved buffer there; it is all zeros in truth
        state["logvar"] = 0.01 * torch.randn(STEPS, generator=generator)
    return state


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Variance 1 / fan-in for what multiplies, near 1 for a norm's weight, small for a bias, 1 for an embedding."""
    if name.endswith("position_ids"):
        return torch.arange(shape[1])[None]
    value = torch.randn(shape, generator=generator)
    if name.endswith(("class_embedding", "position_embedding.weight", "learnable_vector")):
        return value
    if len(shape) == 1:
        return 0.1 * value + (1.0 if name.endswith(".weight") else 0.0)
    return value / math.sqrt(math.prod(shape[1:]))


def schedule() -> dict[str, Tensor]:
    """The (1000,) buffers that a checkpoint keeps (`register_schedule` in ddpm.py); the betas are linear in their roots."""
    betas = torch.linspace(0.00085**0.5, 0.0120**0.5, STEPS, dtype=torch.float64) ** 2
    alphas = 1 - betas
    kept = alphas.cumprod(0)  # ᾱ
    before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
    variance = betas * (1 - before) / (1 - kept)
    buffers = {
        "betas": betas,
        "alphas_cumprod": kept,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": kept.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - kept).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - kept).log(),
        "sqrt_recip_alphas_cumprod": (1 / kept).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / kept - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - kept),
        "posterior_mean_coef2": (1 - before) * alphas.sqrt() / (1 - kept),
    }
    return {name: value.float() for name, value in buffers.items()}


# ------------------------------------------------------------------------------------- the denoising network


def unet(state: State, x: Tensor, t: Tensor, context: Tensor, hints: list[Tensor] | None = None, heads: int = 8) -> Tensor:
    """ε of the main U-Net: x (B, C, H, W), t (B,), context (B, S, context) -> (B, 4, H, W).

    With StableVITON's 13 `hints` (from `control`), before decoder block 3 + k and before its skip is concatenated:
    h <- h + zero_conv_k(transformer_k(h, tokens of hint 8 - k)), k = 0 … 8; hints 9 … 12 are dropped
    (its cldm/warping_cldm_network.py). Without hints it is the plain U-Net.
    """
    maps, h, embedded = _down(state, UNET, x, t, context, heads, added=None)
    for i, (_, _, kinds) in enumerate(DECODER):
        k = i - FIRST_WARPED
        if hints is not None and k >= 0:
            tokens = hints[8 - k].flatten(2).transpose(1, 2)  # (B, C, h, w) -> (B, h·w, C), row-major
            moved = _spatial_transformer(state, f"{UNET}.warp_flow_blks.{k}", h, tokens, heads)
            h = h + _apply(state, f"{UNET}.warp_zero_convs.{k}", moved)
        h = _run(state, f"{UNET}.output_blocks.{i}", kinds, torch.cat([h, maps.pop()], 1), embedded, context, heads)
    return _apply(state, f"{UNET}.out.2", F.silu(_group_norm(state, f"{UNET}.out.0", h, 1e-5)))


def control(state: State, x: Tensor, cloth_latent: Tensor, t: Tensor, context: Tensor, heads: int = 8) -> list[Tensor]:
    """StableVITON's 13 feature maps, 12 of the encoder's blocks and the middle's, each (B, C_i, H_i, W_i).

    x is all that the main U-Net sees (B, 13, H, W), context its context; the garment's scaled latent (B, 4, H, W) enters
    as a 3×3 convolution that is added after the first block (`NoZeroConvControlNet`; scales of 1 in `ControlLDM`).
    """
    added = _apply(state, f"{CONTROL}.cond_first_block.0", cloth_latent)
    maps, middle, _ = _down(state, CONTROL, x, t, context, heads, added)
    return [*maps, middle]


def _down(
    state: State, name: str, x: Tensor, t: Tensor, context: Tensor, heads: int, added: Tensor | None
) -> tuple[list[Tensor], Tensor, Tensor]:
    """The encoder's 12 maps, the middle's, and the embedded time (B, 4·width), from waves of t · 10000^(-i / half)."""
    half = state[f"{name}.time_embed.0.weight"].shape[1] // 2
    angles = t[:, None].float() * torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
    waves = torch.cat([angles.cos(), angles.sin()], -1).to(x.dtype)
    embedded = _apply(state, f"{name}.time_embed.2", F.silu(_apply(state, f"{name}.time_embed.0", waves)))
    h, maps = x, []
    for i, (_, _, kinds) in enumerate(ENCODER):
        h = _run(state, f"{name}.input_blocks.{i}", kinds, h, embedded, context, heads)
        if i == 0 and added is not None:
            h = h + added
        maps.append(h)
    return maps, _run(state, f"{name}.middle_block", MIDDLE[2], h, embedded, context, heads), embedded


def _run(state: State, name: str, kinds: tuple[str, ...], h: Tensor, embedded: Tensor, context: Tensor, heads: int) -> Tensor:
    """One block of the U-Net: (B, C, h, w) -> (B, C', h', w')."""
    for i, kind in enumerate(kinds):
        part = f"{name}.{i}"
        if kind == CONV:
            h = _apply(state, part, h)
        elif kind == RES:
            h = _residual_block(state, part, h, embedded)
        elif kind == ATT:
            h = _spatial_transformer(state, part, h, context, heads)
        elif kind == DOWN:
            h = _apply(state, f"{part}.op", h, stride=2)
        else:
            h = _apply(state, f"{part}.conv", F.interpolate(h, scale_factor=2, mode="nearest"))
    return h


def _residual_block(state: State, name: str, x: Tensor, embedded: Tensor) -> Tensor:
    h = _apply(state, f"{name}.in_layers.2", F.silu(_group_norm(state, f"{name}.in_layers.0", x, 1e-5)))
    h = h + _apply(state, f"{name}.emb_layers.1", F.silu(embedded))[:, :, None, None]
    h = _apply(state, f"{name}.out_layers.3", F.silu(_group_norm(state, f"{name}.out_layers.0", h, 1e-5)))
    skip = f"{name}.skip_connection"
    return h + (_apply(state, skip, x) if f"{skip}.weight" in state else x)


def _spatial_transformer(state: State, name: str, x: Tensor, context: Tensor, heads: int) -> Tensor:
    """(B, C, h, w) and context (B, S, D) -> (B, C, h, w); its group norm's ε is 1e-6, the others' 1e-5."""
    inner = f"{name}.transformer_blocks.0"
    h = _apply(state, f"{name}.proj_in", _group_norm(state, f"{name}.norm", x, 1e-6)).flatten(2).transpose(1, 2)
    normed = _layer_norm(state, f"{inner}.norm1", h)
    h = h + _cross(state, f"{inner}.attn1", normed, normed, heads)
    h = h + _cross(state, f"{inner}.attn2", _layer_norm(state, f"{inner}.norm2", h), context, heads)
    value, gate = _apply(state, f"{inner}.ff.net.0.proj", _layer_norm(state, f"{inner}.norm3", h)).chunk(2, -1)
    h = h + _apply(state, f"{inner}.ff.net.2", value * F.gelu(gate))
    return x + _apply(state, f"{name}.proj_out", h.transpose(1, 2).unflatten(2, x.shape[2:]))


def _cross(state: State, name: str, x: Tensor, context: Tensor, heads: int) -> Tensor:
    q = _apply(state, f"{name}.to_q", x)
    k, v = _apply(state, f"{name}.to_k", context), _apply(state, f"{name}.to_v", context)
    return _apply(state, f"{name}.to_out.0", _attend(q, k, v, heads))


# --------------------------------------------------------------------------------------- the vision model


def single_token(state: State, pixels: Tensor, heads: int = 16) -> Tensor:
    """The reference of the three released models: normalised pixels (B, 3, picture, picture) -> (B, 1, context).

    The class token after the post-layernorm, the mapper, `final_ln`, `proj_out`. `heads` are the vision model's.
    """
    z = _layer_norm(state, f"{VISION}.post_layernorm", vision_tokens(state, pixels, heads)[:, :1])
    for i in range(_count(state, "cond_stage_model.mapper.resblocks")):
        block = f"cond_stage_model.mapper.resblocks.{i}"
        q, k, v = _apply(state, f"{block}.attn.c_qkv", _layer_norm(state, f"{block}.ln_1", z)).chunk(3, -1)
        z = z + _apply(state, f"{block}.attn.c_proj", _attend(q, k, v, heads=1))
        wide = F.gelu(_apply(state, f"{block}.mlp.c_fc", _layer_norm(state, f"{block}.ln_2", z)))
        z = z + _apply(state, f"{block}.mlp.c_proj", wide)
    return _apply(state, "proj_out", _layer_norm(state, "cond_stage_model.final_ln", z))


def patch_tokens(state: State, pixels: Tensor, heads: int = 16) -> Tensor:
    """The custom model's reference: normalised pixels -> (B, N, context), the class token first, then patches row-major.

    Our choice, since the paper leaves it open: `proj_out` on the last hidden state, without the post-layernorm.
    """
    return _apply(state, "proj_out", vision_tokens(state, pixels, heads))


def vision_tokens(state: State, pixels: Tensor, heads: int = 16) -> Tensor:
    """CLIP's last hidden state, before the post-layernorm: (B, 3, picture, picture) -> (B, N, clip_width)."""
    patch = state[f"{VISION}.embeddings.patch_embedding.weight"]
    patches = F.conv2d(pixels, patch, stride=patch.shape[-1]).flatten(2).transpose(1, 2)
    first = state[f"{VISION}.embeddings.class_embedding"].expand(len(pixels), 1, -1)
    z = torch.cat([first, patches], 1) + state[f"{VISION}.embeddings.position_embedding.weight"]
    z = _layer_norm(state, f"{VISION}.pre_layrnorm", z)
    for i in range(_count(state, f"{VISION}.encoder.layers")):
        layer = f"{VISION}.encoder.layers.{i}"
        h = _layer_norm(state, f"{layer}.layer_norm1", z)
        q, k, v = (_apply(state, f"{layer}.self_attn.{part}_proj", h) for part in "qkv")
        z = z + _apply(state, f"{layer}.self_attn.out_proj", _attend(q, k, v, heads))
        wide = _apply(state, f"{layer}.mlp.fc1", _layer_norm(state, f"{layer}.layer_norm2", z))
        z = z + _apply(state, f"{layer}.mlp.fc2", wide * torch.sigmoid(1.702 * wide))  # OpenAI's quick GELU
    return z


def _count(state: State, name: str) -> int:
    return len({key[len(name) + 1 :].split(".")[0] for key in state if key.startswith(f"{name}.")})


# ------------------------------------------------------------------------------------------------- one layer


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """softmax(Q Kᵀ / √d) V per head: (B, N, C), (B, S, C), (B, S, C) -> (B, N, C)."""
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
    weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def _apply(state: State, name: str, x: Tensor, stride: int = 1) -> Tensor:
    """A linear layer on the last axis, or a convolution that keeps the grid (halves it at stride 2)."""
    weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
    return F.linear(x, weight, bias) if weight.ndim == 2 else F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2)


def _group_norm(state: State, name: str, x: Tensor, eps: float) -> Tensor:
    return F.group_norm(x, 32, state[f"{name}.weight"], state[f"{name}.bias"], eps)


def _layer_norm(state: State, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)
