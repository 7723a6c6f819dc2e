"""The names of all values, by what they are of; `compare.measures` says what they mean."""

from __future__ import annotations

from collections.abc import Iterable

from ...levels.presets import PRESETS

OF_PICTURE = ("ssim", "psnr", "lpips")
"""Against the true picture, where there is one."""
OF_MAPS = (
    *(f"{kind}_{side}.{preset}" for preset in PRESETS for kind in ("imacs", "auc") for side in "gr"),
    "mass_inside",
    "entropy",
    "matching_accuracy",
    "matches",
)
SHARE = "share"
"""Of models whose references, text and picture share one attention; see `shares_of`."""
OF_SET = ("fid", "kid")
"""Of all unpaired pictures."""
LPIPS, FEATURES = "lpips", "features"
NETWORKS = {LPIPS: ("lpips",), FEATURES: OF_SET}
"""The networks of a run, and the values that each of them makes."""


def shares_of(parts: Iterable[str]) -> tuple[str, ...]:
    """The names of what parts have of the attention: in the whole picture, inside and outside of the inpainting mask.

    >>> shares_of(["person"])
    ('share.person', 'share.person.inside', 'share.person.outside')
    """
    return tuple(f"{SHARE}.{part}{where}" for part in parts for where in ("", ".inside", ".outside"))
