"""The families of models that are read from their authors' checkpoints: one file and one row here for each."""

from __future__ import annotations

from collections.abc import Iterable

from .family import Family
from .tryon.custom import CUSTOM
from .tryon.dci_vton import DCI_VTON
from .tryon.paint_by_example import PAINT_BY_EXAMPLE
from .tryon.stableviton import STABLEVITON

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        PAINT_BY_EXAMPLE,
        DCI_VTON,
        STABLEVITON,
        CUSTOM,
    )
}
"""By name. Of families with as many channels and nothing to tell a checkpoint by, the first is taken."""


def titles(families: Iterable[Family], joint: str = "and") -> str:
    """The families in running text.

    >>> titles([PAINT_BY_EXAMPLE, STABLEVITON, CUSTOM])
    'Paint-by-Example, StableVITON and the custom model'
    """
    *others, last = [family.title for family in families]
    return f"{', '.join(others)} {joint} {last}" if others else last
