"""U-Nets in diffusers: their cross-attention layers, with names and query grids."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from ...errors import LayoutError, RecordingError
from ..attention import Attention
from .network import Evaluation, Given, Network, Observe
from .processors import OUTPUT, Projected, watch_processor

log = logging.getLogger("i2am")


class UNet:
    """A `UNet2DConditionModel`."""

    takes: ClassVar[str] = "a diffusers UNet2DConditionModel or a pipeline with one"

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    @classmethod
    def of(cls, model: Any) -> Network | None:
        """See `Network`."""
        from diffusers import UNet2DConditionModel

        unet = getattr(model, "unet", model)
        return cls(unet) if isinstance(unet, UNet2DConditionModel) else None

    def given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Given:
        """See `Network`."""
        sample = args[0] if args else kwargs["sample"]
        time = args[1] if len(args) > 1 else kwargs["timestep"]
        now = float(time.flatten()[0]) if isinstance(time, Tensor) else float(time)
        return Given(sample, now, (sample.shape[-2], sample.shape[-1]))

    def watch(self, observe: Observe, stack: ExitStack) -> None:
        """See `Network`."""
        for layer, module in _cross_attentions(self.module):
            watch_processor(layer, module, partial(_pass_on, observe, layer), stack)


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


def _cross_attentions(unet: nn.Module) -> list[tuple[str, Any]]:
    """Layer names and modules; blocks with ``only_cross_attention`` have two.

    Raises:
        RecordingError: the U-Net has none.
    """
    found, mixed = [], 0
    for name, module in unet.named_modules():
        cross = getattr(module, "is_cross_attention", None)
        if name.endswith(".attn2") and cross is not False:
            found.append((_layer_name(name.removesuffix(".attn2"), module), module))
        elif name.endswith(".attn1") and cross:
            found.append((_layer_name(name, module), module))
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


def _pass_on(observe: Observe, layer: str, projected: Projected) -> None:
    observe(layer, partial(_attentions, layer, projected))


def _attentions(layer: str, projected: Projected, evaluation: Evaluation) -> Iterator[Attention]:
    """One call of a layer, branch by branch."""
    split = projected.split(layer)
    q, k, v, output = (split.get(name) for name in ("to_q", "to_k", "to_v", OUTPUT))
    assert q is not None
    assert k is not None
    grid = grid_of(layer, evaluation.latent, q.shape[2])
    mask = projected.prepared_mask(k)
    for branch, rows in evaluation.rows.items():
        yield Attention(
            layer,
            grid,
            branch,
            q[rows],
            k[rows],
            None if v is None else v[rows],
            scale=projected.attn.scale,
            mask=None if mask is None else mask[rows],
            output=None if output is None else output[rows],
            middle=layer.startswith("mid_block"),
        )
