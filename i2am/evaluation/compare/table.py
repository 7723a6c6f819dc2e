"""The table: a row per run in the shape of the paper's table 2, with what the paper reports beside it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..facts import KINDS
from .evaluated import Evaluated, names_of, network_of
from .measures import QUALITY, Measure, measure, of_maps
from .reported import LATER, REPORTED, SOURCE

MEASURED = "measured"
OF_SETS = ("fid", "kid")
SHAPE = ("fid", "kid", "lpips", "ssim", "imacs_g", "imacs_r")
"""The columns of the paper's table 2."""


@dataclass(frozen=True)
class Cell:
    """A figure of a run.

    Attributes:
        value: the figure.
        n: images that it is made from.
        spread: of a mean, the standard deviation over images; of a figure of the set, over its subsets; None: unknown.
        network: that it was made through: a file's name and the first digits of its sha256; empty: it needs none.
    """

    value: float
    n: int
    spread: float | None = None
    network: str = ""


@dataclass(frozen=True)
class Column:
    """One figure of one kind of pairs."""

    kind: str
    measure: Measure

    @property
    def name(self) -> str:
        """In files, such as "ssim.paired"."""
        return f"{self.measure.name} ({self.kind})"


@dataclass(frozen=True)
class Line:
    """A run's figures, by column; and why others are missing."""

    run: Evaluated
    cells: dict[Column, Cell]
    missing: dict[Column, str]


@dataclass(frozen=True)
class Table:
    """The figures of all runs; `columns` are those that any run has, or says why it has not."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]

    def shaped(self, preset: str) -> list[Column]:
        """The columns of the paper's table 2, with IMACS of a preset, each of one kind of pairs.

        FID and KID are of unpaired pictures, the others of paired ones, unless runs have them of the other kind only.
        """
        found = []
        for name in SHAPE:
            first, second = reversed(KINDS) if name in OF_SETS else KINDS
            one = measure(f"{name}.{preset}" if name.startswith("imacs") else name)
            other = Column(second, one)
            column = Column(first, one)
            known = [any(c in line.cells for line in self.lines) for c in (column, other)]
            found.append(other if known == [False, True] else column)
        return found


def table_of(runs: Sequence[Evaluated]) -> Table:
    """The means of the runs' own images, and the figures of their data sets."""
    measures = [*QUALITY, *of_maps([*names_of(runs), *_lacking(runs)])]
    columns = [Column(kind, one) for one in measures for kind in KINDS]
    lines = []
    for run in runs:
        found = {column: _cell(run, column) for column in columns}
        cells = {column: cell for column, cell in found.items() if cell is not None}
        missing = {column: _why(run, column) for column in columns if column not in cells}
        lines.append(Line(run, cells, {column: why for column, why in missing.items() if why}))
    shown = [c for c in columns if any(c in line.cells or c in line.missing for line in lines)]
    # what no run has at all, such as SSIM of unpaired pictures, tells nothing in a column of its own
    shown = [c for c in shown if c.measure.quality or any(c in line.cells for line in lines)]
    kinds = {kind for run in runs for kind in run.by_kind}
    return Table(tuple(c for c in shown if c.kind in kinds), tuple(lines))


def csv_of(table: Table) -> str:
    """The table as CSV: a row per run, then the paper's rows, marked as reported."""
    head = ["name", "source", "model", "family", "data", "split", "images paired", "images unpaired"]
    head += [part for column in table.columns for part in (column.name, f"{column.name} n")]
    head += [f"{name} (reported)" for name in SHAPE]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    for line in table.lines:
        run = line.run.run
        images = [len(line.run.by_kind.get(kind, {})) for kind in KINDS]
        row: list[object] = [*map(_text, (line.run.label, MEASURED, run.model, run.family, run.data, run.split)), *images]
        for column in table.columns:
            cell = line.cells.get(column)
            row += ["", ""] if cell is None else [repr(cell.value), cell.n]
        writer.writerow(row + [""] * len(SHAPE))
    for one in REPORTED:
        for source, values in ((SOURCE, one.values), (f"{SOURCE}, {LATER}", one.later)):
            if values:
                own = [one.model, f"reported: {source}", one.model, "", "VITON-HD", "test", "", ""]
                writer.writerow(own + ["", ""] * len(table.columns) + [values.get(name, "") for name in SHAPE])
    return out.getvalue()


def _text(value: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _lacking(runs: Iterable[Evaluated]) -> list[str]:
    return [name for run in runs for row in run.rows for name in row.unavailable]


def _cell(run: Evaluated, column: Column) -> Cell | None:
    network = network_of(run, column.kind, column.measure.name)
    if column.measure.name in OF_SETS:
        of_set = run.of_set(column.kind, column.measure.name)
        return None if of_set is None else Cell(of_set.value, of_set.n, of_set.spread, network)
    values = [*run.values(column.kind, column.measure.name).values()]
    if not values:
        return None
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (len(values) - 1)) if len(values) > 1 else None
    return Cell(mean, len(values), spread, network)


def _why(run: Evaluated, column: Column) -> str:
    """Why a run has no such figure, in its own words; empty: it does not say."""
    name = column.measure.name
    of_kind = None if run.summary is None else run.summary.kinds.get(column.kind)
    if of_kind is not None and name in of_kind.unavailable:
        return of_kind.unavailable[name].reason
    said = dict.fromkeys(row.unavailable[name] for row in run.by_kind.get(column.kind, {}).values() if name in row.unavailable)
    return next(iter(said), "")
