"""One attention call in the form in which every host passes it to the recorder."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..recording.recorder import Recorder


@dataclass(frozen=True, eq=False)
class Attention:
    """One attention call of one layer, for the images of one branch of guidance.

    Attributes:
        layer: the layer's name.
        grid: (rows, columns) of the queries.
        branch: "cond" or "uncond".
        q: (images, heads, N, d), the generated tokens alone, row-major on ``grid``.
        k, v: (images, heads, S, d), in the order of the layer's `Layout`; ``v`` is None if unknown.
        scale: what QKᵀ is multiplied by.
        mask: boolean or additive, broadcastable to (images, heads, N, S).
        output: the unmodified result of the call, (images, heads, N, d); None if unknown.
        middle: whether the layer is in the network's middle block, which the paper leaves out.
        softmax: which of the layer's calls this is, as in `Reference.softmax`.
    """

    layer: str
    grid: tuple[int, int]
    branch: str
    q: Tensor
    k: Tensor
    v: Tensor | None
    scale: float
    mask: Tensor | None = None
    output: Tensor | None = None
    middle: bool = False
    softmax: int = 0

    def record(self, recorder: Recorder, step: int) -> None:
        """Pass the call to a recorder.

        Raises:
            LayoutError: the call does not match the layout or the grid.
            RecordingError: the step is outside the schedule, or the number of images is wrong.
        """
        recorder.observe(
            self.layer,
            self.grid,
            step,
            self.branch,
            self.q,
            self.k,
            self.v,
            scale=self.scale,
            mask=self.mask,
            output=self.output,
            middle=self.middle,
            softmax=self.softmax,
        )
