"""A region of the reference brought onto the generated picture through the recorded correspondence, and compared.

Looking is not drawing. Each generated patch says where on the reference it looked; the patches that looked at or near a region
place one copy of it on the picture (a robust affine fit). What the picture shows there is laid beside the region.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry.layout import WHOLE, TokenGrid
from .consensus import agreeing
from .looked import Looked

SIDE = 32
"""Samples along the longer side of a region."""
WINDOW = 6
"""Side of a window of local structure, in samples."""
NEAR = 2.5
"""Patches that looked this many reference cells beside the region still help to place it."""
LEAST = 6
"""Fewer patches than this place nothing."""
THIN = 0.25
"""The patches must spread this many reference cells (standard deviation) across their narrower direction."""
TURNS = 5
"""Rounds of the robust fit, in which patches that lie off by more than about a generated cell count less."""
FINEST = 4
"""At most so many points each way make one sample; where that is too few for the pictures, these are shrunk first."""
EVEN = 1.001
"""A patch whose peak is below this multiple of a uniform map looked nowhere in particular."""
SHIFTS, SCALES = (0.0, -0.375, 0.375, -0.75, 0.75), (1.0, 0.85, 1.18)
"""Attention knows places to about a cell: of these shifts, in generated cells, and sizes the copy that fits best is taken; of
equal ones the first."""
FLAT = 1e-3
"""A picture whose colours deviate less than this (root mean square, in 0-1) is of one colour, and fits everywhere alike."""


@dataclass(frozen=True, eq=False)
class Carried:
    """One copy of a region on the generated picture.

    Attributes:
        patches: how many generated patches looked at it.
        scatter: how far they lie, on the mean, from where one copy would have them, in generated cells.
        middle: (x, y) of its middle on the generated picture, in pixels.
        structure: how alike both are in local structure, from 1 through 0 (nothing in common) to -1: the covariance of
            windows over the root of their variances, the windows weighted by the reference's variance; all colours together.
        contrast: the root of the region's mean variance in these windows, on the reference, all colours together, in 0-1.
        colour: distance of the mean colours, in CIELAB units (ΔE*ab of 1976).
        shown: the share of the copy that lies within the generated picture.
        reference, generated: (3, rows, columns) in 0-1, what was compared.
    """

    patches: int
    scatter: float
    middle: tuple[float, float]
    structure: float
    contrast: float
    colour: float
    shown: float
    reference: Tensor
    generated: Tensor


def carry(looked: Looked, region: Tensor, reference: Tensor, generated: Tensor, inside: Tensor | None = None) -> Carried | None:
    """Bring a region over and compare; None: no patch looked at it, or too few near it, or all in a line.

    Args:
        looked: where each generated patch looked.
        region: (H, W) on the reference's picture, more than 0.5 = in it; not empty.
        reference: (3, H, W) in 0-1.
        generated: (3, h, w) in 0-1.
        inside: (Q,) bool, the patches that may be asked; None: those that agree on one copy, of all.
    """
    box, size = _box(region), (generated.shape[-2], generated.shape[-1])
    source = _pixels(looked.place + 0.5, looked.reference, (reference.shape[-2], reference.shape[-1]))
    cell, unit = _cell(looked.reference, (reference.shape[-2], reference.shape[-1])), _cell(looked.generated, size)
    asked = looked.peak > EVEN
    asked = asked if inside is None else asked & inside
    own = asked & _within(source, box, (cell - (box[2:] - box[:2])).clamp(min=0) / 2)
    near = asked & _within(source, box, NEAR * cell)
    if not bool(own.any()):
        return None
    points = source[near] / cell, _middles(looked.generated, size)[near] / unit, looked.peak[near].sqrt()
    if inside is None:
        agreed = agreeing(*points)
        points = points[0][agreed], points[1][agreed], points[2][agreed]
    found = _fit(*points)
    if found is None:
        return None
    affine, scatter = found
    grid, over, shrunk = _samples(box, affine, cell, unit)
    flat = _read(reference, grid, over, shrunk)
    placed, drawn = _best(flat, generated, _moved(grid, affine, cell, unit), unit, over, shrunk)
    weights = _read((region > 0.5).float()[None], grid, over, shrunk)[0]
    there = ((placed >= 0) & (placed <= torch.tensor([size[1], size[0]]))).all(-1).float()
    there = F.avg_pool2d(there[None], over)[0]
    return Carried(
        patches=int(own.sum()),
        scatter=scatter,
        middle=(float(placed[..., 0].mean()), float(placed[..., 1].mean())),
        structure=local_structure(flat, drawn, weights),
        contrast=contrast(flat, weights),
        colour=_colour_distance(flat, drawn, weights),
        shown=float((there * weights).sum() / weights.sum().clamp_min(1e-9)),
        reference=flat,
        generated=drawn,
    )


def local_structure(a: Tensor, b: Tensor, weights: Tensor) -> float:
    """How alike two pictures (3, h, w) are in local structure, -1 to 1, windows weighted by ``a``'s variance and (h, w).

    >>> picture = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(0))
    >>> round(local_structure(picture, 0.5 * picture + 0.2, torch.ones(12, 12)), 2)
    1.0
    """
    var_a, var_b = _variance(a), _variance(b)
    both = (_pooled(a.double() * b.double()) - _pooled(a) * _pooled(b)).sum(0)
    weight = var_a * _pooled(weights[None])[0]
    tiny = 1e-4
    alike = (both + tiny) / ((var_a * var_b).sqrt() + tiny)
    return float((alike * weight).sum() / weight.sum().clamp_min(1e-12))


def contrast(picture: Tensor, weights: Tensor) -> float:
    """The root of the mean variance in windows of a picture (3, h, w), weighted by (h, w).

    >>> contrast(torch.full((3, 12, 12), 0.4), torch.ones(12, 12))
    0.0
    """
    weight = _pooled(weights[None])[0]
    return float(((_variance(picture) * weight).sum() / weight.sum().clamp_min(1e-12)).sqrt())


def _pooled(x: Tensor) -> Tensor:
    """The mean of each window, of (C, h, w)."""
    window = max(2, min(WINDOW, *x.shape[-2:]))
    return F.avg_pool2d(x[None].double(), window, stride=max(1, window // 2))[0]


def _variance(x: Tensor) -> Tensor:
    return (_pooled(x.double() ** 2) - _pooled(x) ** 2).sum(0).clamp_min(0)


def _box(region: Tensor) -> Tensor:
    """(left, top, right, bottom) in pixels."""
    rows, columns = (region > 0.5).any(1).nonzero().flatten(), (region > 0.5).any(0).nonzero().flatten()
    return torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=torch.float32)


def _cell(grid: TokenGrid, size: tuple[int, int]) -> Tensor:
    """(2,) width and height of a cell in pixels."""
    left, top, right, bottom = grid.rect or WHOLE
    return torch.tensor([(right - left) * size[1] / grid.columns, (bottom - top) * size[0] / grid.rows])


def _pixels(cells: Tensor, grid: TokenGrid, size: tuple[int, int]) -> Tensor:
    """(Q, 2) rows and columns, in cells from the grid's corner, to x and y in pixels."""
    left, top, _, _ = grid.rect or WHOLE
    return cells.flip(1) * _cell(grid, size) + torch.tensor([left * size[1], top * size[0]])


def _middles(grid: TokenGrid, size: tuple[int, int]) -> Tensor:
    """(Q, 2) x and y of the middle of every cell, row-major."""
    rows, columns = torch.meshgrid(torch.arange(grid.rows), torch.arange(grid.columns), indexing="ij")
    return _pixels(torch.stack([rows.flatten(), columns.flatten()], 1) + 0.5, grid, size)


def _within(points: Tensor, box: Tensor, beside: Tensor) -> Tensor:
    """Which of some points (n, 2) lie in a box, or no further beside it."""
    return ((points >= box[:2] - beside) & (points <= box[2:] + beside)).all(1)


def _fit(source: Tensor, target: Tensor, weights: Tensor) -> tuple[Tensor, float] | None:
    """The affine map (3, 2) from source to target, both (n, 2) in cells, by least squares reweighted to spare outliers.

    Also the weighted mean distance from it; None: there are too few points, or they lie in a line.
    """
    if len(source) < LEAST or float(torch.linalg.svdvals(source - source.mean(0))[-1]) < THIN * math.sqrt(len(source)):
        return None
    ones, goal = torch.cat([source, torch.ones(len(source), 1)], 1).double(), target.double()
    start = each = weights.double().clamp_min(1e-6)
    for _ in range(TURNS):
        affine = torch.linalg.lstsq(ones * each[:, None], goal * each[:, None]).solution
        away = (ones @ affine - goal).norm(dim=1)
        each = start / (1 + away.square()).sqrt()
    return affine.float(), float((away * start).sum() / start.sum())


def _moved(points: Tensor, affine: Tensor, cell: Tensor, unit: Tensor) -> Tensor:
    """Pixels of the reference (..., 2) to pixels of the generated picture."""
    return (points / cell @ affine[:2] + affine[2]) * unit


def _samples(box: Tensor, affine: Tensor, cell: Tensor, unit: Tensor) -> tuple[Tensor, int, float]:
    """Points (rows, columns, 2) over a box, x and y in pixels, how many of them each way make one sample, and a factor.

    Pictures are shrunk by the factor, so that no pixel falls between the points.
    """
    extent = box[2:] - box[:2]
    corners = torch.stack([box[:2], torch.stack([box[2], box[1]]), torch.stack([box[0], box[3]])])
    first, right, down = _moved(corners, affine, cell, unit)
    pixels = max(float(extent.max()), float((right - first).norm()), float((down - first).norm()))
    wanted = max(1, math.ceil(pixels / SIDE))
    over = min(wanted, FINEST)
    columns, rows = (max(2, round(SIDE * float(side / extent.max()))) * over for side in extent)
    x = box[0] + extent[0] * (torch.arange(columns) + 0.5) / columns
    y = box[1] + extent[1] * (torch.arange(rows) + 0.5) / rows
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1), over, over / wanted


def _read(picture: Tensor, at: Tensor, over: int, shrunk: float = 1.0) -> Tensor:
    """What a picture (C, H, W) shows at pixels (rows, columns, 2), pooled to samples."""
    return _sampled(_shrunk(picture, shrunk), at / torch.tensor([picture.shape[-1], picture.shape[-2]]), over)


def _shrunk(picture: Tensor, by: float) -> Tensor:
    if by == 1:
        return picture
    return F.interpolate(picture[None], [max(1, round(side * by)) for side in picture.shape[-2:]], mode="area")[0]


def _sampled(picture: Tensor, at: Tensor, over: int) -> Tensor:
    """Likewise, at fractions of its size."""
    values = F.grid_sample(picture[None], (at * 2 - 1)[None], padding_mode="border", align_corners=False)
    return F.avg_pool2d(values, over)[0]


def _best(flat: Tensor, generated: Tensor, at: Tensor, unit: Tensor, over: int, shrunk: float) -> tuple[Tensor, Tensor]:
    """The place near ``at`` at which the picture is most like the region, and what it shows there."""
    middle, size = at.reshape(-1, 2).mean(0), torch.tensor([generated.shape[-1], generated.shape[-2]])
    picture = _shrunk(generated, shrunk)
    tried = [
        (at - middle) * scale + middle + torch.tensor([right, down]) * unit
        for right, down, scale in itertools.product(SHIFTS, SHIFTS, SCALES)
    ]
    found = [(place, _sampled(picture, place / size, over)) for place in tried]
    return max(found, key=lambda one: _correlation(flat, one[1]))


def _correlation(a: Tensor, b: Tensor) -> float:
    """Of two pictures (3, h, w), each colour about its own mean; 0 where one of them is of one colour."""
    a, b = (x - x.mean((1, 2), keepdim=True) for x in (a, b))
    if min(float(x.square().mean().sqrt()) for x in (a, b)) < FLAT:
        return 0.0
    return float((a * b).sum() / (a.norm() * b.norm()))


def _colour_distance(a: Tensor, b: Tensor, weights: Tensor) -> float:
    means = [(x * weights).sum((1, 2)) / weights.sum().clamp_min(1e-9) for x in (a, b)]
    return float((lab(means[0]) - lab(means[1])).norm())


def lab(rgb: Tensor) -> Tensor:
    """An sRGB colour (3,) in 0-1 in CIELAB under D65 (CIE 15; IEC 61966-2-1).

    >>> [round(x) for x in lab(torch.tensor([1.0, 1.0, 1.0])).tolist()]
    [100, 0, 0]
    """
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb.clamp_min(0) + 0.055) / 1.055) ** 2.4).double()
    to_xyz = torch.tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], dtype=torch.float64)
    x, y, z = to_xyz @ linear / to_xyz.sum(1)
    x, y, z = (torch.where(v > (6 / 29) ** 3, v.clamp_min(1e-12) ** (1 / 3), v * 841 / 108 + 4 / 29) for v in (x, y, z))
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])
