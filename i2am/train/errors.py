"""What training refuses."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import I2AMError

EXTRAS = ("accelerate", "transformers")
"""What training needs beside what the package itself does."""


class TrainingError(I2AMError):
    """A run that cannot start, go on or end well."""


def check_extras() -> None:
    """Refuse to start without the packages that training needs.

    Raises:
        TrainingError: one is not installed; names what to type.
    """
    missing = [name for name in EXTRAS if find_spec(name) is None]
    if missing:
        raise TrainingError(f"training needs {' and '.join(missing)}, not installed here; run: pip install 'i2am[train]'")


def plain(error: Exception) -> str:
    """An error's own text where it came out of a process that reads pictures, which adds where it was raised."""
    lines = str(error).strip().splitlines() or [""]
    return lines[-1].partition(": ")[2] if "Original Traceback" in str(error) else str(error)
