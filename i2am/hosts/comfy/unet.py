"""U-Nets in ComfyUI: the names of their cross-attention layers, and observers in the options of one call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from ...errors import LayoutError
from ...geometry.layout import Layout, suggest
from ...geometry.parts import Parts
from ...interventions.plan import Cut
from ...interventions.removal import hidden
from ..attention import Attention
from .adapters import Adapter, Key
from .arguments import OVERRIDE, Arguments, around, observed
from .call import Call
from .cutting import SPARE, CutCall, notes_in, seen_in
from .ipadapter import adapters_of, watched
from .kernels import Kernels
from .network import Told, check_named
from .unet_cut import UNetCutter
from .unet_places import Place, layer_name, own_keys

_ATTENTION = re.compile(r"(input|middle|output)_blocks?\.(\d+)\.(?:\d+\.)?transformer_blocks\.(\d+)\.attn2")


class UNet:
    """Networks that attend to their conditioning through cross-attention alone."""

    takes = "U-Nets (SD1.5, SD2, SDXL and models built like them)"
    nulls = True
    stand_in = (
        "Where a layer is left with no token to attend to, those of the negative conditioning stand in; an adapter with none "
        "left adds nothing."
    )

    def fits(self, network: nn.Module) -> bool:
        """See `Network`. Other networks call the same patches with other arguments."""
        return hasattr(network, "input_blocks")

    def frames(self, _latent: Sequence[int]) -> int:
        """See `Network`."""
        return 1

    def layers(self, _network: nn.Module) -> tuple[str, ...]:
        """See `Network`. Layers without a reference are not observed, so that none can be missed."""
        return ()

    def remark(self, _network: nn.Module, _references: int) -> str:
        """See `Network`."""
        return ""

    def check_layers(self, network: nn.Module, patterns: Sequence[str], beside: Sequence[str]) -> None:
        """See `Network`."""
        # the host calls the middle block 0, whichever of its parts attends
        names = [
            layer_name({"block": (kind, 0 if kind == "middle" else block), "block_index": depth})
            for (kind, block, depth), _ in _layers(network)
        ]
        check_named([*names, *beside], patterns if names else ())

    def check_told(self, _layout: Layout | None, parts: Parts) -> None:
        """See `Network`."""
        if parts:
            raise LayoutError(
                "reference_parts is for models that take reference latents; this MODEL is a U-Net, so leave it empty on "
                "I²AM Record"
            )

    def token_widths(self, network: nn.Module) -> set[int]:
        """See `Network`."""
        widths = {getattr(getattr(layer, "to_k", None), "in_features", None) for _, layer in _layers(network)}
        return {width for width in widths if width is not None}

    def adapters(self, options: dict[str, Any]) -> tuple[Adapter, ...]:
        """See `Network`."""
        return adapters_of(options)

    def layout_of(self, _entry: dict[str, Any], told: Told, /) -> Layout | None:
        """See `Network`. A context does not show what its tokens are, so only what was told counts."""
        return told.layout

    def pictures(self, _entry: dict[str, Any], _told: Told, /) -> dict[str, Tensor]:
        """See `Network`. Its references are tokens of encoders, not latents."""
        return {}

    def no_reference(self, branch: str, contexts: Sequence[int]) -> LayoutError:
        """See `Network`."""
        seen = " and ".join(str(n) for n in contexts) or "no"
        return LayoutError(
            f"the {branch} conditioning carries no layout of reference tokens (its context has {seen} "
            f"token{'' if list(contexts) == [1] else 's'}{suggest(contexts[0]) if contexts else ''}); text prompts have none: "
            f"use I²AM Try-On Conditioning or an IPAdapter, or set reference_tokens on I²AM Record to 'rows x columns', and "
            f"its rows, columns and leading_tokens to what the reference's encoder gives"
        )

    def watch(self, given: Mapping[str, Any], call: Call) -> dict[str, Any]:
        """See `Network`."""
        return _Observers(call).behind(given["transformer_options"])

    def check_cut(self, cut: Cut) -> None:
        """See `Network`."""
        if cut.route in ("text", "references"):
            raise LayoutError(
                f"route is {cut.route!r}, but this MODEL is a U-Net: its text and its references look at nothing, only the "
                f"generated picture looks at them; set it to 'all' or 'generated'"
            )

    def cut(self, given: Mapping[str, Any], cut: CutCall) -> dict[str, Any]:
        """See `Network`."""
        return UNetCutter(cut).behind(given["transformer_options"])


def _layers(network: nn.Module) -> Iterator[tuple[tuple[str, ...], nn.Module]]:
    """The U-Net's own cross-attentions, each with its (kind of block, number of the block, depth)."""
    for name, module in network.named_modules():
        found = _ATTENTION.fullmatch(name.replace("_orig_mod.", ""))  # a compiled part
        if found is not None:
            yield found.groups(), module


class _Observers:
    """The observers of one call. Markers before each attention tell cross-attention from self-attention."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._place: Place | None = None
        self._kernels = Kernels.of(call.network)

    def behind(self, options: dict[str, Any]) -> dict[str, Any]:
        """The call's options, with these observers added behind the hooks that are already there."""
        patches = dict(options.get("patches", {}))
        patches["attn1_patch"] = [*patches.get("attn1_patch", []), self._before_self_attention]
        patches["attn2_patch"] = [*patches.get("attn2_patch", []), self._before_cross_attention]
        replaced = dict(options.get("patches_replace", {}))
        if "attn2" in replaced:
            replaced["attn2"] = {where: self._replacing(function) for where, function in replaced["attn2"].items()}
        self._kernels.replaced = frozenset(replaced.get("attn1", ()))
        override = observed(options.get(OVERRIDE), self._take_observer, self._kernels.take)
        return {**options, "patches": patches, "patches_replace": replaced, OVERRIDE: override}

    def _before_self_attention(self, n: Tensor, context: Tensor, value: Tensor, options: Place) -> tuple[Any, ...]:
        self._place = None
        self._kernels.expect("attn1", options)
        return n, context, value

    def _before_cross_attention(self, n: Tensor, context: Tensor, value: Tensor, options: Place) -> tuple[Any, ...]:
        self._place = options
        self._kernels.expect("attn2", options)
        return n, context, value

    def _take_place(self) -> Place | None:
        """The place of the attention called now: known only for the one call after a cross-attention's marker."""
        place, self._place = self._place, None
        return place

    def _take_observer(self) -> Callable[..., None] | None:
        place = self._take_place()
        return None if place is None else partial(self._observe, place, 0)

    def _replacing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A replaced cross-attention, observed: its own call and those of its adapters."""

        def replace(q: Tensor, k: Tensor, v: Tensor, options: Place) -> Any:
            place, _ = self._take_place(), self._kernels.take()
            if place is None:
                return function(q, k, v, options)
            self._observe(place, 0, q, k, v, options["n_heads"], (), {}, None)
            return watched(function, partial(self._observe_adapter, place))(q, k, v, options)

        return around(replace, function, self._replacing)

    def _observe_adapter(
        self, place: Place, adapter: Key, others: Any, q: Any, k: Any, v: Any, heads: int, args: Any, kwargs: Any
    ) -> None:
        """One call of an adapter's attention, with keys (rows, tokens, channels) or (pictures * rows, tokens, channels)."""
        softmax = next((i for i, known in enumerate(self._call.adapters, 1) if known.key == adapter), None)
        if softmax is None:  # applied after the run began
            return
        if others and place.get("transformer_index") in others:
            self._call.notes.add(
                f"layer {layer_name(place)!r} attends to the adapter's composition picture, so it is not recorded"
            )
            return
        k, v = (t.reshape(q.shape[0], -1, t.shape[-1]) for t in (k, v))
        self._observe(place, softmax, q, k, v, heads, args, kwargs, None)

    def _observe(self, place: Place, softmax: int, *arguments: Any) -> None:
        self._call.observe(layer_name(place), self._attentions(place, softmax, arguments))

    def _attentions(self, place: Place, softmax: int, arguments: tuple[Any, ...]) -> Iterator[Attention]:
        """One call's attention, conditioning by conditioning."""
        layer, seen = layer_name(place), Arguments.of(*arguments)
        rows, columns = (int(n) for n in place["activations_shape"][-2:])
        if seen.q.shape[2] != rows * columns:
            raise LayoutError(
                f"layer {layer!r} has {seen.q.shape[2]} queries on a {rows} x {columns} grid, so another node pack merges or "
                f"splits its tokens; leave the layer out with 'layers', or switch that node off"
            )
        batch = seen.q.shape[0] // len(self._call.rows)
        every = seen.k.shape[2] - (0 if softmax else place.get(SPARE, 0))
        for note in notes_in(place):
            self._call.notes.add(note)
        for i, row in enumerate(self._call.rows):
            if row is None or not row.layout_of(layer).indices(softmax):
                continue
            part = slice(i * batch, (i + 1) * batch)
            keys = every if softmax or layer in row.layers else own_keys(every, row)
            left = seen_in(place, softmax, i, seen.q, every)
            yield Attention(
                layer,
                (rows, columns),
                row.branch,
                seen.q[part],
                seen.k[part, :, :keys],
                seen.v[part, :, :keys],
                scale=seen.scale,
                mask=hidden(seen.mask_of(part, keys), None if left is None else left[..., :keys]),
                output=None if seen.output is None else seen.output[part],
                middle=place["block"][0] == "middle",
                softmax=softmax,
            )
