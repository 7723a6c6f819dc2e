"""Ranked layers as text and as a picture."""

from __future__ import annotations

from PIL import Image

from ..numbers import fixed
from ..pictures.chart import bar_chart
from ..pictures.lettering import PAPER
from ..pictures.sheet import headed
from ..scores.ranking import ABOVE_CHANCE, FEW, LEAST, Pointing, ranked
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
    if matches < FEW:
        lines.append(f"That is few: measure more runs until there are at least {FEW}.")
    return lines


def layer_table(preset: LayerPreset) -> str:
    """The layers as text, the best first, and behind them the heads where they were looked at."""
    rows: list[tuple[str, ...]] = [("layer", "right", "matches", "accuracy", "peak", "")]
    rows += [_row(one, preset) for one in ranked(one for one in preset.found if one.head is None)]
    rows += [_row(one, preset) for one in ranked(one for one in preset.found if one.head is not None)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*layer_lines(preset), "", *table])


def layer_picture(preset: LayerPreset) -> Image.Image:
    """A bar for each layer's accuracy, the best first, under what is said of them."""
    layers = ranked(one for one in preset.found if one.head is None)[:SHOWN]
    more = sum(one.head is None for one in preset.found) - len(layers)
    title = "share of details at which a layer points right, %" + (f" (the best {len(layers)}; {more} more)" if more else "")
    edge = round(TEXT * 1.3)
    values = {_name(one, preset): round(100 * one.accuracy, 1) for one in layers}
    bars = bar_chart(values, title, WIDTH - 2 * edge, TEXT)
    body = Image.new("RGB", (WIDTH, bars.height + edge), PAPER)
    body.paste(bars, (edge, edge // 2))
    first, *rest = layer_lines(preset)
    return headed(body, [first], rest, TEXT)


def _name(one: Pointing, preset: LayerPreset) -> str:
    return one.layer + (" · believed" if one.layer in preset.believed else "")


def _row(one: Pointing, preset: LayerPreset) -> tuple[str, ...]:
    name = one.layer if one.head is None else f"{one.layer} head {one.head}"
    mark = "believed" if one.head is None and one.layer in preset.believed else ""
    return name, str(one.right), str(one.matches), f"{one.accuracy:.0%}", f"{fixed(one.peak, 1)} ×", mark
