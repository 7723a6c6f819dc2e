"""Whether the maps of single patches are sharp or diffuse."""

from __future__ import annotations

from torch import Tensor

from ..levels.patch import DIFFUSE
from .looked import Looked
from .said import Said
from .thresholds import SHARP


def focus(looked: Looked, inside: Tensor | None = None) -> Said:
    """Judge the median patch by the peak of its SRAM.

    Args:
        looked: where each generated patch looked.
        inside: (Q,) bool, the patches to ask, such as those inside of the inpainting mask; None: all.
    """
    peaks, spreads = (x if inside is None else x[inside] for x in (looked.peak, looked.spread))
    peak, spread = float(peaks.median()), float(spreads.median())
    figures = {"peak": peak, "spread": spread}
    rule = f"by the peak of the median patch: sharp from {SHARP:g} × uniform on, diffuse below {DIFFUSE:g} ×"
    start = f"A typical patch's attention peaks at {peak:.1f} × uniform"
    if peak < DIFFUSE:
        return Said("focus", f"{start}: diffuse, so that maps of single patches say little.", rule, figures, "diffuse")
    if peak < SHARP:
        return Said("focus", f"{start}: neither sharp nor diffuse.", rule, figures, "between")
    return Said("focus", f"{start}: sharp.", rule, figures, "sharp")
