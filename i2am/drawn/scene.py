"""The demo's case: a person, another person's garment, and the patches that are worth a look."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..geometry.layout import TokenGrid
from .draw import DemoPairs, draw_pairs
from .places import true_places
from .seeds import HELD_OUT
from .spec import PairSpec, draw_pair


@dataclass(frozen=True)
class DemoCase:
    """A try-on of a garment that is not the person's own, and the same person in their own.

    ``own`` holds what the model is given of the person; ``worn`` is the same person drawn in the new garment:
    its reference is the garment picture, its person the truth that the model never sees.
    """

    seed: int
    own_spec: PairSpec
    worn_spec: PairSpec
    own: DemoPairs
    worn: DemoPairs

    @classmethod
    def draw(cls, seed: int) -> DemoCase:
        """The case of a seed, from seeds that training never saw."""
        person, other = draw_pair(HELD_OUT + 2 * seed), draw_pair(HELD_OUT + 2 * seed + 1)
        worn = replace(person.wearing(other.garment), flat=other.flat)
        return cls(seed, person, worn, draw_pairs([person]), draw_pairs([worn]))


@dataclass(frozen=True)
class Patch:
    """A generated cell worth a look, and the true place on the reference (x, y) in pixels where there is one."""

    name: str
    cell: tuple[int, int]
    truth: tuple[float, float] | None


def telling_patches(case: DemoCase, grid: TokenGrid) -> list[Patch]:
    """A glyph, an edge of the print, a sleeve and the background, as cells of the generated picture's grid."""
    size = (grid.rows, grid.columns)
    place, share = true_places(case.worn.truth, case.worn.visible, size)
    place, covered = place[0], share[0, 0] > 0.5
    code = case.worn.densepose[:, :1]
    sleeve = covered & (_share(code > 0.62, size) > 0.5)
    torso = covered & (_share((code > 0.45) & (code < 0.55), size) > 0.9)
    found = [("glyph", _nearest(place, torso, _glyph_centre(case)))]
    edges = _edges(case.worn.person[0], size)
    far = ((place - _glyph_centre(case).view(2, 1, 1)) ** 2).sum(0) > (0.5 * case.worn_spec.flat.width) ** 2
    found.append(("print edge", _largest(edges, torso & far if bool((torso & far).any()) else torso)))
    if bool(sleeve.any()):
        found.append(("sleeve", _largest(_distance_from(~sleeve), sleeve)))
    outside = _share(case.own.inpaint_mask, size) == 0
    found.append(("background", _largest(_distance_from(~outside), outside)))
    return [Patch(name, cell, _truth_at(place, covered, cell)) for name, cell in found if cell is not None]


def _glyph_centre(case: DemoCase) -> Tensor:
    """Where the first glyph lies on the reference picture, (x, y) in pixels."""
    glyph, flat = case.worn_spec.garment.glyphs[0], case.worn_spec.flat
    turn = torch.tensor(flat.turn)
    dx, dy = glyph.x, glyph.y - 0.6
    x = flat.centre[0] + flat.width * (turn.cos() * dx - turn.sin() * dy)
    y = flat.centre[1] + flat.width * (turn.sin() * dx + turn.cos() * dy)
    return torch.stack([x, y])


def _share(where: Tensor, size: tuple[int, int]) -> Tensor:
    """The part of each cell, (rows, columns), that a (1, 1, H, W) mask covers."""
    return torch.nn.functional.adaptive_avg_pool2d(where.float(), size)[0, 0]


def _cell(flat_index: int, columns: int) -> tuple[int, int]:
    return flat_index // columns, flat_index % columns


def _nearest(place: Tensor, where: Tensor, point: Tensor) -> tuple[int, int] | None:
    distance = ((place - point.view(2, 1, 1)) ** 2).sum(0)
    return _largest(-distance, where)


def _largest(values: Tensor, where: Tensor) -> tuple[int, int] | None:
    if not bool(where.any()):
        return None
    return _cell(int(values.masked_fill(~where, float("-inf")).argmax()), values.shape[1])


def _edges(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """How much the colour changes inside each cell."""
    across = (picture[:, :, 1:] - picture[:, :, :-1]).abs().sum(0)
    down = (picture[:, 1:] - picture[:, :-1]).abs().sum(0)
    change = across[:-1] + down[:, :-1]
    return torch.nn.functional.adaptive_avg_pool2d(change[None], size)[0]


def _distance_from(inside: Tensor) -> Tensor:
    """Each cell's distance to the nearest cell of ``inside``."""
    rows, columns = inside.shape
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    points = inside.nonzero()
    distance = (y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2
    return distance.amin(-1).float().sqrt()


def _truth_at(place: Tensor, covered: Tensor, cell: tuple[int, int]) -> tuple[float, float] | None:
    if not bool(covered[cell]):
        return None
    x, y = place[:, cell[0], cell[1]].tolist()
    return x, y
