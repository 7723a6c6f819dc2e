"""Errors of training."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import I2AMError

EXTRAS = ("accelerate", "transformers")
"""Packages that training needs besides those of the library."""


class TrainingError(I2AMError):
    """A training run that cannot start, resume or finish."""


def check_extras() -> None:
    """Refuse to start without the packages that training needs.

    Raises:
        TrainingError: one is not installed; names what to type.
    """
    missing = [name for name in EXTRAS if find_spec(name) is None]
    if missing:
        raise TrainingError(f"training needs {' and '.join(missing)}, not installed here; run: pip install 'i2am[train]'")


def plain(error: Exception) -> str:
    """An error's own message, without the traceback that a data loader process adds."""
    lines = str(error).strip().splitlines() or [""]
    return lines[-1].partition(": ")[2] if "Original Traceback" in str(error) else str(error)
