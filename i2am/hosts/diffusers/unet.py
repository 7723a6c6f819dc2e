"""U-Nets in diffusers: their cross-attention layers, with names and query grids."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from ...errors import LayoutError, RecordingError
from ...geometry.layout import Layout
from ...interventions.removal import hidden
from ..attention import Attention
from .attended import Attended, Instead, mask_by_rows
from .compiled import inside, refuse_compiled
from .cutting import Cutting
from .ipadapter import adapters_of, softmaxes_of
from .network import Evaluation, Given, Network, Observe
from .stitched import SINGLE, Stitched
from .watching import Call, Grids, watch_attention, watch_grids

log = logging.getLogger("i2am")


class UNet:
    """A `UNet2DConditionModel`, or a copy of its class."""

    takes: ClassVar[str] = "a diffusers UNet2DConditionModel"

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    @classmethod
    def of(cls, model: Any) -> Network | None:
        """See `Network`.

        Raises:
            RecordingError: the U-Net is compiled or wrapped, so that its layers cannot be watched.
        """
        unet = getattr(model, "unet", model)
        if not isinstance(unet, nn.Module):
            return None
        if not all(hasattr(inside(unet), part) for part in ("conv_in", "down_blocks", "up_blocks")):
            return None
        refuse_compiled(unet, "pipeline.unet")
        return cls(unet)

    def given(self, args: tuple[Any, ...], kwargs: dict[str, Any], stitched: Stitched = SINGLE) -> Given:
        """See `Network`.

        Raises:
            LayoutError: ``stitched`` has parts.
        """
        if stitched.parts or stitched.redux:
            raise LayoutError("reference_parts and redux are for models with joint attention; leave them out for a U-Net")
        sample = args[0] if args else kwargs["sample"]
        time = args[1] if len(args) > 1 else kwargs["timestep"]
        now = float(time.flatten()[0]) if isinstance(time, Tensor) else float(time)
        return Given(sample, now, (sample.shape[-2], sample.shape[-1]), kwargs)

    def layout(self, given: Given) -> Layout | None:
        """See `Network`: what IP-Adapters attend to."""
        return adapters_of(self.module, given.kwargs)

    def watch(self, observe: Observe, stack: ExitStack, cutting: Callable[[], Cutting | None] = lambda: None) -> None:
        """See `Network`."""
        found = _cross_attentions(self.module)
        grids = watch_grids(self.module, [path for path, _, _ in found], stack)
        at = {module: (path, layer) for path, layer, module in found}

        def cuts(module: nn.Module, kwargs: Mapping[str, Any]) -> Instead | None:
            now, (path, layer) = cutting(), at[module]
            if now is None or not now.wants(layer):
                return None
            softmaxes = softmaxes_of(layer, module, kwargs)

            def cut(number: int, function: Callable[..., Tensor], given: dict[str, Any]) -> Tensor | None:
                if number >= len(softmaxes):
                    return None
                tokens = given["query"].shape[-2]
                return now.attend(layer, softmaxes[number], lambda: grids.of(path) or _unknown(layer, tokens), function, given)

            return cut

        watch_attention({module: partial(_pass_on, observe, layer, path, grids) for path, layer, module in found}, stack, cuts)


def _pass_on(observe: Observe, layer: str, path: str, grids: Grids, call: Call) -> None:
    observe(layer, partial(_attentions, layer, call, grids.of(path)))


def grid_of(layer: str, latent: tuple[int, int], tokens: int) -> tuple[int, int]:
    """The (rows, columns) of a layer: the latent's, halved (rounding up) until the token count fits.

    Raises:
        LayoutError: no number of halvings gives the count.
    """
    rows, columns = latent
    while rows * columns > tokens:
        rows, columns = -(-rows // 2), -(-columns // 2)
    if rows * columns != tokens:
        raise LayoutError(
            f"layer {layer!r} has {tokens} tokens, which is not the {latent[0]} x {latent[1]} latent halved any number of "
            f"times; leave it out with `layers`"
        )
    return rows, columns


def _unknown(layer: str, tokens: int) -> tuple[int, int]:
    raise LayoutError(
        f"the places of the {tokens} queries of layer {layer!r} are not known; cut without a region of the picture"
    )


def _cross_attentions(unet: nn.Module) -> list[tuple[str, str, Any]]:
    """Paths, layer names and modules; blocks with ``only_cross_attention`` have two.

    Raises:
        RecordingError: the U-Net has none.
    """
    found, mixed = [], 0
    for name, module in unet.named_modules():
        cross = getattr(module, "is_cross_attention", None)
        if name.endswith(".attn2") and cross is not False:
            found.append((name, _layer_name(name.removesuffix(".attn2"), module), module))
        elif name.endswith(".attn1") and cross:
            found.append((name, _layer_name(name, module), module))
        elif getattr(module, "added_kv_proj_dim", None) is not None:
            mixed += 1
    if not found:
        what = "mixes the reference's keys with its own self-attention's in one softmax (as Kandinsky 2 and DeepFloyd IF do)"
        why = f"every attention layer of this U-Net {what}, which is not recorded" if mixed else "this U-Net has none"
        raise RecordingError(f"there is no cross-attention to record: {why}")
    if mixed:
        log.warning("%d layers attend to the reference and to themselves in one softmax; they are left out", mixed)
    return found


def _layer_name(name: str, module: nn.Module) -> str:
    """A layer's name: that of its module, unless the module's attribute ``i2am_layer`` gives another."""
    return str(getattr(module, "i2am_layer", name))


def _attentions(layer: str, call: Call, grid: tuple[int, int] | None, evaluation: Evaluation) -> Iterator[Attention]:
    """One call of a layer, branch by branch: its own attention, then that of each adapter."""
    found, softmaxes = call.attentions(evaluation.batch), softmaxes_of(layer, call.module, call.kwargs)
    if len(found) != len(softmaxes):
        processor = type(getattr(call.module, "processor", call.module)).__name__
        raise RecordingError(
            f"{len(found)} attentions were seen in a call of layer {layer!r}, expected {len(softmaxes)}: its processor "
            f"{processor} uses a kernel that cannot be watched (as xformers, flash and sage attention do), or attends in a way "
            f"that is not known; set another, for example unet.set_attn_processor(AttnProcessor2_0()), or leave the layer out "
            f"with `layers`"
        )
    for softmax, attended in zip(softmaxes, found, strict=True):
        yield from _by_branch(layer, softmax, attended, grid, evaluation)


def _by_branch(
    layer: str, softmax: int, attended: Attended, grid: tuple[int, int] | None, evaluation: Evaluation
) -> Iterator[Attention]:
    q, k, v = attended.q, attended.k, attended.v
    if q.ndim != 4 or len(q) != evaluation.batch or attended.causal:
        how = "causally" if attended.causal else f"from queries of the shape {tuple(q.shape)}"
        raise RecordingError(
            f"layer {layer!r} attends {how}, expected a batch of {evaluation.batch}, each row to all keys; leave it out with "
            f"`layers`"
        )
    if grid is None:
        grid = grid_of(layer, evaluation.latent, q.shape[2])
    elif grid[0] * grid[1] != q.shape[2]:
        raise LayoutError(
            f"layer {layer!r} has {q.shape[2]} queries on a {grid[0]} x {grid[1]} grid: something merges or drops its tokens, "
            f"as token merging does with merge_crossattn; switch that off, or leave the layer out with `layers`"
        )
    mask = mask_by_rows(layer, attended, evaluation.batch)
    output = attended.output
    if output is not None and output.dtype.itemsize < 4:  # the maps are free of a shorter format's rounding
        output = None
    cut, size = evaluation.cutting, grid
    for branch, rows in evaluation.rows.items():
        own = mask if mask is None or len(mask) == 1 else mask[rows]
        left = None if cut is None else cut.seen(layer, softmax, branch, q, k.shape[2], lambda: size)
        yield Attention(
            layer,
            grid,
            branch,
            q[rows],
            k[rows],
            None if v is None else v[rows],
            scale=attended.scale,
            mask=hidden(own, left),
            output=None if output is None else output[rows],
            middle=layer.startswith("mid_block"),
            softmax=softmax,
        )
