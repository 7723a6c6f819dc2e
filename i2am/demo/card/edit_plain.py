"""The section on the edit model's sibling, which was trained without the attention loss."""

from __future__ import annotations

from .markdown import number, table
from .sources import Figures

HEAD = """
## Without the attention loss

A sibling of the same start and the same batches was trained by the flow alone, for {samples:,} samples. It is compared with this model as it was after
{equal:,} samples{anew}, while it was still being taught, on the same {pairs} pairs, {steps} steps; its weights do not ship. *Best block*: the one with the
greatest area, chosen on these same pairs, so that its figures are a little flattering.

"""
WITH, WITHOUT = "this model after {samples:,} samples", "without attention loss, {samples:,} samples"
CHOICES = {"default": "the last three blocks", "all": "all blocks"}


def plain_text(equal: Figures, plain: Figures) -> str:
    """The section, or nothing where either was not measured.

    Args:
        equal: the evaluation of this model at the sibling's count of samples.
        plain: that of the sibling.
    """
    if not equal or not plain:
        return ""
    setup = plain["setup"]
    start = equal["setup"]["about"].get("start", 0)
    anew = f" (its optimiser began anew after {start:,})" if start else ""
    head = HEAD.format(
        anew=anew, samples=setup["samples"], equal=equal["setup"]["samples"], pairs=setup["pairs"], steps=setup["steps"]
    )
    return head + _maps_table(equal, plain) + "\n" + _pictures_table(equal, plain)


def _maps_table(equal: Figures, plain: Figures) -> str:
    rows = []
    for choice, said in CHOICES.items():
        rows += [(f"{name}: {said}", *_maps(f["share"][choice], f["sram"][choice])) for name, f in _named(equal, plain)]
    for name, f in _named(equal, plain):
        blocks = f["share"]["by_block"]
        best = max(blocks, key=lambda block: blocks[block]["roc"])
        rows.append((f"{name}: best block, `{best}`", *_maps(blocks[best], f["sram"]["by_block"][best])))
    head = (
        "maps",
        "which reference: area under the ROC curve",
        "overlap (IoU) at one half",
        "peak within 1 patch on the garment",
        "on the person",
    )
    return table(head, rows)


def _maps(share: Figures, near: Figures) -> tuple[str, ...]:
    within = (number(near[of]["within_1"]) for of in ("garment", "person"))
    return (number(share["roc"], ".3f"), number(share["iou"], ".3f"), *within)


def _pictures_table(equal: Figures, plain: Figures) -> str:
    rows = []
    for name, f in _named(equal, plain):
        made = f["picture"]["generated"]
        decibels = (number(made[f"psnr_{region}"], ".1f") for region in ("garment", "kept"))
        rows.append((name, *decibels, *(number(made[of]) for of in ("glyph", "pattern", "colour"))))
    return table(("pictures", "PSNR in the garment, dB", "what must stay", "letters", "pattern", "colour"), rows)


def _named(equal: Figures, plain: Figures) -> tuple[tuple[str, Figures], tuple[str, Figures]]:
    return (
        (WITH.format(samples=equal["setup"]["samples"]), equal),
        (WITHOUT.format(samples=plain["setup"]["samples"]), plain),
    )
