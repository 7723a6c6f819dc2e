"""How often a patch's map (SRAM) peaks at the true place."""

from __future__ import annotations

from .compared import WITHOUT, Compared
from .markdown import number, table
from .sources import Figures

HEAD = ("SRAM's peak lies, of the true place,", "within 1 patch", "within 2", "pairs")
TAUGHT = {"supervised": "supervised", "never_supervised": "never supervised"}
CHANGED = {"unpaired": "unpaired", "uv_blanked": "part map without u, v", "textures_swapped": "textures swapped"}
MISSED = {"same_place": "the same place", "best_affine": "the best affine map"}

Named = list[tuple[str, Figures | None]]


def pointing_table(models: Compared) -> str:
    """The share of garment cells whose peak is near the truth, by layers and inputs, with the baselines."""
    own, plain, equal = models.section("sram")
    named = [*_own(own), *_beside(plain, equal, models.earlier), *_baselines(own.get("baselines", {}))]
    return table(HEAD, [_row(label, f) for label, f in named if f is not None])


def _row(label: str, f: Figures) -> tuple[str, ...]:
    return (label, number(f["within_1"]), number(f["within_2"]), str(f["pairs"]))


def _own(section: Figures) -> Named:
    named: Named = [
        ("supervised layers", section.get("supervised")),
        ("never-supervised layers", section.get("never_supervised")),
        ("all layers", section.get("all_layers")),
    ]
    named += [
        (f"{label}, {whose}", section.get(key, {}).get(layers))
        for key, label in CHANGED.items()
        for layers, whose in TAUGHT.items()
    ]
    for key, what in MISSED.items():
        left = section.get(f"where_{key}_misses", {})
        named += [
            (f"only the {left[layers]['cells']:,} cells that {what} misses, {whose}", left[layers])
            for layers, whose in TAUGHT.items()
            if layers in left
        ]
    return named


def _beside(plain: Figures, equal: Figures, earlier: str) -> Named:
    return [
        (f"{WITHOUT}, the layers supervised here", plain.get("supervised")),
        (f"{WITHOUT}, the layers never supervised here", plain.get("never_supervised")),
        (f"{WITHOUT}, all layers", plain.get("all_layers")),
        (f"{earlier}, supervised", equal.get("supervised")),
        (f"{earlier}, never supervised", equal.get("never_supervised")),
        (f"{earlier}, all layers", equal.get("all_layers")),
    ]


def _baselines(base: Figures) -> Named:
    return [
        ("baseline: chance", base.get("chance")),
        ("baseline: untrained model", base.get("untrained", {}).get("all_layers")),
        ("baseline: same place", base.get("same_place")),
        ("baseline: best affine map of the silhouettes", base.get("best_affine")),
    ]
