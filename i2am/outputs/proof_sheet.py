"""What a planned set of runs showed: its sheet, its table, its chart, and the answer in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from ..interventions.deletion import Curve, verdict
from ..interventions.questions import CURVE, EACH, LAYERS
from ..levels.heat import Heat
from ..pictures.chart import bar_chart, line_chart
from ..pictures.lettering import PAPER
from ..pictures.overlay import overlay
from ..pictures.sheet import framed, in_a_column, in_a_row
from ..scores.effect import CHANGE, Effect, change_heat
from .effect_sheet import CAVEAT, outlined
from .sheet_parts import PRINT, tall

GAP = 28
"""Between two pictures, in pixels."""
MOST = 6
"""Pictures in a row."""
ROWS = 4
"""Rows of a sheet; of more runs those that changed the picture most are shown."""
CHART = 900
"""Width of a chart, in pixels."""
HEIGHT = 320
"""Of a picture on the sheet, in pixels."""


@dataclass(frozen=True, eq=False)
class Shown:
    """One run with a cut.

    Attributes:
        name: of the run.
        picture: what it made.
        change: (H, W), from the uncut run's picture.
        effect: its figures.
        layers: the name or glob of the layers that were cut, of the question which of them matter.
    """

    name: str
    picture: Image.Image
    change: Tensor
    effect: Effect
    layers: str = ""


def changes_heat(runs: Sequence[Shown]) -> Heat:
    """The changes of all runs, a panel each, on one scale."""
    parts = [change_heat(run.change, run.name) for run in runs]
    first = parts[0]
    return Heat(
        torch.cat([part.values for part in parts]),
        CHANGE,
        "generated",
        CHANGE,
        tuple(run.name for run in runs),
        first.size,
        scale="shared",
    )


def proof_sheet(
    uncut: Image.Image, runs: Sequence[Shown], question: str, answer: Sequence[str], region: Tensor | None = None
) -> Image.Image:
    """The uncut picture, each run's, and below it where that changed, all on one scale.

    Args:
        uncut: the picture of the run in which nothing was cut.
        runs: the others.
        question: written above everything.
        answer: written below.
        region: (H, W) of the picture, drawn as an outline on the changes.
    """
    said = [*answer, CAVEAT]
    if len(runs) > ROWS * MOST:
        said.append(f"Shown: the {ROWS * MOST} of {len(runs)} runs that changed the picture most; the table has all.")
        least = sorted(run.effect.mean for run in runs)[-ROWS * MOST]
        runs = [run for run in runs if run.effect.mean >= least][: ROWS * MOST]  # in their order
    heat = changes_heat(runs)
    base = tall(uncut, HEIGHT)
    own = [(base, "nothing cut")]
    beside = len(runs) < MOST  # then it stands at the head of their row
    rows = [] if beside else [in_a_row(own, PRINT, GAP)]
    for first in range(0, len(runs), MOST):
        part = range(first, min(first + MOST, len(runs)))
        made = [(tall(runs[i].picture, HEIGHT), runs[i].name) for i in part]
        maps = [overlay(base, heat, i, colour_bar=False, caption=False, min_side=1) for i in part]
        items = [(outlined(shown, region), f"change\n{_figure(runs[i].effect)}") for i, shown in zip(part, maps, strict=True)]
        empty = [(Image.new("RGB", base.size, PAPER), "")]
        rows += [in_a_row([*own, *made] if beside else made, PRINT, GAP), in_a_row([*empty * beside, *items], PRINT, GAP)]
    body = in_a_column(_as_wide(rows), PRINT)
    return framed(body, question[:1].upper() + question[1:], said, PRINT)


def _as_wide(rows: Sequence[Image.Image], least: int = CHART) -> list[Image.Image]:
    """At least one of them is ``least`` pixels wide, so that the words below fit."""
    first, *others = rows
    if max(row.width for row in rows) >= least:
        return [first, *others]
    wide = Image.new("RGB", (least, first.height), PAPER)
    wide.paste(first, (0, 0))
    return [wide, *others]


def _figure(effect: Effect) -> str:
    if not effect.most:
        return "none, to the last bit"
    return f"{effect.mean:.3g} on average"


def proof_chart(runs: Sequence[Shown], curves: Mapping[str, Curve], side: str = "") -> Image.Image:
    """The deletion curves; where there are none, a bar for each run's change."""
    if not curves:
        body = bar_chart({run.name: run.effect.mean for run in runs}, "mean change of the picture", CHART, PRINT)
        return framed(body, "How much each cut changed the picture", [], PRINT)
    names = {"map": f"{side}, highest first", "random": "random order", "reversed": f"{side}, lowest first"}
    lines = {names[order]: list(zip(c.fractions, c.changes, strict=True)) for order, c in curves.items()}
    body = line_chart(lines, "part of the cells that is cut", "mean change of the picture", CHART, PRINT, percent=True)
    return framed(body, f"Deletion curve of {side}", [verdict(curves, side)], PRINT)


HEAD = ("run", "mean change", "most", "in region", "its area", "ROC", "told by")


def proof_table(runs: Sequence[Shown], told: str = "") -> str:
    """A line for each run; columns that none has are left out.

    Args:
        runs: those with cuts.
        told: the map whose rank correlation is written.
    """
    rows = [[*HEAD[:-1], f"{HEAD[-1]} {told}"]]
    for run in runs:
        effect = run.effect
        correlation = (effect.told or {}).get(told)
        rows.append(
            [
                run.name,
                f"{effect.mean:.4g}",
                f"{effect.most:.4g}",
                *("" if v is None else f"{v:.1%}" for v in (effect.share_inside, effect.area)),
                *("" if v is None else f"{v:.3f}" for v in (effect.roc, correlation)),
            ]
        )
    used = [i for i in range(len(HEAD)) if any(row[i] for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in used}
    return "\n".join("  ".join(row[i].ljust(widths[i]) for i in used).rstrip() for row in rows)


def answer(question: str, runs: Sequence[Shown], curves: Mapping[str, Curve], side: str = "") -> list[str]:
    """What the runs say, in plain words."""
    if question == CURVE:
        return [verdict(curves, side)]
    same = [run.name for run in runs if not run.effect.most]
    said = [f"{name[:1].upper()}{name[1:]} the picture is the same, to the last bit." for name in same]
    changed = sorted((run for run in runs if run.effect.most), key=lambda run: -run.effect.mean)
    if question == EACH:
        listed = "; ".join(f"{run.name} by {run.effect.mean:.3g}" for run in changed)
        return [*said, *([f"How much the picture changes on average, from 0 to 1: {listed}."] if listed else [])]
    if question == LAYERS:
        return [*said, *_of_layers(changed)]
    own, *others = runs
    mean = sum(run.effect.mean for run in others) / len(others)
    times = f"{own.effect.mean / mean:.2g} times as much" if mean else "and that changes nothing"
    words = f"Without the region the picture changes by {own.effect.mean:.3g} on average, without a random region of as many "
    return [*said, f"{words}tokens by {mean:.3g}: {times if mean else 'the region alone matters'}."]


def _of_layers(changed: Sequence[Shown]) -> list[str]:
    """What the runs say in each of which other layers were cut; those that changed the picture most come first."""
    if not changed:
        return []
    first, last = changed[0], changed[-1]
    said = f"Of {len(changed)} cuts, {first.layers} changes the picture most: by {first.effect.mean:.3g} on average."
    if last is not first:
        times = first.effect.mean / last.effect.mean
        said = f"{said[:-1]}, {times:.2g} times as much as {last.layers}, which changes it least."
    return [
        said,
        "A layer can matter without pointing: it may place things, or carry a style. I²AM Rank Layers says which point.",
    ]
