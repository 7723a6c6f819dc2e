"""The card of the bundled edit model."""

from __future__ import annotations

from .edit_plain import plain_text
from .edit_tables import aims_table, change_table, edit_picture_table, edit_pointing_table, share_table
from .routes_text import routes_text
from .sources import Figures
from .trust_text import trust_text

HEAD = """\
---
license: mit
tags: [virtual-try-on, image-editing, attribution, demo]
---

<!-- Written by `python -m i2am.demo.card` from evaluation.json beside it. Edit i2am/demo/card/edit_card.py instead. -->

# The I²AM edit model

A small model that edits with two references, as FLUX Kontext and its like do: the person in their own clothes, and a garment; out comes the person
in that garment. There is no mask. Text, picture and references attend to each other in one sequence. It is trained from scratch on people and garments
that this repository draws (`i2am/drawn/groups.py`): for each pixel it is known which reference shows it, and where. It is not a tool for real photographs.

| part | what |
|---|---|
| network | ComfyUI's `Flux` class in small: width 128, 4 heads, 2 double and 4 single blocks; also runs in diffusers as `FluxTransformer2DModel` |
| sequence | 4 learned text tokens, 16×12 tokens of the picture, 16×12 of the person (128×96 pixels), 20×14 of the garment (160×112) |
| autoencoder | that of the [other bundled model](../../demo/weights/README.md) |

"""
TRAINING = """\
**Training.** `make train-edit` trains it by rectified flow (resumable; groups below 2,500,000, which evaluation never draws, asserted). These weights have seen
**{samples:,} of {planned:,} samples{goes_on}**{note}. Each reference was left out in a tenth of the samples.

**Attention.** In the first part of the training, an auxiliary loss teaches two of the six blocks ({taught}) to look at the true place of either
reference. The others are never taught and are reported apart.

"""
LATE = """\
**Early blocks locate, late ones copy.** Maps are made from {default} unless others are chosen. The earlier blocks read the references to find out what
goes where, and not to take it over from there: alone, their share maps have areas of {areas} under the ROC curve, where 0.50 tells nothing and less is
inverted, pointing at the person where the garment went. The choice was checked on {pairs} other pairs: of the last 1 to 6 blocks the {best} had the
greatest area there ({best_roc:.3f}; the default {own_roc:.3f}), and of the thresholds from 0.3 to 0.7 the overlap was greatest at {best_threshold:g}
({best_iou:.3f}; at one half, which is used here, {own_iou:.3f}).

"""
FIGURES = """\
## Figures

Measured with `make evaluate-edit` on {pairs} held-out pairs, {steps} Euler steps, cfg 1. A dash: not measured. Figures below their aims are reported as they are.

"""
CHANGES = """
## What each way brings

From the same noise, {changed} of the pairs with a reference left out, or with some ways of attention cut in all blocks and steps: keys taken out of the softmax of some
queries, which is then taken over the others. {few} steps. A cut leaves what the model was trained on, so it shows which way something went, and not what a
model without that way would have learned. {direct}

"""
WAYS = "\n## Directly, or by way of the text?\n\n"
TRUST = "\n## How far can a map be trusted?\n\n"
DIRECT = "Cutting the direct way to the garment alone changes the garment's area {share:.0%} as much as hiding the garment from everything."


def edit_card(figures: Figures, trust: Figures, routes: Figures, equal: Figures, plain: Figures) -> str:
    """The whole card; without figures of a study, no section.

    Args:
        figures: the edit model's evaluation.
        trust: the study of trust.
        routes: that of routes.
        equal: the model's evaluation after as many samples as its sibling.
        plain: that of the sibling without attention loss.
    """
    setup = figures["setup"]
    planned = setup["about"]["recipe"]["samples"]
    text = HEAD + TRAINING.format(
        samples=setup["samples"],
        planned=planned,
        goes_on="; training goes on" if setup["samples"] < planned else "",
        note=f" ({setup['about']['note']})" if "note" in setup["about"] else "",
        taught=_names(setup["blocks"]["taught"]),
    )
    text += _late(figures) + FIGURES.format(**setup)
    tables = (write(figures) for write in (aims_table, share_table, edit_pointing_table, edit_picture_table))
    direct = figures["changes"]["direct_of_isolated"]
    return (
        text
        + "\n".join(tables)
        + plain_text(equal, plain)
        + CHANGES.format(
            changed=setup["changed_pairs"],
            few=setup["few"],
            direct="" if direct is None else DIRECT.format(share=direct),
        )
        + change_table(figures)
        + (WAYS + routes_text(routes) if routes else "")
        + (TRUST + _of_which_weights(setup, trust["setup"]) + trust_text(trust) if trust else "")
    )


def _of_which_weights(own: Figures, studied: Figures) -> str:
    """Said where the study is of other weights than the evaluation: it takes longer, and may be behind."""
    if own["sha256"] == studied["sha256"]:
        return ""
    return f"This section is of earlier weights, after {studied['samples']:,} samples.\n\n"


def _late(figures: Figures) -> str:
    """Why maps are made from the last blocks, and what other pairs say of that choice."""
    choice, by_block = figures["choice"], figures["share"]["by_block"]
    own = next(f for f in choice["candidates"].values() if f["blocks"] == choice["default"])
    early = [name for name in by_block if name not in choice["default"]]
    return LATE.format(
        default=_names(choice["default"]),
        areas=", ".join(f"{by_block[name]['roc']:.2f} (`{name}`)" for name in early),
        pairs=choice["pairs"],
        best=choice["best"],
        best_roc=choice["candidates"][choice["best"]]["roc"],
        own_roc=own["roc"],
        best_threshold=choice["best_threshold"],
        best_iou=max(choice["iou_by_threshold"].values()),
        own_iou=choice["iou_by_threshold"]["0.5"],
    )


def _names(blocks: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in blocks)
