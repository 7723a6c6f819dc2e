"""The bounds of what a maps file may say of a run.

They lie far above what a run can have, and low enough that no file makes its readers allocate without measure.
"""

from __future__ import annotations

MOST_HEADER = 4 << 20
"""Bytes of a file's header."""
MOST_TEXT = 2 << 20
"""Characters of a description."""
MOST_STEPS = 10_000
MOST_HEADS = 1024
MOST_CELLS = 2048
"""Rows or columns of a token grid."""
MOST_TOKENS = 2**18
MOST_VALUES = 2**28
"""Heads of all layers times tokens of the largest grid: levels bring every head of every layer to that grid."""
MOST_SIDE = 16_384
"""Pixels along a side of a picture."""
MOST_PIXELS = 2**26
MOST_STRETCH = 16
"""The area of a grid's rectangle in areas of its picture, beyond which it may reach by padding."""
MOST_PICTURES = 4096
"""Small pictures kept with the maps."""
MOST_NOTES = 40_000
"""Characters of all notes."""
MOST_WORDS = 4000
"""Characters of a text in `RunInfo.extra`."""
MOST_PLAIN = 10_000
"""Values in `RunInfo.extra`."""
DEEPEST = 16
"""Levels of values in `RunInfo.extra`."""
