"""One attention call in the form in which every host passes it to the recorder."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ..errors import LayoutError
from ..geometry.layout import Layout, TokenGrid
from ..geometry.sequence import Sequence, TextRows
from ..recording.recorder import Recorder


@dataclass(frozen=True, eq=False)
class Attention:
    """One attention call of one layer, for the images of one branch of guidance: what `Recorder.observe` takes, by its names.

    Attributes:
        layer: the layer's name.
        grid: (rows, columns) of the queries on the whole picture, or a `TokenGrid`.
        branch: "cond" or "uncond".
        q: (images, heads, N, d), the generated tokens alone, row-major on ``grid``.
        k, v: (images, heads, S, d), in the order of the `Layout`; ``v`` is None if unknown.
        scale: what QKᵀ is multiplied by.
        mask: boolean or additive, broadcastable to (images, heads, N, S).
        output: the unmodified result of the call, (images, heads, N, d); None if unknown.
        middle: whether the layer is in the network's middle block, which the paper leaves out.
        softmax: which of the layer's calls this is, as in `Reference.softmax`.
        layout: what this call's keys are; None: what the recorder was told of the layer.
        text: the queries of the call's text; None: it has none.
    """

    layer: str
    grid: tuple[int, int] | TokenGrid
    branch: str
    q: Tensor
    k: Tensor
    v: Tensor | None
    scale: float
    mask: Tensor | None = None
    output: Tensor | None = None
    middle: bool = False
    softmax: int = 0
    layout: Layout | None = None
    text: TextRows | None = None

    @classmethod
    def joint(
        cls,
        layer: str,
        sequence: Sequence,
        branch: str,
        q: Tensor,
        k: Tensor,
        v: Tensor | None,
        *,
        scale: float,
        mask: Tensor | None = None,
        output: Tensor | None = None,
    ) -> Attention:
        """One branch's rows of a joint attention call, as the model computed it.

        Args:
            layer: the layer's name.
            sequence: what the call's tokens are.
            branch: "cond" or "uncond".
            q: (images, heads, queries, d), all of them.
            k, v: (images, heads, S, d), all of them; ``v`` is None if unknown.
            scale: what QKᵀ is multiplied by.
            mask: boolean or additive, broadcastable to (images, heads, queries, S).
            output: the result of the call, (images, heads, queries, d); None if unknown.

        Raises:
            LayoutError: the call has other numbers of queries or keys than the sequence; names the layer and both.
        """
        try:
            brought = sequence.bring(q, k, v, mask, output)
        except LayoutError as error:
            raise LayoutError(f"layer {layer!r}: {error}") from None
        return cls(layer=layer, branch=branch, scale=scale, **vars(brought))

    def by_frame(self, frames: int, grid: TokenGrid) -> Attention:
        """The same with each frame of a video as an image; all of them read the same keys, and the text's queries are left out.

        Args:
            frames: how many follow one another in ``q``.
            grid: of one frame.
        """
        mask = self.mask
        if mask is not None:
            mask = mask.reshape(*[1] * (4 - mask.ndim), *mask.shape)
            alike = mask.shape[2] == 1
            mask = for_frames(mask, frames) if alike else by_frame(mask.expand(len(self.q), -1, -1, -1), frames)
        return replace(
            self,
            grid=grid,
            q=by_frame(self.q, frames),
            k=for_frames(self.k, frames),
            v=None if self.v is None else for_frames(self.v, frames),
            output=None if self.output is None else by_frame(self.output, frames),
            mask=mask,
            text=None,
        )

    def record(self, recorder: Recorder, step: int) -> None:
        """Pass the call to a recorder.

        Raises:
            LayoutError: the call does not match the layout or the grid.
            RecordingError: the step is outside the schedule, or the number of images is wrong.
        """
        recorder.observe(step=step, **vars(self))


def by_frame(tokens: Tensor, frames: int) -> Tensor:
    """(B, heads, frames * N, …) to (B * frames, heads, N, …)."""
    return tokens.unflatten(2, (frames, -1)).transpose(1, 2).flatten(0, 1)


def for_frames(tokens: Tensor, frames: int) -> Tensor:
    """(B, heads, S, d) for each frame, (B * frames, heads, S, d); of one video, a view."""
    return tokens[:, None].expand(-1, frames, -1, -1, -1).flatten(0, 1)
