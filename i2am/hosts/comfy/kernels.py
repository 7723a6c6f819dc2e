"""The attention kernels that a checkpoint prefers for blocks of a U-Net.

Newer hosts keep one beside each attention of a block. They drop it where a model has an attention override, so that an
override has to find it by itself.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from .arguments import Kernel

HOLDER = "comfy_attention"
"""What an attention of a block has the kernel in, as its ``function``, or None."""
_NAME = re.compile(r"(input|middle|output)_blocks?\.(\d+)\.(?:\d+\.)?transformer_blocks\.(\d+)\.(attn[12])")

Attentions = dict[tuple[str, int, int, str], nn.Module]
"""Those that have a `HOLDER`, by (kind of block, number of the block, depth, "attn1" or "attn2")."""

_known: WeakKeyDictionary[nn.Module, Attentions] = WeakKeyDictionary()


def _search(network: nn.Module) -> Attentions:
    """The host calls the middle block 0, whichever of its parts attends."""
    found: Attentions = {}
    for name, module in network.named_modules():
        parts = _NAME.fullmatch(name.replace("_orig_mod.", ""))  # a compiled part
        if parts is not None and hasattr(module, HOLDER):
            kind, block, depth, attention = parts.groups()
            found[kind, 0 if kind == "middle" else int(block), int(depth), attention] = module
    return found


class Kernels:
    """The kernel of the attention that is called next.

    Attributes:
        replaced: the blocks, (kind, number) or (kind, number, depth), whose self-attention is not the model's own.
    """

    def __init__(self, attentions: Attentions) -> None:
        self._attentions = attentions
        self._next: nn.Module | None = None
        self.replaced: Container[tuple[Any, ...]] = ()

    @classmethod
    def of(cls, network: nn.Module) -> Kernels:
        """Those of a network; it is searched once."""
        if network not in _known:
            _known[network] = _search(network)
        return cls(_known[network])

    def expect(self, attention: str, place: dict[str, Any]) -> None:
        """The next call is that of a block's "attn1" or "attn2"; ``place`` has the options that the host gives to it."""
        self._next = None
        if not self._attentions or "block" not in place:
            return
        block, depth = tuple(place["block"]), place.get("block_index", 0)
        if attention == "attn1" and (block in self.replaced or (*block, depth) in self.replaced):
            return
        self._next = self._attentions.get((*block, depth, attention))

    def take(self) -> Kernel | None:
        """The preferred kernel of this call; None: there is none, or the calling block is unknown."""
        attention, self._next = self._next, None
        return None if attention is None else getattr(attention, HOLDER).function
