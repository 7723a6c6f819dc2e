"""The families of joint-attention networks that can be recorded: where the host has them, and what sets them apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ...geometry.sequence import Sequence
from .joint_orders import Beside, filled, generated_last, llama_words, references_last, side_by_side
from .minimax import PAYLOAD, REMARK, Packed, packed, strips


def _latents(held: Any) -> list[Tensor]:
    return [held] if isinstance(held, Tensor) else list(held)


@dataclass(frozen=True)
class Family:
    """A class of network of the host whose calls have text, generated picture and references in one sequence.

    Attributes:
        module, name: where the host has the class.
        models: the models built on it.
        blocks: for each type of block, as the host says it in a call's options, the list that holds its blocks; in the order
            in which they are called.
        patch: latent cells per token, along each side.
        method: how the network places references if the conditioning does not say; None: it then ignores them.
        arrange: the order of the tokens of a call, from its `Given`.
        beside: what else decides that order, from the network and the arguments of the call.
        latents: the argument of a call that holds the latents of its references.
        held: these, from that argument.
        remark: what a reader of maps and cuts must know of these networks, as a sentence, from the number of references.
        video: its latents have frames, each of which is an image of the maps.
        has_marks: its text may hold a picture's tokens, see `joint_text`.
        counted: the host does not name the blocks in a call's options, so that they are counted, see `joint_count`.
    """

    module: str
    name: str
    models: str
    blocks: Mapping[str, str]
    patch: Callable[[Any], int]
    method: Callable[[Any], str | None] = lambda _network: "index"
    arrange: Callable[[Any], Sequence] = references_last
    beside: Callable[[Any, Mapping[str, Any]], Any] = lambda _network, _given: None
    latents: str = "ref_latents"
    held: Callable[[Any], list[Tensor]] = _latents
    video: bool = False
    counted: bool = False
    has_marks: bool = False
    remark: Callable[[int], str] = lambda _references: ""

    @property
    def has_canvas(self) -> bool:
        """Whether its calls have the text, then the latent, where there is no reference beside it."""
        return self.arrange in (references_last, generated_last)

    def layers(self, network: nn.Module) -> tuple[str, ...]:
        """The names of a network's attention layers, in order, such as "double.0"."""
        return tuple(f"{kind}.{i}" for kind, held in self.blocks.items() for i in range(len(getattr(network, held))))


def _patch_size(network: Any) -> int:
    return int(network.patch_size)


def _mixed(references: int) -> str:
    return (
        ""
        if references < 2
        else (
            "Before its joint blocks, this network lets the references' tokens look at each other, so that what is one's may "
            "arrive by way of another's; maps and cuts are of the joint blocks alone."
        )
    )


def _looking(_references: int) -> str:
    return (
        "Before its main blocks, this network lets the generated picture and all references look at each other without the "
        "text, so that what is a reference's may arrive that way, or by way of another's; maps and cuts are of the main blocks "
        "alone."
    )


FAMILIES = (
    Family(
        "comfy.ldm.flux.model",
        "Flux",
        "FLUX.1 Kontext, FLUX.2, LongCat-Image-Edit",
        {"double": "double_blocks", "single": "single_blocks"},
        _patch_size,
        has_marks=True,
    ),
    Family(
        "comfy.ldm.qwen_image.model",
        "QwenImageTransformer2DModel",
        "Qwen-Image-Edit to 2511, FireRed-Image-Edit",
        {"double": "transformer_blocks"},
        _patch_size,
    ),
    Family(
        "comfy.ldm.krea2.model",
        "SingleStreamDiT",
        "Krea-2",
        {"single": "blocks"},
        lambda network: int(network.patch),
        lambda network: network.default_ref_method,
    ),
    Family(
        "comfy.ldm.mage_flow.model",
        "MageFlowTransformer2DModel",
        "Mage-Flow-Edit",
        {"double": "transformer_blocks"},
        _patch_size,
    ),
    Family(
        "comfy.ldm.omnigen.omnigen2",
        "OmniGen2Transformer2DModel",
        "OmniGen2",
        {"single": "layers"},
        _patch_size,
        arrange=generated_last,
        counted=True,
        remark=_mixed,
    ),
    Family(
        "comfy.ldm.boogu.model",
        "BooguTransformer2DModel",
        "Boogu-Image",
        {"double": "double_stream_layers", "single": "single_stream_layers"},
        _patch_size,
        arrange=generated_last,
        counted=True,
        remark=_mixed,
    ),
    Family(
        "comfy.ldm.lumina.model",
        "NextDiT",
        "Z-Image with references",
        {"double": "layers"},
        _patch_size,
        arrange=filled,
        beside=Beside.of,
        remark=_looking,
    ),
    Family(
        "comfy.ldm.hidream.model",
        "HiDreamImageTransformer2DModel",
        "HiDream-E1",
        {"double": "double_stream_blocks", "single": "single_stream_blocks"},
        _patch_size,
        arrange=side_by_side,
        beside=llama_words,
        latents="image_cond",
        counted=True,
    ),
    Family(
        "comfy.ldm.minimax.model",
        "MiniMaxH3Model",
        "MiniMax H3",
        {"single": "blocks"},
        lambda network: int(network.patch_size[-1]),
        arrange=packed,
        beside=Packed.of,
        latents=PAYLOAD,
        held=strips,
        counted=True,
        video=True,
        remark=lambda _references: REMARK,
    ),
)
"""A host has those that its version knows."""
MODELS = ", ".join(family.models for family in FAMILIES)


def family_of(network: nn.Module) -> Family | None:
    """The family of a network, compiled or not, or of the class that it is derived from; None: it is of none."""
    for kind in _uncompiled(network).__mro__:
        for family in FAMILIES:
            if _is_of(kind, family):
                return family
    return None


def is_counted(network: nn.Module) -> bool:
    """Whether the blocks of a network are told apart by counting them, so that none may be missing."""
    family = family_of(network)
    return family is not None and family.counted


def is_derived(network: nn.Module, family: Family) -> bool:
    """Whether a network is of another pack's class, derived from its family's."""
    return not _is_of(_uncompiled(network), family)


def _is_of(kind: type, family: Family) -> bool:
    return (kind.__module__, kind.__qualname__) == (family.module, family.name)


def _uncompiled(network: nn.Module) -> type:
    return type(getattr(network, "_orig_mod", network))
