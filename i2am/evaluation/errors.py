"""Errors of evaluations."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import I2AMError

EXTRAS = ("torchmetrics",)
"""Packages that an evaluation needs besides those of the library."""


class EvaluationError(I2AMError):
    """An evaluation that cannot start or go on, or a run folder that cannot be read."""


def check_extras() -> None:
    """Refuse to start without the packages that evaluations need.

    Raises:
        EvaluationError: one is not installed; names what to type.
    """
    missing = [name for name in EXTRAS if find_spec(name) is None]
    if missing:
        raise EvaluationError(
            f"evaluating needs {' and '.join(missing)}, not installed here; run: pip install 'i2am[evaluate]'"
        )
