"""The thresholds that turn figures into words. Each is stated beside every sentence that rests on it."""

from __future__ import annotations

HARDLY = 0.5
"""A part of the object that takes less attention than this multiple of what its area would get is hardly looked at."""
SMALL = 0.04
"""A part with less than this share of the object is too small to be spoken of."""
SPILT = 1.0
"""Where the object went is spilt if the inpainting mask holds less of it than this multiple of what its area would get."""
ALIKE = 0.9
"""Two maps are alike from this correlation on."""
SHARP = 10.0
"""A patch's map is sharp if its peak is at least this multiple of a uniform map; below `DIFFUSE` it is diffuse."""
APART = 2.0
"""Patches that lie further than this from where one copy of a region would have them, in cells, show no single copy."""
DRAWN = 0.7
"""A region is drawn alike from this local structure on; the demo model's card says how often that is right."""
RECOLOURED = 25.0
"""Mean colours that are further apart than this (ΔE*ab) are different colours."""
SAME_PICTURE = 0.004
"""Pictures are the same if their colours differ by no more than this on the mean, about one of 255 steps."""
ALIKE, LESS_ALIKE = 0.8, 0.3
"""A picture is that of another reference if it correlates by `ALIKE` with that, and by `LESS_ALIKE` less with its own."""
UNLIKE = 0.1
"""A picture is another than the one that was kept if they correlate by no more than this."""
SAME_MASK = 0.98
"""Masks are the same from this overlap (intersection over union) on."""
OVERLAP = 0.5
"""Masks that overlap less are others."""
CARRIED = 0.25
"""The text carries much of a reference from this share of what goes to it, directly and via text, on,"""
NOTICED = 0.02
"""if that is at least this share of all attention."""
STANDS_OUT = 1.5
"""A word stands out from this multiple of an even share among the prompt's words on."""
GATHERED = 1.5
"""A word is read at a place, rather than all over the picture, if it takes this multiple of its mean there."""
PLAIN = 0.03
"""A region with less contrast than this has no structure that could be compared."""
SHOWN = 0.5
"""If less than this share of a region's copy lies within the picture, or of a region within what the tokens cover, nothing can
be compared."""
EVEN = 0.01
"""A map whose standard deviation is below this share of its mean is even: it has no shape that could be compared."""
