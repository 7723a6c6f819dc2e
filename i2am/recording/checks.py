"""Checks of what a recording is given, and how its layers are told in errors."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral

from torch import Tensor

from ..errors import RecordingError
from ..geometry.masks import MaskLike, as_mask, check_range
from ..geometry.resample import Size
from ..geometry.shapes import check_shape
from ..maps.facts import LayerInfo


def grids_of(layer: LayerInfo) -> str:
    """A layer's references with their grids, for errors."""
    return ", ".join(f"{r.name}: {r.grid.rows} x {r.grid.columns} + {r.grid.leading}" for r in layer.references)


def tokens_of(layer: LayerInfo) -> str:
    """A layer's generated tokens, for errors."""
    return f"{layer.queries} tokens" if layer.queries else f"{layer.grid.rows} x {layer.grid.columns} tokens"


def check_counts(counts: Mapping[str, int], cells: int) -> None:
    """Refuse options of a recorder that are no numbers of something.

    Args:
        counts: by name, of what there is at least one.
        cells: see `Recorder`.

    Raises:
        RecordingError: one is no whole number, or too small.
    """
    for name, value in {**counts, "cells": cells}.items():
        if not isinstance(value, Integral):
            raise RecordingError(f"{name} must be a whole number, got {value!r}")
    for name, value in counts.items():
        if value < 1:
            raise RecordingError(f"{name} must be at least 1, got {value}")
    if cells < 0:
        raise RecordingError(f"cells must be at least 1, or 0 to keep every token apart, got {cells}")


def check_call(layer: str, branch: str, step: int, steps: int, rows: int, images: int) -> None:
    """Refuse a call in a step that the schedule does not have, or of another number of images.

    Raises:
        RecordingError: it is one.
    """
    if not 0 <= step < steps:
        raise RecordingError(f"step {step} is outside of the schedule's {steps} steps; set `steps` to the run's number")
    if rows != images:
        raise RecordingError(
            f"layer {layer!r} was called with {rows} rows for branch {branch!r}, expected one for each of {images} images; set "
            f"`images` and the order of branches to match the run"
        )


def checked_mask(mask: MaskLike | None, images: int, size: Size) -> Tensor | None:
    """The inpainting mask of a recording, (1 or images, h, w); None: there is none.

    Raises:
        RecordingError: it is of another number of images, or empty.
        I2AMError: it is no mask, or has another shape than the generated picture of (H, W).
    """
    if mask is None:
        return None
    name = "inpainting mask given to the recording"
    mask = as_mask(mask, name)
    mask = mask[None] if mask.ndim == 2 else mask[:, 0] if mask.ndim == 4 else mask
    if mask.ndim != 3 or len(mask) not in (1, images):
        raise RecordingError(
            f"the {name} has the shape {tuple(mask.shape)}, but the run makes {images} "
            f"image(s); give one mask, (h, w), or one per image, ({images}, h, w)"
        )
    check_range(mask, name)
    if not bool((mask > 0).flatten(1).any(1).all()):
        raise RecordingError(f"the {name} is empty: no pixel is 1 (1 = repainted); give another mask, or none")
    check_shape("inpainting mask", (mask.shape[1], mask.shape[2]), size, "generated image")
    return mask
