"""The tables of the edit model's card."""

from __future__ import annotations

from collections.abc import Callable

from .markdown import number, table
from .sources import Figures

SETS = {
    "default": "the default: the last three blocks",
    "taught": "taught blocks",
    "untaught": "untaught blocks",
    "all": "all blocks",
}
PICTURES = {
    "drawn": "the right answer itself (the reader's ceiling)",
    "autoencoder": "the right answer through the autoencoder alone",
    "generated": "edited",
    "untouched": "the given picture of the person, not edited",
}
SAME = 99
"""A PSNR from here on means two equal pictures."""
AIMS: tuple[tuple[str, float, str, Callable[[Figures], float]], ...] = (
    ("which reference: area under the ROC curve", 0.99, ".3f", lambda f: f["share"]["default"]["roc"]),
    ("which reference: overlap with the garment at one half", 0.85, ".3f", lambda f: f["share"]["default"]["iou"]),
    ("peak within 1 patch on the garment", 0.97, ".3f", lambda f: f["sram"]["default"]["garment"]["within_1"]),
    ("peak within 1 patch on the person", 0.97, ".3f", lambda f: f["sram"]["default"]["person"]["within_1"]),
    ("PSNR in the garment, dB", 18, ".1f", lambda f: f["picture"]["generated"]["psnr_garment"]),
    ("PSNR of what must stay, dB", 30, ".1f", lambda f: f["picture"]["generated"]["psnr_kept"]),
    ("letters read correctly", 0.6, ".2f", lambda f: f["picture"]["generated"]["glyph"]),
)
"""What was aimed at: its name, the least value, how it is written, and where it is measured."""


def aims_table(figures: Figures) -> str:
    """Each aim beside what was measured."""
    rows = []
    for name, least, form, measured in AIMS:
        value = measured(figures)
        rows.append(
            (name, format(least, form), number(value, form), "yes" if value is not None and value >= least else "**no**")
        )
    return table(("aim", "at least", "measured", "reached"), rows)


def share_table(figures: Figures) -> str:
    """How well the share map tells the references apart, by choice of blocks and block by block."""
    share, taught = figures["share"], figures["setup"]["blocks"]["taught"]
    named = [(label, share[name], share["where_mean_garment_errs"][name]) for name, label in SETS.items()]
    named += [(f"`{name}` alone" + _taught(name, taught), f, None) for name, f in share["by_block"].items()]
    named.append(("baseline: how often a patch is garment on other pairs", share["baselines"]["mean_garment"], None))
    rows = [
        (
            label,
            number(f["roc"], ".3f"),
            number(f["iou"], ".3f"),
            number(f["inside"]),
            number(f["outside"]),
            *(("–", "–") if missed is None else (number(missed["right"]), number(missed["roc"]))),
        )
        for label, f, missed in named
    ]
    left = share["where_mean_garment_errs"]["default"]["patches"]
    head = (
        "the garment's share of what a patch takes from both references",
        "area under the ROC curve",
        "overlap (IoU) at one half",
        "mean on garment",
        "mean on what stays",
        f"the {left:,} patches that the baseline gets wrong: right",
        "area there",
    )
    return table(head, rows)


def _taught(name: str, taught: list[str]) -> str:
    return " (taught)" if name in taught else ""


def edit_pointing_table(figures: Figures) -> str:
    """How often a patch's own map peaks at the true place of either reference."""
    sram, taught = figures["sram"], figures["setup"]["blocks"]["taught"]
    named = [(label, sram[name]) for name, label in SETS.items()]
    named += [(f"`{name}` alone" + _taught(name, taught), f) for name, f in sram["by_block"].items()]
    named += [("baseline: chance", sram["baselines"]["chance"]), ("baseline: the same place", sram["baselines"]["same_place"])]
    rows = [(label, *(number(f.get(of, {}).get("within_1")) for of in ("garment", "person"))) for label, f in named]
    cells = (f"{sram['default'][of]['cells']:,} patches" for of in ("garment", "person"))
    head = (
        "SRAM's peak lies within 1 patch of the true place",
        *(f"{of} ({n})" for of, n in zip(("on the garment", "on the person"), cells, strict=True)),
    )
    return table(head, rows)


def edit_picture_table(figures: Figures) -> str:
    """How good the edited pictures are, region by region."""
    head = (
        "picture",
        "PSNR in the garment, dB",
        "what must stay",
        "revealed",
        "SSIM, garment",
        "letters",
        "pattern",
        "colour",
        "pairs",
    )
    found = figures["picture"]
    return table(head, [_picture(label, found[name]) for name, label in PICTURES.items()])


def _picture(label: str, f: Figures) -> tuple[str, ...]:
    decibels = (f[f"psnr_{region}"] for region in ("garment", "kept", "revealed"))
    likeness = ("same" if value is not None and value >= SAME else number(value, ".1f") for value in decibels)
    return (label, *likeness, *(number(f[k]) for k in ("ssim_garment", "glyph", "pattern", "colour")), str(f["pairs"]))


def change_table(figures: Figures) -> str:
    """What leaving out a reference, or cutting a way of attention, changed, and where."""
    changes = figures["changes"]
    named = [("nothing", changes["unchanged"])]
    named += [(f"left out: {_LEFT_OUT[name]}", f) for name, f in changes["without"].items()]
    named += [(f"cut: {name}", f) for name, f in changes["cuts"].items()]
    rows = [
        (
            label,
            *(number(f.get(f"change_{region}"), ".3f") for region in ("garment", "kept", "revealed")),
            number(f.get("roc")),
            *(number(f[f"psnr_{region}"], ".1f") for region in ("garment", "kept")),
            number(f["colour"]),
        )
        for label, f in named
    ]
    head = (
        "left out or cut (from the queries that look → to the keys that they no longer see)",
        "mean change in the garment",
        "in what stays",
        "revealed",
        "the change tells the garment: area",
        "PSNR in the garment, dB",
        "what must stay",
        "colour read",
    )
    return table(head, rows)


_LEFT_OUT = {"person": "the person", "garment": "the garment", "both": "both"}
