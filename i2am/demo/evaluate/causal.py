"""Is what the maps say caused? Recolour one block of the reference at a time, keep the noise, and see what changes.

The maps alone must tell which block it was: the change in the picture is compared with the attention that
each block had in the original run. Blocks never overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import torch
from torch import Tensor
from torch.nn import functional as F

from ...drawn.draw import DemoPairs
from ...drawn.places import GRID
from ...drawn.spec import COLOURS, REFERENCE
from ...maps.value import AttributionMaps
from ...models.demo.encoder import REFERENCE_GRID
from ...models.demo.tryon import DemoModel, try_on
from ..recording import recording_of
from .correspondence import FAMILIES, sram_rows

BLOCK = 2
"""Rows and columns of a block, in reference tokens."""
TOKEN = REFERENCE[0] // REFERENCE_GRID[0]
COVERED = 0.5
"""Share of a block that the garment must cover in the reference picture."""
SEEN = 3.0
"""Cells of the generated picture that must truly show a block, in all."""
HIGH, LOW = 0.5, 0.2
"""A cell is on a block's map where the map has at least ``HIGH`` of its peak, and off it below ``LOW``."""


@dataclass(frozen=True)
class Block:
    """A square of the reference picture: its first row and column, in tokens."""

    row: int
    column: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom, in reference pixels."""
        side = BLOCK * TOKEN
        return self.column * TOKEN, self.row * TOKEN, self.column * TOKEN + side, self.row * TOKEN + side

    @property
    def tokens(self) -> list[int]:
        """Its tokens among the placed ones, row-major."""
        columns = REFERENCE_GRID[1]
        return [(self.row + i) * columns + self.column + j for i in range(BLOCK) for j in range(BLOCK)]


def true_shares(pairs: DemoPairs, blocks: Sequence[Block]) -> Tensor:
    """The part of each cell of the generated picture that truly shows each block, (K, 32, 24) in 0-1; one pair."""
    x, y, visible = pairs.truth[0, 0], pairs.truth[0, 1], pairs.visible[0, 0] > 0
    shown = []
    for block in blocks:
        left, top, right, bottom = block.box
        shown.append(visible & (x >= left) & (x < right) & (y >= top) & (y < bottom))
    return F.adaptive_avg_pool2d(torch.stack(shown).float()[:, None], GRID)[:, 0]


def usable_blocks(pairs: DemoPairs) -> list[Block]:
    """The blocks of one pair that the garment covers by half and the person shows on at least `SEEN` cells.

    Of the four block lattices, the one that holds most of them.

    Raises:
        ValueError: not one pair.
    """
    if len(pairs.person) != 1:
        raise ValueError(f"blocks are chosen for one pair at a time, got {len(pairs.person)}")
    best: list[Block] = []
    for first in ((0, 0), (0, 1), (1, 0), (1, 1)):
        rows = range(first[0], REFERENCE_GRID[0] - BLOCK + 1, BLOCK)
        lattice = [Block(r, c) for r in rows for c in range(first[1], REFERENCE_GRID[1] - BLOCK + 1, BLOCK)]
        covered = [float(_inside(pairs.reference_mask[0], b).mean()) >= COVERED for b in lattice]
        seen = true_shares(pairs, lattice).sum((1, 2)) >= SEEN
        usable = [b for b, c, s in zip(lattice, covered, seen.tolist(), strict=True) if c and s]
        best = max(best, usable, key=len)
    return best


def choose_blocks(pairs: DemoPairs, count: int = 12) -> list[Block]:
    """``count`` blocks of the garment, spread out by farthest-point sampling; the same each time.

    Raises:
        ValueError: not one pair, or its garment has fewer `usable_blocks`.
    """
    best = usable_blocks(pairs)
    if len(best) < count:
        raise ValueError(
            f"the garment has only {len(best)} blocks that the person shows, {count} were asked for; ask for fewer"
        )
    at = torch.tensor([(b.row, b.column) for b in best], dtype=torch.float32)
    chosen = [int((at - at.mean(0)).square().sum(1).argmin())]
    away = torch.full((len(best),), float("inf"))
    while len(chosen) < count:
        away = torch.minimum(away, (at - at[chosen[-1]]).square().sum(1))
        away[chosen] = -1
        chosen.append(int(away.argmax()))
    return sorted((best[i] for i in chosen), key=lambda b: (b.row, b.column))


def _inside(picture: Tensor, block: Block) -> Tensor:
    """The block's part of a reference picture (C, 160, 112), as a view."""
    left, top, right, bottom = block.box
    return picture[..., top:bottom, left:right]


def recolour(reference: Tensor, mask: Tensor, block: Block) -> Tensor:
    """The reference picture (3, 160, 112) with the block's garment painted in the palette's most different colour."""
    out = reference.clone()
    part, cloth = _inside(out, block), _inside(mask, block) > 0.5
    palette = torch.tensor(list(COLOURS.values()))
    away = (part[None] - palette.view(-1, 3, 1, 1)).abs().mean(1)
    colour = palette[int((away * cloth).sum((1, 2)).argmax())]
    part.copy_(torch.where(cloth, colour.view(3, 1, 1), part))
    return out


def attention_on(maps: AttributionMaps, blocks: Sequence[Block], layers: str | Sequence[str] | None = None) -> Tensor:
    """What each cell spent on each block, by SRAM alone: (K, 32, 24); the recording's first image."""
    rows = sram_rows(maps, layers)[0]
    return torch.stack([rows[:, b.tokens].sum(1) for b in blocks]).view(-1, *GRID)


def change_of(pictures: Tensor, original: Tensor) -> Tensor:
    """How far pictures (K, 3, 128, 96) moved from the original (3, 128, 96), per cell: (K, 32, 24)."""
    return F.adaptive_avg_pool2d((pictures - original).abs().mean(1, keepdim=True), GRID)[:, 0]


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Correlation along the last axis; 0 where one side is constant."""
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1)).clamp_min(1e-9)


def partial_correlation(a: Tensor, b: Tensor, given: Tensor) -> Tensor:
    """Correlation of what a straight line in ``given`` leaves unexplained of ``a`` and ``b``."""
    ab, ag, bg = pearson(a, b), pearson(a, given), pearson(b, given)
    return (ab - ag * bg) / ((1 - ag**2) * (1 - bg**2)).clamp_min(1e-9).sqrt()


BLURS = (0.7, 1.4)
"""In cells. Maps come from coarser grids and the model smears a change: the truth is blurred too before it is compared."""


def blurred(maps: Tensor, sigma: float) -> Tensor:
    """(K, 32, 24) maps under a Gaussian of ``sigma`` cells."""
    return torch.stack([torch.from_numpy(cv2.GaussianBlur(m.numpy(), (0, 0), sigma)) for m in maps])


def partial_given(a: Tensor, b: Tensor, given: Sequence[Tensor]) -> Tensor:
    """Correlation of (K, n) a and b after the best fit of all of ``given`` and a constant is taken from both."""
    known = torch.stack([*given, torch.ones_like(a)], -1)
    rest = [x[..., None] - known @ torch.linalg.lstsq(known, x[..., None], driver="gelsd").solution for x in (a, b)]
    return pearson(rest[0][..., 0], rest[1][..., 0])


@dataclass(frozen=True)
class Evidence:
    """Per recoloured block (K,), what the change says about the maps.

    Attributes:
        found: whether the block whose map correlates most with the change is the recoloured one.
        correlation: of the change with the block's map, over the inpainted cells.
        partial: the same, given the block's true share of each cell.
        partial_truth: of the change with the true share, given the block's map.
        partial_blurred: of the change with the block's map, given the true share and its blurs, `BLURS`.
        maps_only: change on the cells that only the map claims, summed in units of the block's mean change; how many.
        truth_only: the same for the cells that only the true warp claims.
        in_place: share of the change on cells that truly show the block, and their share of the area.
    """

    found: Tensor
    correlation: Tensor
    partial: Tensor
    partial_truth: Tensor
    partial_blurred: Tensor
    maps_only: tuple[Tensor, Tensor]
    truth_only: tuple[Tensor, Tensor]
    in_place: tuple[Tensor, Tensor]


def weigh(change: Tensor, attention: Tensor, truth: Tensor, mask: Tensor) -> Evidence:
    """Compare changes with maps, each (K, 32, 24), over the cells of ``mask`` (32, 24) boolean."""
    c, a, t = (x[:, mask].double() for x in (change, attention, truth))
    soft = [blurred(truth, sigma)[:, mask].double() for sigma in BLURS]
    each = pearson(c[:, None], a[None])  # (changes, blocks)
    share = c / c.mean(1, keepdim=True).clamp_min(1e-12)
    on_map, on_truth = (x / x.amax(1, keepdim=True).clamp_min(1e-12) for x in (a, t))

    def over(cells: Tensor) -> tuple[Tensor, Tensor]:
        return (share * cells).sum(1), cells.sum(1)

    place = t > 0
    return Evidence(
        found=each.argmax(1) == torch.arange(len(c)),
        correlation=each.diagonal(),
        partial=partial_correlation(c, a, t),
        partial_truth=partial_correlation(c, t, a),
        partial_blurred=partial_given(c, a, [t, *soft]),
        maps_only=over((on_map >= HIGH) & (on_truth < LOW)),
        truth_only=over((on_truth >= HIGH) & (on_map < LOW)),
        in_place=((share * place).mean(1), place.double().mean(1)),
    )


def summary(evidence: Sequence[Evidence]) -> dict[str, float | int | None]:
    """The figures of one or many pairs, as JSON.

    ``partial_correlation`` is that of change and maps given the true warp, ``partial_correlation_of_truth`` that of
    change and true warp given the maps: which of the two tells what the other does not. A sharp true warp leaves the
    smear of a change unexplained, which any soft map then explains; ``partial_correlation_given_blurs`` takes the true warp's
    blurs away too.
    ``follows_maps`` is the change per cell where only the maps claim the block, divided by that plus the change
    per cell where only the true warp does: 1 when the picture follows the maps, 0 when the truth, None when maps
    and truth differ nowhere.
    """

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(e, name) for e in evidence])

    def pooled(name: str) -> tuple[float, int]:
        total = sum(float(getattr(e, name)[0].sum()) for e in evidence)
        cells = sum(int(getattr(e, name)[1].sum()) for e in evidence)
        return (total / cells if cells else 0.0), cells

    found = joined("found")
    (by_maps, maps_cells), (by_truth, truth_cells) = pooled("maps_only"), pooled("truth_only")
    differ = maps_cells > 0 and truth_cells > 0 and by_maps + by_truth > 0
    return {
        "retrieval": float(found.double().mean()),
        "correlation": float(joined("correlation").mean()),
        "partial_correlation": float(joined("partial").mean()),
        "partial_correlation_of_truth": float(joined("partial_truth").mean()),
        "partial_correlation_given_blurs": float(joined("partial_blurred").mean()),
        "follows_maps": by_maps / (by_maps + by_truth) if differ else None,
        "change_maps_only": by_maps if maps_cells else None,
        "change_truth_only": by_truth if truth_cells else None,
        "maps_only_cells": maps_cells,
        "truth_only_cells": truth_cells,
        "change_in_place": float(torch.cat([e.in_place[0] for e in evidence]).mean()),
        "place_area": float(torch.cat([e.in_place[1] for e in evidence]).mean()),
        "changes": len(found),
        "pairs": len(evidence),
        "chance": len(evidence) / len(found),
    }


@dataclass(frozen=True)
class CausalResult:
    """One pair's check, with what is needed to show it; pictures in 0-1, cells are those of the 32x24 grid."""

    blocks: tuple[Block, ...]
    original: Tensor  # (3, 128, 96) the picture made from the untouched reference
    recoloured: Tensor  # (K, 3, 160, 112)
    pictures: Tensor  # (K, 3, 128, 96)
    change: Tensor  # (K, 32, 24)
    attention: dict[str, Tensor]  # by family of layers, (K, 32, 24)
    truth: Tensor  # (K, 32, 24)
    mask: Tensor  # (32, 24) boolean: cells that are repainted

    def evidence(self, family: str = "all_layers") -> Evidence:
        """The maps of one family of layers against the changes; "truth" or "blurred truth": the true warp in their place."""
        named = {"truth": self.truth, "blurred truth": blurred(self.truth, BLURS[0])}
        attention = named[family] if family in named else self.attention[family]
        return weigh(self.change, attention, self.truth, self.mask)

    def as_dict(self) -> dict[str, Any]:
        """`causal_figures` of this pair."""
        return causal_figures([self])

    @property
    def shown(self) -> int:
        """The block that covers most of the person, to show as an example: chosen by area, not by outcome."""
        return int(self.truth.sum((1, 2)).argmax())


def causal_figures(results: Sequence[CausalResult]) -> dict[str, Any]:
    """`summary` of one or many pairs as JSON: by all layers, by family, and by the true warp in place of the maps."""
    families = {name: summary([r.evidence(name) for r in results]) for name in FAMILIES}
    warps = {name: summary([r.evidence(name) for r in results]) for name in ("truth", "blurred truth")}
    told = ("retrieval", "correlation", "changes", "pairs")
    return {
        **families.pop("all_layers"),
        "blocks": len(results[0].blocks),
        **families,
        "by_true_warp": {name: warps["truth"][name] for name in told},
        "by_blurred_warp": {name: warps["blurred truth"][name] for name in told},
    }


def causal_check(
    model: DemoModel,
    pairs: DemoPairs,
    maps: AttributionMaps | None = None,
    picture: Tensor | None = None,
    *,
    agnostic: Tensor | None = None,
    densepose: Tensor | None = None,
    seed: int = 0,
    steps: int = 50,
    cfg: float = 5.0,
    blocks: int = 12,
    batch: int = 6,
    on_progress: Callable[[int], None] | None = None,
) -> CausalResult:
    """Recolour each of ``blocks`` blocks of one pair's garment with the same noise and keep what changed.

    Args:
        model: the demo model.
        pairs: one pair, drawn as the picture ought to look.
        maps: the recording (with pairwise maps) of an untouched run with the same inputs, seed, steps and cfg.
        picture: that run's picture (3, 128, 96). Without both, the untouched run is made here.
        agnostic: (1, 3, 128, 96) what the model is given of the person; default: the pair's.
        densepose: (1, 3, 128, 96) likewise.
        seed: the noise seed of every run.
        steps: DDIM steps.
        cfg: scale of classifier-free guidance.
        blocks: how many blocks.
        batch: recoloured references at a time.
        on_progress: called with the number of finished pictures, an untouched one made here included.

    Raises:
        ValueError: the garment has fewer blocks that the person shows.
    """
    chosen = choose_blocks(pairs, blocks)
    reference, mask = pairs.reference[0], pairs.reference_mask[0]
    recoloured = torch.stack([recolour(reference, mask, block) for block in chosen])
    agnostic = pairs.agnostic if agnostic is None else agnostic
    densepose = pairs.densepose if densepose is None else densepose
    done = 0

    def run(references: Tensor) -> Tensor:
        nonlocal done
        n, before = len(references), done

        def step(finished: int) -> None:
            if on_progress is not None:
                on_progress(before + n * finished // steps)

        pictures = try_on(
            model,
            agnostic=agnostic.expand(n, -1, -1, -1),
            densepose=densepose.expand(n, -1, -1, -1),
            reference=references,
            seeds=[seed] * n,
            steps=steps,
            cfg=cfg,
            on_step=step,
        )
        done += n
        return pictures

    if maps is None or picture is None:
        recording = recording_of(model, images=1, steps=steps, cfg=cfg, groups=1)
        with recording:
            picture = run(reference[None])[0]
        maps = recording.maps
    pictures = torch.cat([run(group) for group in recoloured.split(batch)])
    return CausalResult(
        blocks=tuple(chosen),
        original=picture,
        recoloured=recoloured,
        pictures=pictures,
        change=change_of(pictures, picture),
        attention={name: attention_on(maps, chosen, layers) for name, layers in FAMILIES.items()},
        truth=true_shares(pairs, chosen),
        mask=F.adaptive_avg_pool2d(pairs.inpaint_mask[0], GRID)[0] >= 0.5,
    )
