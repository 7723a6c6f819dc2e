"""What the values of a row are called, and which way is better."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...levels.presets import PRESETS
from ..metrics.names import SHARE

INVERTED = (
    "Inverted map: as in the authors' code, IMACS_g and AUC_g of the preset official score 1 − the map. A map that lies inside "
    "its mask scores low there, at worst −λ, and a good one can look like a bad one: read the other presets for where it lies."
)
"""Told wherever such a value stands."""
SCORES = {"imacs_g": "IMACS_g", "imacs_r": "IMACS_r", "auc_g": "AUC_g", "auc_r": "AUC_r"}
"""Values that every preset has one of, such as "imacs_g.paper"."""


@dataclass(frozen=True)
class Measure:
    """A value of an image or a data set.

    Attributes:
        name: in rows and summaries, such as "ssim" or "imacs_g.default".
        label: for people.
        better: 1: more is better; -1: less is; 0: neither.
        quality: whether it says how good the picture is; else it is of the maps.
    """

    name: str
    label: str
    better: int
    quality: bool = False

    @property
    def of_imacs(self) -> bool:
        """Whether it is IMACS, of whatever preset."""
        return self.name.startswith(("imacs_g.", "imacs_r."))

    @property
    def preset(self) -> str:
        """Behind the point; empty: it has none."""
        return self.name.partition(".")[2]

    @property
    def arrow(self) -> str:
        """Which way is better.

        >>> measure("lpips").label + measure("lpips").arrow
        'LPIPS ↓'
        """
        return {1: " ↑", -1: " ↓", 0: ""}[self.better]


QUALITY = tuple(
    Measure(name, label, better, True)
    for name, label, better in (
        ("fid", "FID", -1),
        ("kid", "KID", -1),
        ("lpips", "LPIPS", -1),
        ("ssim", "SSIM", 1),
        ("psnr", "PSNR", 1),
    )
)
"""In the order of the paper's table 2."""
OF_MAPS = (
    Measure("mass_inside", "mass inside", 1),
    Measure("entropy", "entropy", 0),
    Measure("matching_accuracy", "matching accuracy", 1),
    Measure("matches", "matches", 0),
)
_KNOWN = {one.name: one for one in (*QUALITY, *OF_MAPS)}


def inverted(name: str) -> bool:
    """Whether a value is of a map that its preset turns round, 1 - min-max, before it is scored.

    >>> inverted("imacs_g.official"), inverted("imacs_r.official"), inverted("imacs_g.paper")
    (True, False, False)
    """
    head, _, preset = name.partition(".")
    return head.endswith("_g") and preset in PRESETS and PRESETS[preset].invert_r2g


def measure(name: str) -> Measure:
    """What is known of a value by its name; one that is not known is of the maps, and better neither way.

    >>> measure("imacs_r.paper").label
    'IMACS_r, paper'
    """
    if name in _KNOWN:
        return _KNOWN[name]
    head, _, preset = name.partition(".")
    if head in SCORES and preset:
        return Measure(name, f"{SCORES[head]}, {preset}{' (inverted map)' * inverted(name)}", 1)
    if head == SHARE:
        part, _, where = preset.partition(".")
        return Measure(name, f"share of {part}" + f", {where}" * bool(where), 0)
    return Measure(name, name, 0)


def of_maps(names: Iterable[str]) -> list[Measure]:
    """The values that are of the maps, IMACS first, the default preset before the others; without the number of matches.

    >>> [one.name for one in of_maps(["ssim", "entropy", "imacs_r.paper", "imacs_g.default", "imacs_r.default", "matches"])]
    ['imacs_g.default', 'imacs_r.default', 'imacs_r.paper', 'entropy']
    """
    found = [one for one in map(measure, dict.fromkeys(names)) if not one.quality and one.name != "matches"]

    def rank(one: Measure) -> tuple[bool, bool, bool, str, str]:
        return not one.of_imacs, not one.preset, one.preset != "default", one.preset, one.name

    return sorted(found, key=rank)
