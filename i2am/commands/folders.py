"""Folders that commands write to."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import I2AMError, shown


def check_out(out: Path, name: str = "--out") -> None:
    """Refuse a folder that cannot be written to, before the time is spent."""
    try:
        above = next(path for path in (out, *out.absolute().parents) if path.exists())
    except OSError as error:  # such as a name that is too long
        raise I2AMError(
            f"{name} is {shown(str(out), 60)}, which no folder can be called ({error.strerror}); give another"
        ) from error
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise I2AMError(
            f"{name} is {out}, but {above} is {'not writable' if above.is_dir() else 'no folder'}; give another folder"
        )
