"""All that a comparison finds, and the files that it is written to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...data.pairs import DataSet
from ..run_folder import write_whole
from .chart_facts import Chart, charts_of
from .claim import Answer, answers
from .correlation import Bootstrap
from .evaluated import Evaluated, names_of, networks_told, read_runs, unlike
from .examples import COUNT, Example, by_run
from .measures import of_maps
from .relations import Relation, relations
from .reported import NOTE, REPORTED, SOURCE
from .sensitivity import Sensitivity, sensitivities
from .table import Table, csv_of, table_of

CSV, JSON, PAGE = "results.csv", "results.json", "report.html"


@dataclass(frozen=True)
class Results:
    """All that a comparison finds.

    Attributes:
        title: of the page.
        runs: that are compared.
        preset: of IMACS, that the page opens with.
        unlike: in which facts the runs differ so that they cannot be compared as they are.
        table: the figures.
        relations: between values of the maps and figures of quality.
        answers: to the claim that IMACS follows quality.
        sensitivities: to lambda and threshold.
        charts: to draw.
        examples: by run, images to look at.
        how: the bootstrap.
    """

    title: str
    runs: tuple[Evaluated, ...]
    preset: str
    unlike: tuple[str, ...]
    table: Table
    relations: tuple[Relation, ...]
    answers: tuple[Answer, ...]
    sensitivities: tuple[Sensitivity, ...]
    charts: tuple[Chart, ...]
    examples: Mapping[str, Sequence[Example]]
    how: Bootstrap


def compare(
    given: Sequence[str],
    *,
    how: Bootstrap | None = None,
    data: DataSet | None = None,
    pair_list: Path | None = None,
    count: int = COUNT,
    progress: bool = False,
) -> Results:
    """Compare evaluations, each given by its folder's path or as NAME=PATH.

    Args:
        given: at least one.
        how: the bootstrap.
        data: the data set, for pictures of persons and references; None: the maps are shown without them.
        pair_list: that the runs' pairs are out of; None: the data set's own.
        count: images to show of the best, of the worst and of the most different.
        progress: show a bar.

    Raises:
        EvaluationError: a folder cannot be read or holds no row, or two runs have one name.
    """
    how = how or Bootstrap()
    runs = read_runs(given)
    found = relations(runs, how, progress)
    presets = [one.preset for one in of_maps(names_of(runs)) if one.of_imacs]
    return Results(
        title=f"I²AM: {' · '.join(one.label for one in runs)}",
        runs=tuple(runs),
        preset=presets[0] if presets else "default",
        unlike=tuple(unlike(runs)),
        table=table_of(runs),
        relations=tuple(found),
        answers=tuple(answers(found, how)),
        sensitivities=tuple(sensitivities(runs)),
        charts=tuple(charts_of(runs)),
        examples=by_run(runs, data, count, pair_list),
        how=how,
    )


def write(results: Results, out: Path) -> list[Path]:
    """Write the table, all figures and the page to a folder, each whole or not at all; returns their paths."""
    from .page import page_of

    content = {
        CSV: csv_of(results.table),
        JSON: json.dumps(as_data(results), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        PAGE: page_of(results),
    }
    for name, text in content.items():
        write_whole(out / name, text.encode("utf-8", "backslashreplace"))
    return [out / name for name in content]


def as_data(results: Results) -> dict[str, Any]:
    """All figures as plain data."""
    return {
        "runs": {one.label: one.run.model_dump(mode="json") for one in results.runs},
        "unlike": list(results.unlike),
        "networks": networks_told(results.runs),
        "bootstrap": asdict(results.how),
        "table": {
            line.run.label: {
                "values": {column.name: asdict(cell) for column, cell in line.cells.items()},
                "missing": {column.name: why for column, why in line.missing.items()},
            }
            for line in results.table.lines
        },
        "reported": {"source": SOURCE, "note": NOTE, "models": [asdict(one) for one in REPORTED]},
        "answers": [
            {"level": one.level, "preset": one.preset, "of": one.of, "answer": one.answer, "text": one.text}
            for one in results.answers
        ],
        "relations": [asdict(one) for one in results.relations],
        "sensitivity": [asdict(one) for one in results.sensitivities],
        "examples": {
            label: [{"why": x.why, "measure": x.measure, "kind": x.row.kind, "name": x.row.name} for x in every]
            for label, every in results.examples.items()
        },
    }
