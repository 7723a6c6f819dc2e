"""Where every generated patch looked, at once: the place, sharpness and parts of each patch's SRAM (eq. 16)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import MaskError
from ..geometry.layout import WHOLE, TokenGrid
from ..geometry.masks import check_finite
from ..geometry.resample import area
from ..levels.choice import EVERYTHING, Choice
from ..levels.patch import asked_grid, sram
from ..maps.value import AttributionMaps

MOST = 2**24
"""Values looked up together, to bound memory."""


@dataclass(frozen=True, eq=False)
class Looked:
    """The patches of a generated grid, row-major, and where each looked on one reference.

    Attributes:
        generated, reference: the grids, of Q and of K cells.
        place: (Q, 2) row and column on the reference grid, in cells from the middle of cell (0, 0): the mean of the cells
            around the peak, weighted by their attention.
        peak: (Q,) the highest cell as a multiple of a uniform map.
        spread: (Q,) the share of the reference that attention spreads over, e^entropy ÷ K.
        parts: (P, Q) the share of each patch's attention to placed tokens that lies in each of the P parts asked for.
    """

    generated: TokenGrid
    reference: TokenGrid
    place: Tensor
    peak: Tensor
    spread: Tensor
    parts: Tensor


def looked(maps: AttributionMaps, parts: Tensor | None = None, choice: Choice = EVERYTHING) -> Looked:
    """Look up every patch of the generated picture.

    Args:
        maps: a recording with pairwise maps.
        parts: (P, rows, columns) weights 0-1 on the reference grid, see `grids`; None: no parts.
        choice: what to take of the recording.

    Raises:
        UnavailableError: as `sram`.
    """
    generated, reference = grids(maps, choice)
    cells = [(a, b) for a in range(generated.rows) for b in range(generated.columns)]
    asked = torch.zeros(0, reference.placed) if parts is None else parts.flatten(1).float()
    places, peaks, spreads, inside = [], [], [], []
    block = max(1, MOST // reference.placed)
    for start in range(0, len(cells), block):
        rows = sram(maps, cells[start : start + block], "reference", choice, each=True).values
        share = rows.flatten(1) / rows.sum((1, 2)).clamp_min(1e-12)[:, None]
        places.append(_around_the_peak(share, (reference.rows, reference.columns)))
        peaks.append(share.amax(1) * reference.placed)
        spreads.append((-(share * share.clamp_min(1e-12).log()).sum(1)).exp() / reference.placed)
        inside.append(asked @ share.T)
    return Looked(generated, reference, torch.cat(places), torch.cat(peaks), torch.cat(spreads), torch.cat(inside, 1))


def grids(maps: AttributionMaps, choice: Choice = EVERYTHING) -> tuple[TokenGrid, TokenGrid]:
    """The grids of the generated picture and of the reference that `looked` speaks of.

    Raises:
        UnavailableError: as `sram`.
    """
    return asked_grid(maps, "reference", choice), asked_grid(maps, "generated", choice)


def on_grid(mask: Tensor, grid: TokenGrid, name: str = "mask") -> Tensor:
    """A mask (H, W) in 0-1 as the share of each cell of a grid that it covers, (rows, columns).

    Raises:
        MaskError: the mask, called ``name``, holds NaN, is empty, or lies outside of what the tokens cover.
    """
    check_finite(mask, name)
    found = area(mask.clamp(0, 1)[None], (grid.rows, grid.columns), grid.rect or WHOLE)[0]
    if not float(found.max()) > 0:
        raise MaskError(f"the {name} is empty or lies outside of what the tokens cover, so nothing can be said of it")
    return found


def covered(mask: Tensor, grid: TokenGrid) -> float:
    """The share of a mask (H, W), not empty, that lies in the part of its picture that a grid's tokens cover."""
    left, top, right, bottom = grid.rect or WHOLE
    found = area(mask.clamp(0, 1)[None], (grid.rows, grid.columns), grid.rect or WHOLE)
    return float(found.mean()) * (right - left) * (bottom - top) / float(mask.clamp(0, 1).mean())


def _around_the_peak(share: Tensor, size: tuple[int, int]) -> Tensor:
    """(Q, K) to (Q, 2): the mean place of the nine cells about the highest one, weighted by what they hold."""
    rows, columns = size
    at = share.argmax(1)
    row, column = at // columns, at % columns
    total, place = torch.zeros(len(share)), torch.zeros(len(share), 2)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            a, b = row + down, column + right
            there = (a >= 0) & (a < rows) & (b >= 0) & (b < columns)
            index = a.clamp(0, rows - 1) * columns + b.clamp(0, columns - 1)
            weight = share.gather(1, index[:, None])[:, 0] * there
            total += weight
            place += weight[:, None] * torch.stack([a, b], 1)
    return place / total.clamp_min(1e-12)[:, None]
