"""Paint-by-Example (Yang et al. 2023): repaints a hole in a picture after one token of the reference."""

from __future__ import annotations

from ..family import KEEP_MASK, Family

PAINT_BY_EXAMPLE = Family(
    name="paint-by-example",
    title="Paint-by-Example",
    channels=9,
    inputs=("agnostic", KEEP_MASK),
    size=(512, 512),
    needs=("inpaint_mask",),
)
