"""Whether the routes' shares foretell what cutting them changes, from the figures of `i2am.demo.evaluate.routes` and nothing else."""

from __future__ import annotations

from typing import Any

from ...levels.share import DIRECTLY, THROUGH
from .markdown import table
from .sources import Figures

METHOD = """\
A patch looks at a reference directly, or at text tokens that look at it: *via text*, one hop in the same layer. `{command}`
records both shares on {pairs} held-out pairs, {steps} steps, the weights after {samples:,} samples, and cuts either way from the same
noise. Shares and changes are means over the patches that show the garment, for the person over those that stay; shares of the five
blocks in which the text has queries, changes with the way cut in all blocks, in % of the picture's range. {answer}

"""
FORETOLD = """
Does a map foretell, patch by patch, what its way's cut changes? The rank correlation (Spearman) over a pair's 192 patches, the mean
over pairs:

"""
LAYERS = """
The garment's ways block by block, each cut in one block alone:

"""
LAYERS_TOLD = """
Over these blocks, the rank correlation of share and change is {direct} for the direct way and {through} for that by the text.
In brackets: 95 % intervals by bootstrap over pairs.
"""


def routes_text(figures: Figures) -> str:
    """How it was measured, the answer in words, and the tables, as Markdown."""
    return (
        METHOD.format(**figures["setup"], answer=answer(figures))
        + _ways_table(figures)
        + FORETOLD
        + _patches_table(figures["patches"])
        + LAYERS
        + _layer_table(figures)
        + LAYERS_TOLD.format(direct=_correlation(figures["layers"][DIRECTLY]), through=_correlation(figures["layers"][THROUGH]))
    )


def answer(figures: Figures) -> str:
    """What the text's share says of the garment, what cutting it says, and whether the one foretells the other."""
    of_both, of_all = figures["of_both"]["garment"], figures["of_all"]["garment"]
    handed = figures["handed on"]["garment"]
    patches = figures["patches"]["garment"][THROUGH][THROUGH]
    by_layer = figures["layer share"]
    most = max(by_layer, key=lambda layer: by_layer[layer][THROUGH]["mean"])
    alone = figures["layer change"][most][THROUGH]
    foretells = patches is not None and patches["low"] > 0
    return (
        f"**Of what reaches the garment's patches of it, {of_both:.0%} goes via text. Cutting that way changes them {of_all[THROUGH]:.0%} "
        f"as much as hiding the garment from everything, cutting the direct way {of_all[DIRECTLY]:.0%}. Patch by patch the map via text "
        f"{'foretells' if foretells else 'does not foretell'} what its cut changes.** The block with the largest share via text, "
        f"`{most}` ({100 * by_layer[most][THROUGH]['mean']:.1f} %), changes {100 * alone['mean']:.1f} % of the range when cut alone: a share "
        f"says where was looked, not what came of it. Sinks, text tokens that take about the same from every patch, hand on "
        f"{handed['by sinks']['mean'] / handed['in all']['mean']:.0%} of what goes to the garment via text; the answer in words does not "
        f"count that."
    )


def _ways_table(figures: Figures) -> str:
    head = (
        "reference",
        "share directly",
        "via text",
        "change, cut directly",
        "via text",
        "both ways",
        "hidden from all",
    )
    rows = [
        (
            f"the {name}",
            *(_percent(figures["share"][name][way]) for way in (DIRECTLY, THROUGH)),
            *(_percent(figures["change"][name][way]) for way in (DIRECTLY, THROUGH, "both", "all")),
        )
        for name in ("garment", "person")
    ]
    text = figures["change"]["text"]["all"]
    return (
        table(head, rows)
        + f"\nThe picture's look at the text cut altogether changes the garment's patches by {_percent(text)} %.\n"
    )


def _patches_table(patches: Figures) -> str:
    head = ("map", "of", "the change with the direct way cut", "with the way by the text cut")
    names = {DIRECTLY: "mass", THROUGH: "via text"}
    rows = [
        (names[route], f"the {name}", *(_correlation(patches[name][route][way]) for way in (DIRECTLY, THROUGH)))
        for name in ("garment", "person")
        for route in names
    ]
    return table(head, rows)


def _layer_table(figures: Figures) -> str:
    head = ("block", "share directly", "via text", "change, cut directly", "via text")
    rows = [
        (
            f"`{layer}`",
            *(_percent(figures["layer share"][layer][way]) for way in (DIRECTLY, THROUGH)),
            *(_percent(figures["layer change"][layer][way]) for way in (DIRECTLY, THROUGH)),
        )
        for layer in figures["layer share"]
    ]
    return table(head, rows)


def _percent(found: Any) -> str:
    return f"{100 * found['mean']:.1f} ({100 * found['low']:.1f} to {100 * found['high']:.1f})"


def _correlation(found: Any) -> str:
    if found is None:
        return "–"
    return "{mean:.2f} ({low:.2f} to {high:.2f})".format(**found).replace("-", "−")
