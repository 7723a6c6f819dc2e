"""What a person asks a ComfyUI recording to keep."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ...geometry.layout import Layout
from ...geometry.parts import Parts
from ...recording.recorder import BUDGET
from ..registry import fingerprint


@dataclass(frozen=True)
class Options:
    """What to record.

    Attributes:
        pairwise, groups, layers, branches, budget, inpaint_mask, stride, cells: as for `Recorder`.
        layout: what the keys are; None: what the conditioning carries.
        parts: the rectangles of pictures that are stitched into one reference.
        words: whether a map of each word of the prompt is kept, see `Recorder`: word_maps.
    """

    pairwise: str | None = "mean"
    groups: int = 5
    layers: tuple[str, ...] | None = None
    branches: tuple[str, ...] = ("cond",)
    budget: int = BUDGET
    inpaint_mask: Tensor | None = None
    layout: Layout | None = None
    parts: Parts = ()
    stride: int | None = None
    cells: int | None = None
    words: bool = False

    @property
    def key(self) -> str:
        """A name for these options: recordings with the same one give the same maps of the same run."""
        mask = None if self.inpaint_mask is None else fingerprint(self.inpaint_mask)
        return repr(replace(self, inpaint_mask=None)) + repr(mask)
