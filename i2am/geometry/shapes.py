"""Whether two pictures can belong together, by their aspect ratios."""

from __future__ import annotations

from ..errors import I2AMError
from .resample import Size

MOST_STRETCH = 1.5
"""Pictures may be squashed (512 x 512 for a picture shown as 512 x 384); a larger change of aspect ratio is another picture."""


def check_shape(what: str, size: Size, expected: Size, of: str) -> None:
    """Refuse a picture or mask whose shape (H, W) cannot match the expected one; (0, 0) means unknown.

    Raises:
        I2AMError: the aspect ratios differ by more than `MOST_STRETCH`; names both sizes.

    >>> check_shape("mask", (64, 64), (64, 48), "generated image")
    >>> check_shape("mask", (48, 64), (64, 48), "generated image")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    i2am.I2AMError: the mask is 64 x 48 pixels, but the generated image is 48 x 64: another shape, so they cannot ...
    """
    if min(expected) < 1:
        return
    stretch = (size[1] / size[0]) / (expected[1] / expected[0])
    if not 1 / MOST_STRETCH <= stretch <= MOST_STRETCH:
        raise I2AMError(
            f"the {what} is {size[1]} x {size[0]} pixels, but the {of} is {expected[1]} x {expected[0]}: another shape, so "
            f"they cannot belong together; connect the one that belongs to this {of}"
        )
