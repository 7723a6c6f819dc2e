"""Wan 2.1 image-to-video in diffusers: blocks attend to the picture as a vision encoder sees it, in a softmax of its own.

The attention ``attn2`` of a block attends twice: to the pictures' tokens, then to the text. Each frame of the latent is an
image of the recording.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from ...errors import LayoutError, RecordingError
from ...geometry.layout import Layout
from ...interventions.removal import hidden
from ..attention import Attention, by_frame, for_frames
from ..vision_tokens import pictures_of
from .attended import Attended, Instead
from .compiled import inside, refuse_compiled, without_adapter
from .cutting import Cutting
from .network import Evaluation, Given, Network, Observe
from .remedies import backend_of, remedy_for
from .stitched import SINGLE, Stitched
from .watching import Call, watch_attention

CLASS = "WanTransformer3DModel"
PICTURES = 1
"""The pictures' softmax; that of the text is 0."""
NOTE = (
    "each image of these maps is a frame of the latent, which holds 4 frames of the video but for the first; the model also "
    "gets its start image in channels of the latent, which no attention shows"
)


@dataclass(frozen=True)
class _Size:
    """Of one evaluation: frames of its latent, (rows, columns) of a frame's tokens, and tokens of the pictures of a row."""

    frames: int
    grid: tuple[int, int]
    keys: int


class Wan:
    """A `WanTransformer3DModel` that is given the pictures of a vision encoder."""

    takes: ClassVar[str] = f"a diffusers {CLASS} with a vision encoder's pictures (Wan 2.1 image-to-video)"

    def __init__(self, module: nn.Module) -> None:
        self.module: Any = module
        self._signature = inspect.signature(type(module).forward)
        self._size: _Size | None = None

    @classmethod
    def of(cls, model: Any) -> Network | None:
        """See `Network`.

        Raises:
            RecordingError: the transformer is compiled or wrapped, or takes no pictures of a vision encoder.
        """
        transformer = without_adapter(getattr(model, "transformer", model))
        if not isinstance(transformer, nn.Module):
            return None
        own: Any = inside(transformer)
        if CLASS not in {kind.__name__ for kind in type(own).__mro__}:
            return None
        refuse_compiled(transformer, "pipeline.transformer")
        if getattr(own.condition_embedder, "image_embedder", None) is None:
            raise RecordingError(
                f"this {CLASS} attends to no picture: it makes videos from text, or is Wan 2.2, which gets its start image in "
                f"channels of the latent alone; record the transformer of Wan 2.1 image-to-video"
            )
        return cls(transformer)

    def given(self, args: tuple[Any, ...], kwargs: dict[str, Any], stitched: Stitched = SINGLE) -> Given:
        """See `Network`.

        Raises:
            LayoutError: there are no pictures, or they are of another encoder; or ``stitched`` has parts.
        """
        if stitched.parts or stitched.redux:
            raise LayoutError(
                "reference_parts and redux are for models with joint attention, but this is Wan 2.1; leave them out"
            )
        given = self._signature.bind(self.module, *args, **kwargs).arguments
        sample, time, seen = given["hidden_states"], given["timestep"], given.get("encoder_hidden_states_image")
        if seen is None:
            raise LayoutError(
                "the model was called without encoder_hidden_states_image, so no attention goes to a picture (the start "
                "image's channels of the latent are none); give them in each call, or record a pipeline"
            )
        frames, rows, columns = (n // p for n, p in zip(sample.shape[2:], self.module.config.patch_size, strict=True))
        # of a first and a last picture, those of a row follow one another in the batch
        self._size = _Size(frames, (rows, columns), seen.shape[0] * seen.shape[1] // len(sample))
        layout_of_tokens(self._size.keys)
        now = float(time.flatten()[0]) if isinstance(time, Tensor) else float(time)
        latent = int(sample.shape[-2]), int(sample.shape[-1])
        return Given(sample, now, latent, given, frames=frames, notes=(NOTE,))

    def layout(self, _given: Given) -> Layout | None:
        """See `Network`."""
        assert self._size is not None
        return layout_of_tokens(self._size.keys)

    def watch(self, observe: Observe, stack: ExitStack, cutting: Callable[[], Cutting | None] = lambda: None) -> None:
        """See `Network`."""
        layer_of = {block.attn2: f"blocks.{i}" for i, block in enumerate(self.module.blocks)}

        def cuts(module: nn.Module, _given: Any) -> Instead | None:
            now, layer = cutting(), layer_of[module]
            if now is None or not now.wants(layer):
                return None
            # the first of the two attentions is that to the pictures
            return lambda number, function, given: now.attend(layer, PICTURES - number, _no_grid, function, given)

        watch_attention({attn: partial(self._pass_on, observe, layer) for attn, layer in layer_of.items()}, stack, cuts)

    def _pass_on(self, observe: Observe, layer: str, call: Call) -> None:
        observe(layer, partial(self._attentions, layer, call))

    def _attentions(self, layer: str, call: Call, evaluation: Evaluation) -> Iterator[Attention]:
        """One block's attention to the pictures, branch by branch."""
        size, found = self._size, call.attentions(evaluation.batch)
        assert size is not None
        seen, cut = self._to_pictures(layer, call, found, size, evaluation.batch), evaluation.cutting
        output = seen.output
        if output is not None and output.dtype.itemsize < 4:  # the maps are free of a shorter format's rounding
            output = None
        for branch, rows in evaluation.rows.items():
            left = None if cut is None else cut.seen(layer, PICTURES, branch, seen.q, size.keys, _no_grid)
            yield Attention(
                layer,
                size.grid,
                branch,
                by_frame(seen.q[rows], size.frames),
                for_frames(seen.k[rows], size.frames),
                None if seen.v is None else for_frames(seen.v[rows], size.frames),
                scale=seen.scale,
                mask=hidden(None, left),
                output=None if output is None else by_frame(output[rows], size.frames),
                softmax=PICTURES,
            )

    def _to_pictures(self, layer: str, call: Call, found: list[Attended], size: _Size, batch: int) -> Attended:
        """The attention to the pictures among those of a call.

        Raises:
            RecordingError: there are none, or of another kind than is known.
        """
        queries = size.frames * size.grid[0] * size.grid[1]
        if not found:
            processor = type(getattr(call.module, "processor", call.module)).__name__
            raise RecordingError(
                f"no attention was seen in a call of layer {layer!r}: its processor {processor} uses a kernel that cannot be "
                f"watched (attention backend {backend_of(call.module)!r}); {remedy_for(call.module)}, or leave the layer out "
                f"with `layers`"
            )
        seen = [(len(a.q), a.q.shape[-2], a.k.shape[-2], a.mask is None, a.causal) for a in found]
        if len(found) != 2 or seen[0] != (batch, queries, size.keys, True, False):
            shown = ", ".join(f"{q} x {k} over {rows} rows" for rows, q, k, *_ in seen)
            raise LayoutError(
                f"layer {layer!r} attends with queries x keys {shown}; expected two attentions, to the pictures and to the "
                f"text, the first with {queries} queries ({size.frames} frames of {size.grid[0]} x {size.grid[1]}) x "
                f"{size.keys} keys over {batch} rows and no mask; something changes the tokens (a text of other than 512 "
                f"tokens does, and so does context parallelism): switch it off to record"
            )
        return found[0]


def layout_of_tokens(tokens: int) -> Layout:
    """What the tokens of ``encoder_hidden_states_image`` are, of one video.

    Raises:
        LayoutError: they are of another encoder.
    """
    seen, remedy = "each video in encoder_hidden_states_image has", "encode the picture with the image encoder of Wan 2.1"
    return Layout(pictures_of(tokens, seen, remedy, PICTURES, rect=None))


def _no_grid() -> tuple[int, int]:
    raise LayoutError("a region of the generated picture is to be cut, which is not done in videos; cut without it")
