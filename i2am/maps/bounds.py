"""The bounds of what a maps file may say of a run.

They are far above what a real run has, and low enough that no file makes a reader allocate much more than its size.
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
"""Heads of all layers times tokens of the largest grid, to which levels resize every head of every layer."""
MOST_SIDE = 16_384
"""Pixels along a side of a picture."""
MOST_PIXELS = 2**26
MOST_STRETCH = 16
"""The area of a grid's rectangle, in areas of its picture; padding makes it larger than 1."""
MOST_PIECES = 8192
"""Words of one text."""
MOST_PICTURES = 4096
"""Small pictures kept with the maps."""
MOST_NOTES = 40_000
"""Characters of all notes."""
MOST_WORDS = 4000
"""Characters of one text in `RunInfo.extra`."""
MOST_PLAIN = 10_000
"""Values in `RunInfo.extra`."""
DEEPEST = 16
"""Levels of nesting in `RunInfo.extra`."""
