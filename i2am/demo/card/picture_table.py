"""How good the demo model's pictures are."""

from __future__ import annotations

from .compared import WITHOUT, Compared
from .markdown import number, table
from .sources import Figures

PICTURES = {
    "drawn": "clean drawings (the reader's ceiling)",
    "autoencoder": "through the autoencoder alone",
    "paired": "paired: the person's own garment",
    "unpaired": "unpaired: another garment",
    "wrong_reference": "the same pictures, read against the person's own garment",
    "null_reference": "no reference",
}
HEAD = (
    "picture, before pasting",
    "letters read correctly",
    "pattern",
    "colour",
    "SSIM, garment",
    "PSNR in the garment, dB",
    "pairs",
)
AIMS = {"glyph": 0.8, "psnr": 20.0}
SAME = 99
"""A PSNR from here on means two equal pictures."""


def picture_table(models: Compared) -> str:
    """Letters, pattern, colour and likeness of what the models made, and which aims were missed."""
    own, plain, equal = models.section("picture")
    measured = [(label, own.get(key)) for key, label in PICTURES.items()]
    measured += [(f"{whose}, paired", f.get("paired")) for whose, f in ((WITHOUT, plain), (models.earlier, equal))]
    return table(HEAD, [_row(label, f) for label, f in measured if f is not None]) + _missed(own.get("paired"))


def _row(label: str, f: Figures) -> tuple[str, ...]:
    shares = (number(f[key]) for key in ("glyph", "pattern", "colour", "ssim"))
    return (label, *shares, "same" if f["psnr"] >= SAME else number(f["psnr"], ".1f"), str(f["pairs"]))


def _missed(paired: Figures | None) -> str:
    if paired is None:
        return ""
    missed = []
    if paired["glyph"] < AIMS["glyph"]:
        missed.append(f"{AIMS['glyph']:.2f} of the letters ({paired['glyph']:.2f})")
    if paired["psnr"] < AIMS["psnr"]:
        missed.append(f"{AIMS['psnr']:.0f} dB ({paired['psnr']:.1f})")
    return f"\nGoals for paired pictures that were not reached: {' and '.join(missed)}.\n" if missed else ""
