"""The attentions of one call of Wan 2.1: which of its block's three each is, and where its queries lie.

A block attends three times under one name: to the video itself, to the pictures' tokens, and to the text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ...errors import LayoutError
from ...geometry.layout import TokenGrid
from .call import Call
from .pixels import pixels_per_cell

ITSELF, PICTURES, TEXT = range(3)
"""What a block attends to, in order; also how a cut tells its attentions apart."""
NAMES = ("itself", "the pictures", "the text")
LEFT_OVER = ("block_type", "block_index")
"""What the network writes into a call's options; it may still be there from the last one."""


class Calls:
    """Follows one call's attentions in the order in which the network makes them.

    Args:
        given: the arguments of ``apply_model``, by name.
        call: the call.

    Attributes:
        frames: of the latent, as the network sees it.
        grid: of one frame's tokens.
        keys: the pictures' tokens.
    """

    def __init__(self, given: Mapping[str, Any], call: Call) -> None:
        self.keys = int(given["clip_fea"].shape[1])
        _, _, frames, height, width = given["x"].shape
        network: Any = call.network
        along, down, across = network.patch_size
        rows, columns, factor = -(-height // down), -(-width // across), pixels_per_cell(call.model)
        rect = (0.0, 0.0, columns * across / width, rows * down / height)
        self.frames = -(-frames // along)
        self.grid = TokenGrid(rows, columns, picture=(height * factor, width * factor), rect=rect)
        self._seen: Counter[str] = Counter()

    def fresh(self, options: dict[str, Any]) -> dict[str, Any]:
        """The call's options without what an earlier call left there."""
        return {name: value for name, value in options.items() if name not in LEFT_OVER}

    def next(self, options: Mapping[str, Any], queries: int, keys: int) -> tuple[str, int] | None:
        """The block whose attention is being called, and which of its attentions it is; None: it is not one of a block's."""
        if "block_index" not in options:
            return None
        layer = layer_of(options)
        which = self._seen[layer]
        self._seen[layer] += 1
        if which == ITSELF and queries != keys:
            self._seen[layer] = len(NAMES)  # not in the order that is known: the next one says so
        return layer, which

    def check(self, layer: str, which: int, queries: int, keys: int, masked: bool) -> None:
        """Refuse an attention to the pictures or to the text that is not as the network makes it.

        Raises:
            LayoutError: says what was seen and expected.
        """
        expected = self.frames * self.grid.placed
        right = which == TEXT or (which == PICTURES and keys == self.keys and not masked)
        if not right or queries != expected:
            raise LayoutError(
                f"attention {which + 1} of layer {layer!r} has {queries} queries and {keys} keys; expected three attentions a "
                f"block, to {', '.join(NAMES)}, the second with {expected} queries ({self.frames} frames of "
                f"{self.grid.rows} x {self.grid.columns}), {self.keys} keys and no mask; another node adds tokens or "
                f"attention, so switch it off"
            )


def layer_of(options: Mapping[str, Any]) -> str:
    """The name of the block that is being computed."""
    return f"double.{options['block_index']}"
