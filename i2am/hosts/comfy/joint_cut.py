"""A cut in one call of a joint-attention model."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...errors import LayoutError
from ...interventions.removal import Removal, of_sequence
from .arguments import OVERRIDE, beneath
from .cutting import CUTS, CutCall, Found, Place, cut_override, found_in, is_in
from .joint_proof import Proof
from .joint_sequence import Given


class JointCutter(Proof):
    """See `Cutter`."""

    def __init__(self, given: Given, of: CutCall) -> None:
        if given.frames > 1 and of.cut.where is not None:
            raise LayoutError(
                f"a region of the generated picture is to lose sight of what is cut, but this run makes a video of "
                f"{given.frames} latent frames, of which no region can be cut; leave the region out"
            )
        super().__init__(given, of.call)
        self.of = of

    def behind(self, options: dict[str, Any]) -> dict[str, Any]:
        """The call's options, with this cut added behind what is there already, and beneath recordings."""
        fresh, others = self.fresh(options), options.get(CUTS, ())
        if not others:  # else the first one's override makes them all
            fresh[OVERRIDE] = beneath(options.get(OVERRIDE), lambda inner: cut_override(inner, self._find))
        return {**fresh, CUTS: (*others, self)}

    def _find(self, q: Tensor, k: Tensor, heads: int, given: dict[str, Any]) -> Found | None:
        options = given.get("transformer_options") or {}
        axis = 2 if given.get("skip_reshape", False) else 1
        layer = self.called(options, q, q.shape[axis], k.shape[axis])
        if layer is None:
            return None
        self.of.call.seen.add(layer)
        return found_in(options, 0, q.shape[axis], heads, k.shape[axis])

    def removal(self, place: Place, _softmax: int, row: int, queries: int, keys: int) -> Removal | None:
        """See `Cutter`."""
        cut, layer = self.of.cut, self.layer(place)
        if layer is None or self.of.call.rows[row] is None or not is_in(layer, cut.layers):
            return None
        sequence = self.sequence(layer, place, queries, keys, row)
        return self.of.removal((sequence,), layer, lambda: of_sequence(cut, sequence))
