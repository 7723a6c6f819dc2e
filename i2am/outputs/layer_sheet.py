"""Ranked layers as text and as a picture."""

from __future__ import annotations

from PIL import Image

from ..errors import shown
from ..numbers import fixed
from ..pictures.chart import bar_chart
from ..pictures.lettering import PAPER
from ..pictures.sheet import headed
from ..scores.ranking import ABOVE_CHANCE, ACCURACY, EFFECT, FEW, LEAST, Pointing, ranked
from .layer_preset import LayerPreset

SHOWN = 24
"""Layers in the picture."""
WIDTH, TEXT = 900, 22


def layer_lines(preset: LayerPreset) -> list[str]:
    """What is said of them, a line each: what to believe, how that was found, and what to beware of."""
    layers = [one for one in preset.found if one.head is None]
    matches, runs = layers[0].matches, preset.runs
    chance = sum(one.chance for one in layers) / len(layers)
    lines = []
    if preset.believed:
        lines.append(f"Believe {', '.join(preset.believed)}.")
        lines.append(
            f"They point within a token of where the same detail is found at least {LEAST:g} times as often as the best layer, "
            f"and {ABOVE_CHANCE:g} times as often as chance ({chance:.1%})."
        )
    else:
        lines.append(
            f"No layer can be recommended: none points right {ABOVE_CHANCE:g} times as often as chance ({chance:.1%})."
        )
    lines.append(f"{matches} matched details in {runs} run{'s' * (runs != 1)}.")
    if len(preset.models) > 1:
        listed = ", ".join(shown(name, 60) for name in preset.models[:4])
        lines.append(f"These are of several models, added up as if they were one: {listed}. Take a file for each model.")
    if matches < FEW:
        lines.append(f"That is few: measure more runs until there are at least {FEW}.")
    cut = ranked((one for one in layers if one.effect is not None), EFFECT)
    if cut:
        most, least = cut[0], cut[-1]
        lines.append(
            f"Cut alone, {most.layer} changes the picture most, by {most.effect:.3g} on average"
            + (f"; {least.layer} least, by {least.effect:.3g}." if least is not most else ".")
        )
    return lines


def layer_table(preset: LayerPreset, by: str = ACCURACY) -> str:
    """The layers as text, the best first by one of `ORDERS`, and behind them the heads where they were looked at."""
    rows: list[tuple[str, ...]] = [("layer", "right", "matches", "accuracy", "peak", "when cut", "")]
    rows += [_row(one, preset) for one in ranked((one for one in preset.found if one.head is None), by)]
    rows += [_row(one, preset) for one in ranked((one for one in preset.found if one.head is not None), by)]
    if all(one.effect is None for one in preset.found):
        rows = [(*row[:5], row[6]) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*layer_lines(preset), "", *table])


def layer_picture(preset: LayerPreset, by: str = ACCURACY) -> Image.Image:
    """A bar for each layer's accuracy, the best first by one of `ORDERS`, under what is said of them.

    Where it is known, a bar for what each changes when it is cut stands below.
    """
    layers = ranked((one for one in preset.found if one.head is None), by)[:SHOWN]
    more = sum(one.head is None for one in preset.found) - len(layers)
    cut = f" (the first {len(layers)} by {by}; {more} more)" if more else ""
    edge = round(TEXT * 1.3)
    charts = {"share of details at which a layer points right, %" + cut: lambda one: round(100 * one.accuracy, 1)}
    if any(one.effect is not None for one in layers):
        charts["mean change of the picture where a layer is cut alone, %" + cut] = lambda one: round(100 * (one.effect or 0), 2)
    bars = [
        bar_chart({_name(one, preset): of(one) for one in layers}, title, WIDTH - 2 * edge, TEXT)
        for title, of in charts.items()
    ]
    body = Image.new("RGB", (WIDTH, sum(bar.height + edge for bar in bars)), PAPER)
    at = edge // 2
    for bar in bars:
        body.paste(bar, (edge, at))
        at += bar.height + edge
    first, *rest = layer_lines(preset)
    return headed(body, [first], rest, TEXT)


def _name(one: Pointing, preset: LayerPreset) -> str:
    return one.layer + (" · believed" if one.layer in preset.believed else "")


def _row(one: Pointing, preset: LayerPreset) -> tuple[str, ...]:
    name = one.layer if one.head is None else f"{one.layer} head {one.head}"
    mark = "believed" if one.head is None and one.layer in preset.believed else ""
    effect = "" if one.effect is None else f"{one.effect:.4g}"
    return name, str(one.right), str(one.matches), f"{one.accuracy:.0%}", f"{fixed(one.peak, 1)} ×", effect, mark
