"""Wan 2.1 image-to-video in ComfyUI: each block attends to the picture as a vision encoder sees it, in a softmax of its own.

A block attends three times under one name: to the video itself, to the picture's tokens, and to the text. Each frame of the
latent is an image of the recording.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from ...errors import LayoutError
from ...geometry.layout import Layout, Reference, TokenGrid
from ...geometry.parts import Parts
from ...interventions.plan import Cut
from ..attention import Attention
from .adapters import Adapter
from .arguments import OVERRIDE, Arguments, Observer, observed
from .call import Call
from .cutting import CutCall
from .network import Told, check_named
from .pixels import pixels_per_cell

CLASS = ("comfy.ldm.wan.model", "WanModel")
SIDE = 16
"""Rows and columns of patches in the vision encoder of these models (CLIP ViT-H at 224 pixels), behind a class token."""
EACH = SIDE**2 + 1
"""Tokens of a picture."""
ATTENTIONS = ("itself", "the pictures", "the text")
"""What a block attends to, in order."""


class Wan:
    """Video networks with a cross-attention to pictures beside that to the text."""

    takes = "Wan 2.1 image-to-video"
    nulls = False
    stand_in = ""

    def fits(self, network: nn.Module) -> bool:
        """See `Network`."""
        kind = type(getattr(network, "_orig_mod", network))
        return (kind.__module__, kind.__qualname__) == CLASS and getattr(network, "img_emb", None) is not None

    def images(self, latent: Sequence[int]) -> int:
        """See `Network`. Frames of one video follow one another."""
        return latent[0] * latent[2]

    def layers(self, network: nn.Module) -> tuple[str, ...]:
        """See `Network`."""
        blocks: Any = network.blocks
        return tuple(f"double.{i}" for i in range(len(blocks)))

    def remark(self, _network: nn.Module, _references: int) -> str:
        """See `Network`."""
        return (
            "each image of these maps is a frame of the latent, which holds 4 frames of the video but for the first; the model "
            "also gets its start image in channels of the latent, which no attention shows"
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
        return None if seen is None else pictures_of(int(seen.cond.shape[1]))

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
        return _Observers(given, call).behind(given["transformer_options"])

    def check_cut(self, _cut: Cut) -> None:
        """See `Network`."""
        raise LayoutError(
            "this MODEL is Wan 2.1, of which maps can be recorded, but nothing can be cut yet; leave I²AM Intervene out"
        )

    def cut(self, given: Mapping[str, Any], _cut: CutCall) -> dict[str, Any]:
        """See `Network`: `check_cut` lets nothing come here."""
        options: dict[str, Any] = given["transformer_options"]
        return options


def pictures_of(tokens: int) -> Layout:
    """What a vision encoder's tokens of one picture, or of the first and the last one, are.

    Raises:
        LayoutError: they are of another encoder.
    """
    count, left = divmod(tokens, EACH)
    if left or not count:
        raise LayoutError(
            f"the CLIP_VISION_OUTPUT has {tokens} tokens, expected {EACH} a picture ({SIDE} x {SIDE} patches behind a class "
            f"token); encode the picture with the CLIP vision model of Wan 2.1 (clip_vision_h)"
        )
    grid = TokenGrid(SIDE, SIDE, leading=1, rect=None)
    names = ["reference"] if count == 1 else [f"reference {i}" for i in range(1, count + 1)]
    return Layout(tuple(Reference(grid, EACH * i, name) for i, name in enumerate(names)), tokens)


class _Observers:
    """The observers of one call."""

    def __init__(self, given: Mapping[str, Any], call: Call) -> None:
        self._call = call
        self._keys = int(given["clip_fea"].shape[1])
        _, _, frames, height, width = given["x"].shape
        network: Any = call.network
        along, down, across = network.patch_size
        rows, columns, factor = -(-height // down), -(-width // across), pixels_per_cell(call.model)
        rect = (0.0, 0.0, columns * across / width, rows * down / height)
        self._frames = -(-frames // along)
        self._grid = TokenGrid(rows, columns, picture=(height * factor, width * factor), rect=rect)
        self._seen: Counter[str] = Counter()
        self._options: Mapping[str, Any] = {}

    def behind(self, options: dict[str, Any]) -> dict[str, Any]:
        """The call's options, with these observers added behind the hooks that are already there."""
        fresh = {name: value for name, value in options.items() if name not in ("block_type", "block_index")}
        return {**fresh, OVERRIDE: observed(options.get(OVERRIDE), self._take)}

    def _take(self) -> Observer:
        return self._observe

    def _observe(self, q: Any, k: Any, v: Any, heads: int, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """One call of the host's attention function."""
        options = kwargs.get("transformer_options") or {}
        if "block_index" not in options:
            return
        layer = f"double.{options['block_index']}"
        which = self._seen[layer]
        self._seen[layer] += 1
        axis = 2 if kwargs.get("skip_reshape", False) else 1
        if which == 1 or which >= len(ATTENTIONS):
            self._call.seen.add(layer)
            make = partial(self._attentions, layer, which, (q, k, v, heads, args, kwargs, out))
            self._call.observe(layer, make())
        elif which == 0 and q.shape[axis] != k.shape[axis]:
            self._seen[layer] = len(ATTENTIONS)  # not in the order that is known: the next one says so

    def _attentions(self, layer: str, which: int, arguments: tuple[Any, ...]) -> Iterator[Attention]:
        """One block's attention to the pictures, conditioning by conditioning."""
        seen, call, grid = Arguments.of(*arguments), self._call, self._grid
        queries = self._frames * grid.placed
        if which != 1 or seen.mask is not None or (seen.q.shape[2], seen.k.shape[2]) != (queries, self._keys):
            raise LayoutError(
                f"attention {which + 1} of layer {layer!r} has {seen.q.shape[2]} queries and {seen.k.shape[2]} keys; expected "
                f"three attentions a block, to {', '.join(ATTENTIONS)}, the second with {queries} queries ({self._frames} "
                f"frames of {grid.rows} x {grid.columns}), {self._keys} keys and no mask; another node adds tokens or "
                f"attention, so switch it off"
            )
        batch = len(seen.q) // len(call.rows)
        for i, row in enumerate(call.rows):
            if row is None:
                continue
            part = slice(i * batch, (i + 1) * batch)
            output = None if seen.output is None else self._by_frame(seen.output[part])
            yield Attention(
                layer,
                grid,
                row.branch,
                self._by_frame(seen.q[part]),
                self._for_frames(seen.k[part]),
                self._for_frames(seen.v[part]),
                scale=seen.scale,
                output=output,
            )

    def _by_frame(self, tokens: Tensor) -> Tensor:
        """(B, heads, frames * N, d) to (B * frames, heads, N, d)."""
        return tokens.unflatten(2, (self._frames, -1)).transpose(1, 2).flatten(0, 1)

    def _for_frames(self, tokens: Tensor) -> Tensor:
        """(B, heads, S, d) for each frame, (B * frames, heads, S, d); of one video, a view."""
        return tokens[:, None].expand(-1, self._frames, -1, -1, -1).flatten(0, 1)
