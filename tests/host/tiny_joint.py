"""Tiny joint-attention models with random weights, of the host's own classes, on its real sampling path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any

import comfy.ldm.lumina.model
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import torch
from host_tests import tiny
from torch import Tensor

FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 8,
    "context_in_dim": 24,
    "hidden_size": 32,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 2,
    "axes_dim": [4, 6, 6],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
    "txt_ids_dims": [],
}
FLUX2 = {
    **FLUX,
    "image_model": "flux2",
    "in_channels": 128,
    "out_channels": 128,
    "vec_in_dim": None,
    "mlp_ratio": 3.0,
    "axes_dim": [4, 4, 4, 4],
    "theta": 2000,
    "patch_size": 1,
    "qkv_bias": False,
    "txt_ids_dims": [3],
    "global_modulation": True,
    "mlp_silu_act": True,
    "ops_bias": False,
    "default_ref_method": "index",
    "ref_index_scale": 10.0,
}
QWEN = {
    "image_model": "qwen_image",
    "in_channels": 64,
    "num_layers": 3,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "axes_dims_rope": (4, 6, 6),
}
KREA2 = {
    "image_model": "krea2",
    "features": 64,
    "heads": 4,
    "kvheads": 2,
    "multiplier": 1,
    "layers": 3,
    "tdim": 32,
    "txtdim": 12,
    "txtlayers": 2,
    "txtheads": 2,
    "txtkvheads": 2,
}
MAGE = {
    "image_model": "mage_flow",
    "num_layers": 3,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "axes_dims_rope": (4, 6, 6),
}
OMNIGEN2 = {
    "image_model": "omnigen2",
    "hidden_size": 32,
    "num_layers": 3,
    "num_refiner_layers": 1,
    "num_attention_heads": 4,
    "num_kv_heads": 2,
    "multiple_of": 8,
    "axes_dim_rope": (4, 2, 2),
    "text_feat_dim": 24,
}
BOOGU = {
    **{name: value for name, value in OMNIGEN2.items() if name != "text_feat_dim"},
    "image_model": "boogu",
    "num_layers": 2,
    "num_double_stream_layers": 2,
    "instruction_feat_dim": 24,
}
Z_IMAGE = {
    "image_model": "lumina2",
    "in_channels": 16,
    "dim": 256,
    "n_layers": 3,
    "n_refiner_layers": 1,
    "n_heads": 4,
    "n_kv_heads": 4,
    "multiple_of": 8,
    "ffn_dim_multiplier": 1.0,
    "qk_norm": True,
    "cap_feat_dim": 24,
    "axes_dims": (16, 24, 24),
    "axes_lens": (512, 64, 64),
    "z_image_modulation": True,
    "pad_tokens_multiple": 32,
}
HIDREAM = {
    "image_model": "hidream",
    "patch_size": 2,
    "in_channels": 16,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "caption_channels": [24, 20],
    "text_emb_dim": 8,
    "axes_dims_rope": (4, 6, 6),
    "llama_layers": [0, 1, 2, 3],
}


@dataclass(frozen=True)
class Arranged:
    """Where the tokens of a call are: the prompt's, the generated ones, each reference's, how many in all, and any text's."""

    words: slice
    generated: slice
    references: tuple[slice, ...]
    keys: int
    texts: Tensor


@dataclass(frozen=True)
class Family:
    """One family: the host's configuration class with a tiny shape, and what the truth of its sequence needs.

    Attributes:
        config: a class of `comfy.supported_models`.
        shape: what its network takes.
        channels: of a latent.
        layers: names of its blocks, in order.
        patch: latent cells per token, along each side.
        factor: pixels per latent cell.
        frames: whether a latent is (batch, channels, 1, h, w).
        text: the fewest tokens that a text is filled to.
        beside: what a conditioning of it has beside its tokens and references.
        last: whether the generated tokens come after the references'.
        sizes: (h, w) of two reference latents to try it with.
        around: tokens of the texts around the references.
        seen: rows and columns of each reference's vision tokens; None: the network takes none.
        unnamed: for the modules of which each computes one joint attention, the name of its block; where the host does not
            say it in a call's options.
    """

    config: str
    shape: dict[str, Any]
    channels: int = 16
    layers: tuple[str, ...] = ("double.0", "double.1", "single.0", "single.1")
    patch: int = 2
    factor: int = 8
    frames: bool = False
    text: int = 0
    beside: dict[str, Any] = field(default_factory=dict)
    last: bool = False
    sizes: tuple[tuple[int, int], ...] = ((4, 4), (5, 7))
    around: tuple[int, ...] = ()
    seen: tuple[tuple[int, int], ...] | None = None
    unnamed: dict[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> bool:
        """Whether it counts the words by a mask that the text encoder gives."""
        return self.config in ("Omnigen2", "Boogu", "ZImage")

    @property
    def images(self) -> int:
        """How many images a batch can have: the host fails at several with Z-Image's text behind the last reference."""
        return 1 if len(self.around) > len(self.sizes) else 2

    @property
    def here(self) -> bool:
        """Whether this host knows it."""
        return hasattr(comfy.supported_models, self.config)

    @property
    def takes(self) -> bool:
        """Whether this host gives it reference latents: older ones know Z-Image without."""
        return self.config not in ("FluxInpaint", "HiDream") and (
            self.config != "ZImage" or hasattr(comfy.ldm.lumina.model, "pad_zimage")
        )

    def tokens(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of tokens of a latent, (h, w)."""
        return -(-size[0] // self.patch), -(-size[1] // self.patch)

    def arranged(self, text: int, sizes: Sequence[tuple[int, int]], size: tuple[int, int]) -> Arranged:
        """The tokens of a call: ``sizes`` are those of the reference latents, (h, w), ``size`` that of the generated one."""
        if self.fill:
            return self._filled(text, sizes, size)
        words = max(text, self.text)
        start, spans = words, []
        for rows, columns in map(self.tokens, (*sizes, size) if self.last else (size, *sizes)):
            spans.append(slice(start, start + rows * columns))
            start = spans[-1].stop
        generated = spans.pop(-1 if self.last else 0)
        return Arranged(slice(0, words), generated, tuple(spans), start, torch.arange(words))

    @property
    def fill(self) -> int:
        """A multiple of how many tokens each piece of a call is filled up to; 0: they are not."""
        return int(self.shape.get("pad_tokens_multiple", 0))

    def _filled(self, text: int, sizes: Sequence[tuple[int, int]], size: tuple[int, int]) -> Arranged:
        count = len(sizes)
        around = [*self.around, *[0] * count]
        pieces = [*around[:count], text, *[n for n in around[count:] if n]]
        if self.seen is not None:
            pieces += [*[rows * columns for rows, columns in self.seen[:count]], *[0] * (count - len(self.seen)), 0]
        pieces += [rows * columns for rows, columns in map(self.tokens, (*sizes, size))]
        starts = [0]
        for piece in pieces:
            starts.append(starts[-1] + max(self.fill, -(-piece // self.fill) * self.fill))
        found = [slice(start, start + piece) for start, piece in zip(starts, pieces)]
        texts = torch.cat([torch.arange(x.start, x.stop) for x in found[: max(count + 1, len(self.around) + 1)]])
        return Arranged(found[count], found[-1], tuple(found[-1 - count : -1]), starts[-1], texts)


POOLED = {"pooled_output": torch.linspace(-1, 1, FLUX["vec_in_dim"])[None]}
DOUBLE = ("double.0", "double.1", "double.2")
INDEX = {"reference_latents_method": "index"}
SINGLE = ("single.0", "single.1", "single.2")
EVERY: dict[str, Family] = {
    "kontext": Family("Flux", FLUX, beside=POOLED),
    "fill": Family("FluxInpaint", {**FLUX, "in_channels": 96}, beside=POOLED),
    "longcat": Family("LongCatImage", {**FLUX, "guidance_embed": False, "vec_in_dim": None, "txt_ids_dims": [1, 2]}),
    "flux2": Family("Flux2", FLUX2, 128, patch=1, factor=16, text=512),
    "klein": Family("Flux2", {**FLUX2, "guidance_embed": False}, 128, patch=1, factor=16, text=512),
    "qwen": Family("QwenImage", QWEN, layers=DOUBLE, frames=True),
    "qwen-2511": Family("QwenImage", {**QWEN, "default_ref_method": "index_timestep_zero"}, layers=DOUBLE, frames=True),
    "krea2": Family("Krea2", KREA2, layers=SINGLE, frames=True, beside=INDEX),
    "mage": Family("MageFlow", MAGE, 128, layers=DOUBLE, patch=1, factor=16),
    "omnigen2": Family(
        "Omnigen2", OMNIGEN2, layers=SINGLE, last=True, unnamed={f"layers.{i}.attn": f"single.{i}" for i in range(3)}
    ),
    "omnigen2-bare": Family(  # its tokens come into the joint blocks as they are: elsewhere the references' are mixed before
        "Omnigen2",
        {**OMNIGEN2, "num_refiner_layers": 0},
        layers=SINGLE,
        last=True,
        unnamed={f"layers.{i}.attn": f"single.{i}" for i in range(3)},
    ),
    "z-image": Family("ZImage", Z_IMAGE, layers=DOUBLE, sizes=((4, 4), (6, 8)), around=(5, 40)),
    "z-image-omni": Family(
        "ZImage",
        {**Z_IMAGE, "siglip_feat_dim": 6},
        layers=DOUBLE,
        sizes=((4, 4), (6, 8)),
        around=(5, 40, 3),
        seen=((2, 3), (6, 6)),
    ),
    "z-image-bare": Family(
        "ZImage",
        {**Z_IMAGE, "siglip_feat_dim": 6, "n_refiner_layers": 0},
        layers=DOUBLE,
        sizes=((4, 4), (6, 12)),
        around=(5,),
        seen=((2, 3),),
    ),
    "hidream": Family(
        "HiDream",
        HIDREAM,
        beside=POOLED,
        unnamed={f"{kind}_stream_blocks.{i}.block.attn1": f"{kind}.{i}" for kind in ("double", "single") for i in range(2)},
    ),
    "boogu": Family(
        "Boogu",
        BOOGU,
        last=True,
        unnamed={
            **{f"double_stream_layers.{i}.img_instruct_attn": f"double.{i}" for i in range(2)},
            **{f"single_stream_layers.{i}.attn": f"single.{i}" for i in range(2)},
        },
    ),
}
FAMILIES = {name: family for name, family in EVERY.items() if family.here}
"""Those that this host has."""
TAKING = [name for name, family in FAMILIES.items() if family.takes]
"""Those that take reference latents."""
APART = [name for name in TAKING if name not in ("omnigen2", "boogu", "z-image", "z-image-omni")]
"""Those in which references do not look at each other before the joint blocks."""
SIZE = (6, 5)
"""Rows and columns of the generated latent: odd, where tokens are of 2 x 2 cells."""
WIDTH = 24
"""Numbers of a text token."""
NOW: list[str] = []
"""The block of a network with unnamed ones that is running now, if any."""


def block_of(options: Mapping[str, Any]) -> str | None:
    """The block whose joint attention was called with these options; None: it is none of theirs."""
    if NOW:
        return NOW[-1]
    return f"{options['block_type']}.{options['block_index']}" if "block_index" in options else None


@cache
def _network(name: str, seed: int, dtype: torch.dtype) -> Any:
    family = FAMILIES[name]
    config = getattr(comfy.supported_models, family.config)(dict(family.shape))
    config.set_inference_dtype(dtype, None if dtype == torch.float32 else torch.float32)
    network = config.get_model({})
    source = torch.Generator().manual_seed(seed)
    norms = [x for x in network.diffusion_model.modules() if "Norm" in type(x).__name__ and hasattr(x, "weight")]
    with torch.no_grad():
        for weight in network.diffusion_model.parameters():  # the host leaves them uninitialised
            random = torch.randn(weight.shape, generator=source)
            spread = 0.1 if weight.dim() < 2 else 1.5 / weight[0].numel() ** 0.5  # biases and scales, or matrices
            scales = any(weight is norm.weight for norm in norms)
            weight.copy_(spread * random + scales)
    for path, block in family.unnamed.items():
        module = network.diffusion_model.get_submodule(path)
        module.register_forward_pre_hook(lambda *_, block=block: NOW.append(block))
        module.register_forward_hook(lambda *_: NOW.clear(), always_call=True)
    return network.eval().requires_grad_(False)


def model(name: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> comfy.model_patcher.ModelPatcher:
    """A new patcher of a family's network, with weights that depend on the seed alone; others than fp32 are cast.

    Patchers of one seed share a network. What patches it, as a LoRA does, needs a seed of its own: the patches stay.
    """
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(_network(name, seed, dtype), load_device=device, offload_device=torch.device("cpu"))


def latent(name: str, size: tuple[int, int], seed: int, batch: int = 1) -> Tensor:
    """A random latent of a (h, w)."""
    source, frames = torch.Generator().manual_seed(seed), [1] * FAMILIES[name].frames
    return torch.randn(batch, FAMILIES[name].channels, *frames, *size, generator=source)


def conditioning(
    name: str, *references: tuple[int, int] | Tensor, tokens: int = 7, seed: int = 10, **beside: Any
) -> list[list[Any]]:
    """A CONDITIONING of random text with references, latents or (h, w) of random ones, as the host's own nodes leave them."""
    text = torch.randn(1, tokens, WIDTH, generator=torch.Generator().manual_seed(seed))
    latents = [r if isinstance(r, Tensor) else latent(name, r, seed + 100 + i) for i, r in enumerate(references)]
    mask = {"attention_mask": torch.ones(1, tokens, dtype=torch.long)} if FAMILIES[name].counts else {}
    own = {
        **FAMILIES[name].beside,
        **mask,
        **(_around(name, seed) if latents else {}),
        **({"reference_latents": latents} if latents else {}),
    }
    given = {"pooled_output": None, **own, **beside}
    return [[text, given]]


def _around(name: str, seed: int) -> dict[str, Any]:
    """Texts around the references, and what a vision encoder sees of them."""
    family, source = FAMILIES[name], torch.Generator().manual_seed(seed + 50)
    texts = [torch.randn(1, n, WIDTH, generator=source) for n in family.around]
    width = family.shape.get("siglip_feat_dim", 0)
    seen = [
        SimpleNamespace(
            image_sizes=[(3, 16 * rows, 16 * columns)],
            last_hidden_state=torch.randn(1, rows * columns, width, generator=source),
        )
        for rows, columns in family.seen or ()
    ]
    return {"reference_latents_text_embeds": texts, "clip_vision_outputs": seen} if texts else {}


def sample(
    name: str,
    used: Any,
    positive: list[list[Any]],
    negative: list[list[Any]] | None = None,
    size: tuple[int, int] = SIZE,
    batch: int = 1,
    **given: Any,
) -> Tensor:
    """What KSampler makes of an empty latent; cfg 1 where there is no negative."""
    start = {"samples": torch.zeros(batch, FAMILIES[name].channels, *size)}
    cfg = {"cfg": 1.0 if negative is None else 3.0}
    how = {"sampler": "euler", "scheduler": "simple", "steps": 2, "latent": start, **cfg, **given}
    return tiny.sample(used, positive, positive if negative is None else negative, **how)


def arranged(name: str, text: int, sizes: Sequence[tuple[int, int]], size: tuple[int, int] = SIZE) -> Arranged:
    """Where the tokens of a call of this family are."""
    return FAMILIES[name].arranged(text, sizes, size)


def spans(name: str, text: int, sizes: Sequence[tuple[int, int]], size: tuple[int, int] = SIZE) -> list[slice]:
    """The keys of a call: the generated tokens', then those of each reference."""
    found = arranged(name, text, sizes, size)
    return [found.generated, *found.references]
