"""Heat: raw maps with what is needed to show them; fitting to a picture, min-max and threshold (eqs. 8, 9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import I2AMError
from ..geometry.layout import WHOLE, Rect
from ..geometry.resample import Size, area, bicubic
from .presets import THRESHOLD

FLAT = 1e-3
"""A map with (max - min) / mean below this is flat: shown as zeros, never as amplified noise."""
ORDERS = ("resize", "min-max", "both")
"""What comes first when a map is brought to a picture; see the row "order" of the presets in DESIGN 4."""
MOST_VALUES = 2**30
"""Of all panels at picture size: more would end the process instead of this one map."""
UNMASKED = "the authors also multiply this map by the reference mask: give it to see theirs"


@dataclass(frozen=True, eq=False)
class Heat:
    """One or several raw maps on one picture.

    Attributes:
        values: (P, h, w) float32 raw values of P panels, never thresholded.
        side: "R2G", "R2G-balanced", "mass", "G2R", "SRAM" or "mirror".
        picture: "generated" or "reference": which picture it lies on.
        level: "ULAM", "TLAM", "HLAM", "LLAM" or "SRAM".
        labels: one label per panel.
        size: (H, W) of the picture in pixels.
        sized: of a reference, whether that was recorded; else it is made up from the tokens' grid, and the picture may have
            another shape.
        rect: the part of the picture that the grid covers, as fractions; None: unknown.
        notes: what a reader must know, such as "comparative, not causal".
        unplaced: per panel, the share that went to tokens without a place (G2R, SRAM; else empty).
        colours: colour map of the preset.
        invert: whether pictures show 1 - min-max (official preset).
        queries: the (row, column) cells that an SRAM or mirror was asked for.
        images: per panel, the image of the batch that it belongs to; empty: all belong to one.
        order: "resize": the raw map is resized to the picture, then min-maxed; "min-max": min-maxed at its own size, then
            resized (eqs. 7 to 9); "both": min-maxed, resized and min-maxed again (official preset).
        clamped: whether resizing clamps at 0 what bicubic overshoots.
        edge: how much of a whole cell the last row and the last column hold, as in `TokenGrid`; shares alone say it.
        parts: how many panels, one after another, add up to 1, as shares do; 0: each stands alone.
        threshold: the fraction of the range above which pictures show it; None: all of it. The values stay raw.
        scale: how pictures stretch its panels, "each" to its own range or all to one "shared" range; None leaves it to
            the drawing function.
        of: the reference that the map is of, where the run has several; empty: it has one, or the map is of all.
        frames: how many images of its run are the latent frames of one video; 1: they are pictures.
    """

    values: Tensor
    side: str
    picture: str
    level: str
    labels: tuple[str, ...]
    size: Size
    rect: Rect | None = WHOLE
    notes: tuple[str, ...] = ()
    unplaced: tuple[float, ...] = ()
    colours: str = "inferno"
    invert: bool = False
    queries: tuple[tuple[int, int], ...] = ()
    images: tuple[int, ...] = ()
    threshold: float | None = None
    scale: str | None = None
    order: str = "resize"
    clamped: bool = True
    parts: int = 0
    edge: tuple[float, float] = (1.0, 1.0)
    of: str = ""
    sized: bool = False
    frames: int = 1

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or len(self.values) != len(self.labels):
            raise I2AMError(
                f"a heat holds (panels, rows, columns) with one label per panel, got {tuple(self.values.shape)} and "
                f"{len(self.labels)} labels"
            )
        if not bool(self.values.isfinite().all()):
            raise I2AMError(f"a map of {self.side} holds NaN or infinity, so nothing can be said of it; record again")
        if self.images and len(self.images) != len(self.labels):
            raise I2AMError(f"a heat names the image of each panel, got {len(self.images)} for {len(self.labels)} panels")
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise I2AMError(f"threshold must be a fraction of the map's range, 0 or more and below 1, got {self.threshold}")
        if self.scale not in (None, "each", "shared"):
            raise I2AMError(f"scale is 'each' or 'shared', got {self.scale!r}")
        if self.order not in ORDERS:
            raise I2AMError(f"order is one of {', '.join(ORDERS)}, got {self.order!r}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Heat):
            return NotImplemented
        names = [name for name in self.__dataclass_fields__ if name != "values"]
        return torch.equal(self.values, other.values) and all(getattr(self, n) == getattr(other, n) for n in names)

    def __hash__(self) -> int:
        return hash((self.side, self.level, self.labels, tuple(self.values.shape)))

    def panel(self, index: int) -> Heat:
        """One panel as a heat of its own."""
        return self.panels([index])

    def panels(self, indices: Sequence[int]) -> Heat:
        """Some panels, in the order given, as a heat."""
        return replace(
            self,
            values=self.values[list(indices)],
            labels=tuple(self.labels[i] for i in indices),
            unplaced=tuple(self.unplaced[i] for i in indices) if self.unplaced else (),
            images=tuple(self.images[i] for i in indices) if self.images else (),
            parts=self.parts if self._whole(indices) else 0,
        )

    def _whole(self, indices: Sequence[int]) -> bool:
        """Whether panels are all parts of something, perhaps several times."""
        count = self.parts
        sets = [list(indices[i : i + count]) for i in range(0, len(indices), count)] if count else []
        return bool(sets) and all(one[0] % count == 0 and one == list(range(one[0], one[0] + count)) for one in sets)

    def split(self) -> list[Heat]:
        """The heats of those panels that add up to 1, such as one per time group; without parts this heat alone."""
        step = self.parts or len(self.labels)
        return [self.panels(range(i, i + step)) for i in range(0, len(self.labels), step)]


@dataclass(frozen=True)
class Normalised:
    """``values`` (P, H, W) in 0-1, with each panel's raw range and whether it was flat."""

    values: Tensor
    low: tuple[float, ...]
    high: tuple[float, ...]
    flat: tuple[bool, ...]


def box_of(rect: Rect | None, size: Size) -> tuple[int, int, int, int]:
    """A rectangle in fractions as pixels (left, top, right, bottom) of a picture of ``size``; unknown means all of it.

    >>> box_of((0.25, 0.0, 0.75, 1.0), (64, 48))
    (12, 0, 36, 64)
    """
    left, top, right, bottom = WHOLE if rect is None else rect
    return round(left * size[1]), round(top * size[0]), round(right * size[1]), round(bottom * size[0])


def fit(heat: Heat, size: Size | None = None) -> Tensor:
    """The raw maps at picture size, (P, H, W): bicubic in the rectangle that the grid covers, 0 outside of it."""
    return _fitted(heat.values.float(), heat, size)


def _fitted(values: Tensor, heat: Heat, size: Size | None) -> Tensor:
    size = heat.size if size is None else size
    left, top, right, bottom = box_of(heat.rect, size)
    most = len(values) * max(size[0] * size[1], (bottom - top) * (right - left))
    if most > MOST_VALUES:
        raise I2AMError(
            f"{len(values)} map(s) on a picture of {size[1]} x {size[0]} take {most * 4 / 1e9:.0f} GB; choose fewer at a time, "
            f"or a smaller picture"
        )
    out = torch.zeros(len(values), *size)
    inner = bicubic(values, (max(1, bottom - top), max(1, right - left)), clamped=heat.clamped)
    # a rectangle may reach beyond the picture (padding): keep the part inside
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(bottom, size[0]), min(right, size[1])
    out[:, y0:y1, x0:x1] = inner[:, y0 - top : y1 - top, x0 - left : x1 - left]
    return out


def times_mask(heat: Heat, mask: Tensor) -> Heat:
    """Raw maps times a mask (H, W) of the picture, resized to their grid: the authors' G2R (official preset).

    The mask is resized by plain bicubic, which overshoots, as in their code; if the grid covers part of the picture only,
    by its area in each cell. A flat map stays as it is: multiplied by a mask, it would show the mask.
    """
    flat = torch.tensor(normalise(heat).flat).view(-1, 1, 1)
    grid = (heat.values.shape[1], heat.values.shape[2])
    if heat.rect in (None, WHOLE):
        weights = bicubic(mask[None].float(), grid, clamped=False)
    else:
        weights = area(mask[None], grid, heat.rect)
    notes = tuple(n for n in heat.notes if n != UNMASKED)
    return replace(heat, values=torch.where(flat, heat.values, heat.values * weights), notes=notes)


def normalise(heat: Heat, size: Size | None = None, scale: str = "each") -> Normalised:
    """Min-max to 0-1 at picture size (eq. 8), in the heat's own `order`, each panel alone or all on one scale.

    Flat panels become zeros. The raw range is that of the first min-max: at picture size, or at the maps' own.

    Raises:
        I2AMError: ``scale`` is neither "each" nor "shared".

    >>> heat = Heat(torch.tensor([[[2.0, 3.0, 6.0]]]), "R2G", "generated", "ULAM", ("all steps",), (1, 3))
    >>> normalise(heat).values
    tensor([[[0.0000, 0.2500, 1.0000]]])
    """
    if scale not in ("each", "shared"):
        raise I2AMError(f"scale is 'each' or 'shared', got {scale!r}")
    out_size = heat.size if size is None else size
    left, top, right, bottom = box_of(heat.rect, out_size)
    window = (slice(None), slice(max(top, 0), bottom), slice(max(left, 0), right))
    raw = fit(heat, size)[window] if heat.order == "resize" else heat.values.float()
    spans = _Spans.of(raw, scale)
    inside = spans.stretch(raw)
    if heat.order != "resize":
        inside = _fitted(inside, heat, size)[window]
    if heat.order == "both":
        inside = _Spans.of(inside, scale).stretch(inside)
    values = torch.zeros(len(raw), *out_size)
    values[window] = 1 - inside.clamp(0, 1) if heat.invert else inside.clamp(0, 1)
    values[torch.tensor(spans.flat)] = 0
    return Normalised(values, tuple(spans.low.tolist()), tuple(spans.high.tolist()), spans.flat)


@dataclass(frozen=True)
class _Spans:
    """The lowest and highest value of each panel, (P,), or of all; and which panels are flat."""

    low: Tensor
    high: Tensor
    flat: tuple[bool, ...]

    @classmethod
    def of(cls, panels: Tensor, scale: str) -> _Spans:
        rows = panels.flatten(1)
        low, high = rows.amin(1), rows.amax(1)
        flat = tuple(bool(f) for f in ((high - low) < FLAT * rows.mean(1).abs()) | (high <= low))
        if scale == "shared":
            low, high = low.min().expand_as(low), high.max().expand_as(high)
        return cls(low, high, flat)

    def stretch(self, panels: Tensor) -> Tensor:
        """Panels (P, h, w) to 0-1."""
        span = (self.high - self.low).clamp_min(torch.finfo(torch.float32).tiny)
        return (panels - self.low.view(-1, 1, 1)) / span.view(-1, 1, 1)


def keep_above(values: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """Values kept where strictly greater than the threshold, zeros elsewhere (eq. 9).

    >>> keep_above(torch.tensor([0.25, 0.5, 1.0]), 0.5)
    tensor([0., 0., 1.])
    """
    return torch.where(values > threshold, values, torch.zeros_like(values))


def shown(heat: Heat, size: Size | None = None, scale: str = "each") -> Tensor:
    """A heat as masks in 0-1, (P, H, W): min-maxed at picture size, and cut at the heat's own threshold, if any.

    Args:
        heat: its own scale, if it has one, overrides ``scale``.
        size: (H, W); None: that of the heat's own picture.
        scale: "each" or "shared".
    """
    values = normalise(heat, size, heat.scale or scale).values
    return values if heat.threshold is None else keep_above(values, heat.threshold)
