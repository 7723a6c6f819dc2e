"""The three ways of aggregating and showing maps: ours, the paper's, and the authors' released code (DESIGN 4)."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UnavailableError

THRESHOLD = 0.4
"""Pictures and scores keep what is strictly above this fraction of the range (eq. 9)."""


@dataclass(frozen=True)
class Preset:
    """How layers are scaled and chosen and how pictures are made.

    Attributes:
        scaled: whether layers are scaled by their token counts, so that every layer's mean counts equally.
        middle: whether the middle block's layers belong to "all layers".
        invert_r2g: whether pictures and IMACS_g of R2G, R2G-balanced and mass use 1 - min-max. The mirror, which the
            authors do not have, is never inverted.
        official_layers: whether, in a run that has `Layout.official` layers, maps over the reference are made from those
            alone, and maps on the generated image leave out `Layout.beside` layers.
        masked_g2r: whether G2R pictures are multiplied by the reference mask, if given, and IMACS_r uses that, not eq. 17.
        colours: name of the colour map.
        order: what comes first when a map is brought to a picture, see `heat.Heat`.
        threshold: the fraction of the range above which pictures show a map, unless another is asked for; None: all of it.
        clamped_g2r: whether G2R is clamped at 0 when it is resized.
    """

    name: str
    scaled: bool
    middle: bool
    invert_r2g: bool
    masked_g2r: bool
    colours: str
    official_layers: bool = False
    order: str = "resize"
    threshold: float | None = None
    clamped_g2r: bool = True


PRESETS = {
    "default": Preset("default", scaled=True, middle=True, invert_r2g=False, masked_g2r=False, colours="inferno"),
    "paper": Preset(
        "paper", scaled=False, middle=False, invert_r2g=False, masked_g2r=False, colours="inferno", order="min-max"
    ),
    "official": Preset(
        "official",
        scaled=False,
        middle=False,
        invert_r2g=True,
        masked_g2r=True,
        colours="jet",
        official_layers=True,
        order="both",
        threshold=THRESHOLD,
        clamped_g2r=False,
    ),
}


def preset_of(name: str) -> Preset:
    """The preset called ``name``.

    Raises:
        UnavailableError: there is none of that name.
    """
    if name not in PRESETS:
        raise UnavailableError(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]
