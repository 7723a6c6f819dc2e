"""The sha256 of files, by which runs know the weights that they were made with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

AT_ONCE = 1 << 22


def sha256_of(files: Sequence[Path]) -> str:
    """The sha256 of one file; of several, that of their contents in the order given."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(AT_ONCE):
                digest.update(block)
    return digest.hexdigest()
