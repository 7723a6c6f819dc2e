"""Correlations of the page, as tables and as charts."""

from __future__ import annotations

from collections.abc import Sequence

from .chart_facts import Chart
from .charts import Series, key, scatter
from .claim import number
from .correlation import Estimate
from .html import Html, details, table, tag
from .measures import measure
from .relations import ALL, Relation
from .results import Results


def relations_section(results: Results) -> list[Html]:
    """The correlations over images and over models."""
    parts = []
    images = [one for one in results.relations if one.level == "image"]
    models = [one for one in results.relations if one.level == "model"]
    if images:
        of = list(dict.fromkeys(one.of for one in images if one.of != ALL))
        of = [ALL, *of] if any(one.of == ALL for one in images) else of
        parts += [tag("h2", "Over images"), table("ρ with its interval, below it r and n", ["", *of], _rows(images, of))]
    if models:
        head = ["", "ρ", "r", "p", "models", "images"]
        rows = [
            [
                _pair(x),
                _verdict(x, number(x.spearman), _without_interval(x)),
                number(x.pearson),
                _p(x),
                str(x.models),
                str(x.images or "the set"),
            ]
            for x in models
        ]
        parts += [tag("h2", "Over models"), table("Each run counts once, by its means", head, rows)]
    return parts


def _rows(found: Sequence[Relation], of: Sequence[str]) -> list[list[str]]:
    pairs: dict[str, dict[str, Relation]] = {}
    for one in found:
        pairs.setdefault(_pair(one), {})[one.of] = one
    return [[pair, *(_relation(by.get(label)) for label in of)] for pair, by in pairs.items()]


def _pair(one: Relation) -> str:
    return f"{measure(one.measure).label} and {measure(one.figure).label}{measure(one.figure).arrow}, {one.kind}"


def _relation(one: Relation | None) -> str:
    if one is None:
        return "–"
    without = f"without {', '.join(one.left_out)}, where one of the two is the same for all" if one.left_out else ""
    return _verdict(one, number(one.spearman), f"r {number(one.pearson)}", f"n {one.images}", without)


def _without_interval(one: Relation) -> str:
    return f"no interval: {one.spearman.why}" if one.spearman.why else ""


def _verdict(one: Relation, value: str, *below: str) -> Html:
    said = f"{one.verdict}: {one.why}" if one.why else one.verdict
    lines = [tag("small", line) for line in (*below, said) if line]
    return tag("td", value, *lines, class_=one.verdict.replace(" ", "-") or "none")


def _p(one: Relation) -> str:
    return "–" if one.p is None else f"{one.p:.2g}"


def charts_section(results: Results) -> list[Html]:
    """Scatter plots: an image a point, a run a colour and a shape, its mean larger."""
    if not results.charts:
        return []
    parts = [
        tag("h2", "Scatter plots"),
        key([one.label for one in results.runs]),
        tag(
            "p",
            "A small mark is an image, a large one a run's mean. Figures of data sets have large marks only.",
            class_="quiet",
        ),
    ]
    first = [one for one in results.charts if one.preset == results.preset]
    parts.append(tag("div", *(_chart(one, results) for one in first), class_="charts"))
    for preset in dict.fromkeys(one.preset for one in results.charts):
        if preset != results.preset:
            rest = [one for one in results.charts if one.preset == preset]
            parts.append(details(f"Preset {preset}", tag("div", *(_chart(one, results) for one in rest), class_="charts")))
    return parts


def _chart(one: Chart, results: Results) -> Html:
    x, y = measure(one.measure), measure(one.figure)
    level = "image" if one.of_images else "model"
    related = [r for r in results.relations if (r.level, r.kind, r.measure, r.figure) == (level, one.kind, x.name, y.name)]
    found = next((r for r in related if r.of == ALL), related[0] if len(related) == 1 else None)
    rho = number(Estimate(None) if found is None else found.spearman)
    said = f"{x.label} and {y.label}, {one.kind}: ρ {rho}"
    series = [Series(label, one.points.get(label, ())) for label in (run.label for run in results.runs)]
    drawn = scatter(series, x.label, f"{y.label}{y.arrow}", said)
    return tag("figure", drawn, tag("figcaption", said))
