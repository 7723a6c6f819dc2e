"""Pictures and heats to draw, and what is read off the drawings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from i2am.levels.heat import Heat
from i2am.pictures.look import Look
from i2am.pictures.overlay import overlay

SMALL = 64  # enlarges nothing below


def photo(height: int = 96, width: int = 72, seed: int = 0) -> Image.Image:
    """A picture with middling tones everywhere, so that every change shows."""
    noise = np.random.default_rng(seed).integers(70, 180, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def blob(peak: float = 1e-3, base: float = 2e-4, at: tuple[float, float] = (0.5, 0.5), rows: int = 16) -> torch.Tensor:
    y, x = (torch.arange(rows) + 0.5) / rows, (torch.arange(12) + 0.5) / 12
    return base + (peak - base) * torch.exp(-((y[:, None] - at[0]) ** 2 + (x[None] - at[1]) ** 2) / 0.05)


def heat_of(values: torch.Tensor, **changes: object) -> Heat:
    labels = tuple(f"head {i}" for i in range(len(values)))
    heat = Heat(values, "R2G", "generated", "HLAM", labels, (96, 72), notes=("comparative, not causal",))
    return replace(heat, **changes)  # type: ignore[arg-type]


@pytest.fixture(name="heat")
def heat_fixture() -> Heat:
    """Three panels whose peaks are at three places and 1, 2 and 4 high."""
    return heat_of(torch.stack([blob(1e-3 * 2**i, at=(0.3 + 0.2 * i, 0.5)) for i in range(3)]))


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB")).astype(int)


def bare(picture: Image.Image, heat: Heat, panel: int = 0, marks: Sequence = (), **look: object) -> np.ndarray:
    """An overlay without bar, caption or enlargement."""
    only = {"colour_bar": False, "caption": False, "min_side": 1}
    return pixels(overlay(picture, heat, panel, Look(**look), marks=marks, **only))  # type: ignore[arg-type]


def margin_is_white(picture: Image.Image, width: int = 3) -> bool:
    p = pixels(picture)
    return all((edge == 255).all() for edge in (p[:width], p[-width:], p[:, :width], p[:, -width:]))


def cells_of(out: Image.Image) -> list[np.ndarray]:
    return [pixels(out)[top:bottom, left:right] for left, top, right, bottom in out.info["cells"]]
