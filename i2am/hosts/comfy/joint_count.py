"""Names for the blocks of joint networks that the host does not name in a call's options: they are counted."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

from torch import Tensor

from ...errors import LayoutError

COUNT = "i2am_count"
"""Key in a call's ``transformer_options``: its `Count`, which the recordings and the cuts of the call share."""


class Count:
    """The joint attentions of one evaluation, in order: those in which every token of the sequence looks at every other.

    The text and the pictures are also refined apart, by attentions of fewer tokens; these are not counted.

    Args:
        layers: the names of the network's joint blocks, in order.
        keys: S, the tokens of the whole sequence.
        network: what the network is called.
    """

    def __init__(self, layers: Sequence[str], keys: int, network: str) -> None:
        self._layers, self._keys, self._network = tuple(layers), keys, network
        self._count = 0
        self._last: weakref.ref[Tensor] | None = None
        self.layer: str | None = None

    def see(self, q: Tensor, queries: int, keys: int) -> None:
        """An attention is called; ``layer`` is then its name, or None: it is none of the joint ones.

        Args:
            q: its queries; whoever else observes the same call has the same tensor.
            queries, keys: how many it has.

        Raises:
            LayoutError: there are more of them than blocks.
        """
        if self._last is not None and self._last() is q:
            return
        self._last, self.layer = weakref.ref(q), None
        if queries == keys == self._keys:
            if self._count == len(self._layers):
                raise LayoutError(
                    f"this {self._network} has {len(self._layers)} joint blocks, but attended more often in one evaluation, so "
                    f"its blocks cannot be told apart by counting; switch off the node that adds attention or repeats blocks"
                )
            self.layer = self._layers[self._count]
            self._count += 1


def not_all(network: str, seen: int, layers: int) -> str:
    """What is said of an evaluation that computed too few blocks for them to be told apart."""
    return (
        f"{seen} of the {layers} joint blocks of this {network} were seen in one evaluation; ComfyUI does not name them, so "
        f"they are told apart by counting, and none may be missing: switch off what skips blocks (a cache, a block swap or "
        f"kernels of its own)"
    )
