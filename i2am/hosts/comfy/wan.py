"""Wan 2.1 image-to-video in ComfyUI: each block attends to the picture as a vision encoder sees it, in a softmax of its own.

Each frame of the latent is an image of the recording.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ...errors import LayoutError
from ...geometry.layout import Layout
from ...geometry.parts import Parts
from ...interventions.plan import Cut
from ..attention import Attention, by_frame, for_frames
from ..vision_tokens import pictures_of
from .adapters import Adapter
from .arguments import OVERRIDE, Arguments, observed
from .call import Call
from .cutting import CutCall, notes_in, seen_in
from .network import Told, check_named
from .wan_calls import ITSELF, PICTURES, TEXT, Calls
from .wan_cut import WanCutter

CLASS = ("comfy.ldm.wan.model", "WanModel")
SQUARE = (
    "maps on a reference lie on the square that CLIP Vision Encode made of its picture: with crop 'none' that is the whole "
    "picture, with 'center' the square in its middle, so give that as the reference's picture"
)


class Wan:
    """Video networks with a cross-attention to pictures beside that to the text."""

    takes = "Wan 2.1 image-to-video"
    nulls = False
    stand_in = "Where a layer is left with no token of the pictures, or of the text, that attention of its adds nothing."

    def fits(self, network: nn.Module) -> bool:
        """See `Network`."""
        kind = type(getattr(network, "_orig_mod", network))
        return (kind.__module__, kind.__qualname__) == CLASS and getattr(network, "img_emb", None) is not None

    def frames(self, latent: Sequence[int]) -> int:
        """See `Network`."""
        return latent[2]

    def layers(self, network: nn.Module) -> tuple[str, ...]:
        """See `Network`."""
        blocks: Any = network.blocks
        return tuple(f"double.{i}" for i in range(len(blocks)))

    def remark(self, _network: nn.Module, _references: int) -> str:
        """See `Network`."""
        return (
            "the model also gets its start image in channels of the latent, which no attention shows and no cut takes away; "
            "each image of the maps is a frame of the latent, which holds 4 frames of the video but for the first"
        )

    def check_layers(self, network: nn.Module, patterns: Sequence[str], beside: Sequence[str]) -> None:
        """See `Network`."""
        check_named((*self.layers(network), *beside), patterns)

    def check_told(self, layout: Layout | None, parts: Parts) -> None:
        """See `Network`."""
        if layout is not None:
            raise LayoutError(
                "the layout of this model's pictures comes from the run itself, but rows and columns were given; set "
                "reference_tokens on I²AM Record to 'auto'"
            )
        if parts:
            raise LayoutError(
                "reference_parts is for models that take reference latents; this MODEL is Wan 2.1, so leave it empty on I²AM "
                "Record"
            )

    def token_widths(self, _network: nn.Module) -> set[int]:
        """See `Network`."""
        return set()

    def adapters(self, _options: dict[str, Any]) -> tuple[Adapter, ...]:
        """See `Network`."""
        return ()

    def layout_of(self, entry: dict[str, Any], told: Told, /) -> Layout | None:
        """See `Network`. It comes from the conditioning's CLIP_VISION_OUTPUT."""
        if told.layout is not None:
            raise LayoutError(
                "the conditioning is that of I²AM Try-On Conditioning, which is not for this model; connect that of "
                "WanImageToVideo"
            )
        seen = entry["model_conds"].get("clip_fea")
        return None if seen is None else layout_of_tokens(int(seen.cond.shape[1]))

    def pictures(self, _entry: dict[str, Any], _told: Told, /) -> dict[str, Tensor]:
        """See `Network`. A vision encoder's tokens do not show its picture."""
        return {}

    def no_reference(self, branch: str, _contexts: Sequence[int]) -> LayoutError:
        """See `Network`."""
        return LayoutError(
            f"the {branch} conditioning has no CLIP_VISION_OUTPUT, so no attention goes to a picture (the start image's "
            f"channels of the latent are none); connect clip_vision_output on WanImageToVideo"
        )

    def watch(self, given: Mapping[str, Any], call: Call) -> dict[str, Any]:
        """See `Network`."""
        call.notes.add(self.remark(call.network, 1))
        call.notes.add(SQUARE)
        return _Observers(given, call).behind(given["transformer_options"])

    def check_cut(self, cut: Cut) -> None:
        """See `Network`."""
        if cut.route in ("text", "references"):
            raise LayoutError(
                f"route is {cut.route!r}, but this MODEL is Wan 2.1: its text and its pictures look at nothing, only the video "
                f"looks at them; set it to 'all' or 'generated'"
            )

    def cut(self, given: Mapping[str, Any], cut: CutCall) -> dict[str, Any]:
        """See `Network`."""
        return WanCutter(given, cut).behind(given["transformer_options"])


def layout_of_tokens(tokens: int) -> Layout:
    """What the tokens of a CLIP_VISION_OUTPUT are.

    Raises:
        LayoutError: they are of another encoder.
    """
    seen, remedy = "the CLIP_VISION_OUTPUT has", "encode the picture with the CLIP vision model of Wan 2.1 (clip_vision_h)"
    return Layout(pictures_of(tokens, seen, remedy), tokens)


class _Observers:
    """The observers of one call."""

    def __init__(self, given: Mapping[str, Any], call: Call) -> None:
        self._call = call
        self._calls = Calls(given, call)

    def behind(self, options: dict[str, Any]) -> dict[str, Any]:
        """The call's options, with these observers added behind the hooks that are already there."""
        return {**self._calls.fresh(options), OVERRIDE: observed(options.get(OVERRIDE), lambda: self._observe)}

    def _observe(self, q: Any, k: Any, v: Any, heads: int, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """One call of the host's attention function."""
        options = kwargs.get("transformer_options") or {}
        axis = 2 if kwargs.get("skip_reshape", False) else 1
        called = self._calls.next(options, q.shape[axis], k.shape[axis])
        if called is None or called[1] in (ITSELF, TEXT):
            return
        layer, which = called
        self._call.seen.add(layer)
        self._call.observe(layer, self._attentions(layer, which, options, (q, k, v, heads, args, kwargs, out)))

    def _attentions(
        self, layer: str, which: int, options: Mapping[str, Any], arguments: tuple[Any, ...]
    ) -> Iterator[Attention]:
        """One block's attention to the pictures, conditioning by conditioning."""
        seen, call, frames = Arguments.of(*arguments), self._call, self._calls.frames
        self._calls.check(layer, which, seen.q.shape[2], seen.k.shape[2], seen.mask is not None)
        for note in notes_in(options):
            call.notes.add(note)
        batch = len(seen.q) // len(call.rows)
        for i, row in enumerate(call.rows):
            if row is None:
                continue
            part = slice(i * batch, (i + 1) * batch)
            left = seen_in(options, PICTURES, i, seen.q, seen.k.shape[2])
            if left is not None and left.shape[2] > 1:
                left = by_frame(left, frames).repeat(batch, 1, 1, 1)
            yield Attention(
                layer,
                self._calls.grid,
                row.branch,
                by_frame(seen.q[part], frames),
                for_frames(seen.k[part], frames),
                for_frames(seen.v[part], frames),
                scale=seen.scale,
                mask=left,
                output=None if seen.output is None else by_frame(seen.output[part], frames),
            )
