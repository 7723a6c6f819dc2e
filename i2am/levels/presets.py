"""The three ways of aggregating and showing maps: ours, the paper's, and the authors' released code (DESIGN 4)."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UnavailableError


@dataclass(frozen=True)
class Preset:
    """How layers are scaled and chosen and how pictures are made.

    Attributes:
        scaled: whether layers are scaled by their token counts, so that every layer's mean counts alike.
        middle: whether the middle block's layers belong to "all layers".
        invert_r2g: pictures of R2G, R2G-balanced and mass, and IMACS_g with them, on 1 - min-max. The mirror, which the
            authors do not have, stays as it is.
        official_layers: whether maps over the reference are made of the layers that the authors' code takes, and maps on
            the generated image of none that stand beside the network's own, where a run has such (`Layout.official`).
        masked_g2r: G2R pictures times the reference mask, where it is given, and IMACS_r on that instead of eq. 17.
        colours: name of the colour map.
    """

    name: str
    scaled: bool
    middle: bool
    invert_r2g: bool
    masked_g2r: bool
    colours: str
    official_layers: bool = False


PRESETS = {
    "default": Preset("default", scaled=True, middle=True, invert_r2g=False, masked_g2r=False, colours="inferno"),
    "paper": Preset("paper", scaled=False, middle=False, invert_r2g=False, masked_g2r=False, colours="inferno"),
    "official": Preset(
        "official",
        scaled=False,
        middle=False,
        invert_r2g=True,
        masked_g2r=True,
        colours="jet",
        official_layers=True,
    ),
}


def preset_of(name: str) -> Preset:
    """The preset of a name.

    Raises:
        UnavailableError: there is none of that name.
    """
    if name not in PRESETS:
        raise UnavailableError(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]
