"""Colour maps: values in 0-1 to colours."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..errors import I2AMError

COLOURS = ("inferno", "viridis", "magma", "plasma", "cividis", "turbo", "jet")
DIVERGING = "blue to orange"
"""The colours of differences: blue below, orange above, pale in the middle, which is 0. No menu offers it."""
BLUE_TO_ORANGE = ("08306b", "0060a8", "3d94d1", "a6cfe8", "f7f7f7", "f6cf95", "e8962f", "b85f0a", "6b3000")
"""Evenly spaced samples of it; between them the colour is mixed linearly. Darker on either side, and of hues that all see."""


Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


def opencv() -> Any:
    """The module cv2.

    Raises:
        I2AMError: it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise I2AMError("drawing needs OpenCV, which is not installed: install opencv-python") from error
    return cv2


def check_colours(name: str) -> None:
    """Refuse a colour map that does not exist.

    Raises:
        I2AMError: it does not exist; names those that do.

    >>> check_colours("rainbow")
    Traceback (most recent call last):
    i2am.I2AMError: no colour map is called 'rainbow'; choose one of inferno, viridis, magma, plasma, cividis, turbo, jet
    """
    if name not in COLOURS:
        raise I2AMError(f"no colour map is called {name!r}; choose one of {', '.join(COLOURS)}")


@lru_cache(maxsize=len(COLOURS) + 1)
def table_of(colours: str) -> Bytes:
    """The 256 colours of a colour map, (256, 3), from the lowest value to the highest.

    Raises:
        I2AMError: an unknown colour map.
    """
    if colours == DIVERGING:
        return _mixed(BLUE_TO_ORANGE)
    check_colours(colours)
    cv2 = opencv()
    steps = np.arange(256, dtype=np.uint8)[:, None]
    table: Bytes = cv2.applyColorMap(steps, getattr(cv2, f"COLORMAP_{colours.upper()}"))[:, 0, ::-1]
    return table


def _mixed(samples: tuple[str, ...]) -> Bytes:
    """256 colours, (256, 3), through evenly spaced ones as "rrggbb"."""
    rgb = np.array([[int(one[i : i + 2], 16) for i in (0, 2, 4)] for one in samples], np.float64)
    at = np.linspace(0, len(samples) - 1, 256)
    return np.stack([np.interp(at, np.arange(len(samples)), channel) for channel in rgb.T], -1).round().astype(np.uint8)


def colourise(values: Tensor | NDArray[Any], colours: str = "inferno") -> Bytes:
    """Colours of values in 0-1: (H, W) becomes (H, W, 3), uint8 RGB.

    Raises:
        I2AMError: an unknown colour map, or values that are not finite numbers in 0-1.

    >>> colourise(np.array([[0.0, 1.0]]), "viridis").tolist()
    [[[68, 1, 84], [253, 231, 37]]]
    """
    array = values.detach().float().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values, np.float32)
    if array.ndim != 2:
        raise I2AMError(f"values to colour must have the shape (H, W), got {tuple(array.shape)}")
    if array.size and not (np.isfinite(array).all() and array.min() >= -1e-4 and array.max() <= 1 + 1e-4):
        seen = f"{array.min():g} to {array.max():g}"
        raise I2AMError(f"values to colour must be in 0-1, got {seen}; normalise them first")
    colour: Bytes = table_of(colours)[np.clip(array * 255 + 0.5, 0, 255).astype(np.uint8)]
    return colour
