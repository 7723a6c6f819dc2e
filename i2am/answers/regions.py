"""A region that a person named on a reference: did it reach the picture, and if not, how far did it get?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ..errors import MaskError
from ..geometry.masks import MaskLike, as_mask, check_finite
from ..levels.patch import DIFFUSE
from .carried import LEAST, Carried, carry
from .looked import Looked
from .places import name_of_place
from .said import Said
from .thresholds import APART, DRAWN, HARDLY, PLAIN, RECOLOURED, SHOWN

LONGEST = 60
"""Characters of a region's name; longer ones are cut."""
LOST = ("hardly looked at", "nobody", "apart", "drawn differently")
"""Verdicts by which a region is lost."""


@dataclass(frozen=True, eq=False, init=False)
class Region:
    """A region of a reference: its name, a mask (H, W) with 1 inside, and which reference, counted from 0.

    The mask may be given as a picture, an array or a tensor, also as a MASK of one, (1, H, W).

    Raises:
        MaskError: it is not one mask, holds NaN, or no pixel above 0.5.
    """

    name: str
    mask: Tensor
    reference: int

    def __init__(self, name: str, mask: MaskLike, reference: int = 0) -> None:
        mask = as_mask(mask, f"mask of {name}")
        line = " ".join(str(name).split()) or "region"
        object.__setattr__(self, "name", line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…")
        object.__setattr__(self, "mask", mask[0] if mask.ndim == 3 and len(mask) == 1 else mask)
        object.__setattr__(self, "reference", reference)
        check_finite(self.mask, f"mask of {self.name}")
        if self.mask.ndim != 2 or not bool((self.mask > 0.5).any()):
            raise MaskError(
                f"the mask of {self.name} is {tuple(self.mask.shape)} and holds no pixel above 0.5; expected one mask of shape "
                f"(H, W) that is 1 inside of the region; paint it on the reference"
            )


def judge(
    region: Region,
    looked: Looked,
    ratio: float,
    reference: Tensor | None,
    generated: Tensor,
    inside: Tensor | None = None,
) -> Said:
    """Say what became of a region.

    Args:
        looked: where the patches looked on the region's reference, whose first part is the region itself.
        ratio: the attention that the region took, as a multiple of what its area would get; see `reach.ratio_of`.
        reference: (3, H, W) in 0-1 with the mask's H and W; None: no picture of it, so that nothing is said of the drawing.
        generated: (3, h, w) in 0-1.
        inside: (Q,) bool, the patches inside of the inpainting mask; None: all.
    """
    figures = {"ratio": ratio, "peak": _peak(looked, inside)}
    if round(figures["peak"], 1) < DIFFUSE:  # here and below: as it is shown
        text = f"looked at diffusely (peak {figures['peak']:.1f} × uniform), so nothing can be said of it."
        return _Verdict("diffuse", text, f"a peak below {DIFFUSE:g} × uniform is diffuse").of(region, figures)
    shown = region.mask.new_zeros(3, *region.mask.shape) if reference is None else reference
    found = carry(looked, region.mask, shown, generated, inside)
    if found is None:
        return _unplaced(ratio).of(region, figures)
    figures |= {"scatter": found.scatter, "patches": float(found.patches)}
    if round(found.scatter, 1) > APART:
        text = f"taken apart: the patches that look there lie {found.scatter:.1f} cells from any single copy of it."
        if inside is None:
            text += " Patches of the whole picture were asked: give an inpainting mask to ask those inside of it alone."
        verdict = _Verdict("apart", text, f"more than {APART:g} cells on the mean counts as taken apart")
    else:
        figures |= {"shown": found.shown}
        verdict = _drawing(found, f"at the {_place(found, generated)} of the picture", known=reference is not None)
        if reference is not None:
            figures |= {"structure": found.structure, "contrast": found.contrast, "colour": found.colour}
    return verdict.of(region, figures)


@dataclass(frozen=True)
class _Verdict:
    word: str
    text: str
    rule: str = ""

    def of(self, region: Region, figures: Mapping[str, float]) -> Said:
        return Said("region", f"{region.name}: {self.text}", self.rule, figures, self.word, region.name)


def _unplaced(ratio: float) -> _Verdict:
    """The verdict on a region that no patch, or too few, looked at most."""
    rule = f"no patch looks there most of all, or fewer than {LEAST} near it; below {HARDLY:g} × is hardly looked at"
    takes = f"it takes {ratio:.1f} × of what its area would get"
    if round(ratio, 1) < HARDLY:
        return _Verdict("hardly looked at", f"hardly looked at: {takes}.", rule)
    return _Verdict("nobody", f"no patch looks there most of all, though {takes} from side glances.", rule)


def _drawing(found: Carried, where: str, *, known: bool) -> _Verdict:
    """The verdict on a region that was looked at in one place."""
    if round(found.shown, 2) < SHOWN:
        text = f"looked at by patches at the picture's edge; only {found.shown:.0%} of its copy would lie within the picture."
        return _Verdict("beyond", text, f"below {SHOWN:.0%} nothing is said of how it was drawn")
    if not known:
        return _Verdict("placed", f"looked at in one place, {where}; its picture is not known, so nor is how it was drawn.")
    if round(found.contrast, 3) < PLAIN:
        text = f"looked at in one place, {where}, but too plain to compare more than its colour (ΔE {found.colour:.1f})."
        return _Verdict("plain", text, f"a contrast below {PLAIN:g} is too plain")
    figure = f"local structure {found.structure:.2f}"
    if round(found.structure, 2) < DRAWN:
        text = f"looked at in one place, {where}, but drawn differently there ({figure})."
        return _Verdict("drawn differently", text, f"a local structure below {DRAWN:g} counts as drawn differently")
    if round(found.colour, 1) > RECOLOURED:
        text = f"arrived {where}, in another colour (ΔE {found.colour:.1f}; {figure})."
        return _Verdict("another colour", text, f"a ΔE above {RECOLOURED:g} counts as another colour")
    return _Verdict("arrived", f"arrived {where}, and looks alike there ({figure}).", f"alike from {DRAWN:g} on")


def _peak(looked: Looked, inside: Tensor | None) -> float:
    """The median peak of the ten patches that give the region most of their attention."""
    share, peak = (x if inside is None else x[inside] for x in (looked.parts[0], looked.peak))
    return float(peak[share.topk(min(10, len(share))).indices].median())


def _place(found: Carried, generated: Tensor) -> str:
    thirds = (
        min(max(int(at / extent * 3), 0), 2)
        for at, extent in ((found.middle[1], generated.shape[-2]), (found.middle[0], generated.shape[-1]))
    )
    return name_of_place(*thirds)
