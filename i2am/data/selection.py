"""Some pairs of a list, opened: what a graph takes at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import DatasetError, I2AMError
from .findings import Findings
from .inspection import check_pairs
from .pairs import MASKS, PICTURES, Pair
from .pictures import colours

NEEDED = ("person", "reference")
BROKEN = ("stop", "leave out", "keep")
"""What to do about broken pairs."""


@dataclass(frozen=True)
class Selection:
    """Pairs of a list with their pictures.

    Attributes:
        pairs: in the order of the list.
        pictures: by their names in `pairs.PICTURES`, one per pair: (1, H, W, 3) and masks (1, H, W) in 0-1; the reason where
            a pair lacks one, or one that is kept although it is broken cannot be opened.
        findings: what was found in the pairs that were chosen, also in those that were left out.
    """

    pairs: list[Pair]
    pictures: Mapping[str, list[Tensor | str]]
    findings: Findings

    def stacked(self) -> dict[str, Tensor | str]:
        """Each picture as one batch, (B, H, W, 3), masks (B, H, W); a reason where a pair lacks it.

        Raises:
            DatasetError: pictures of one kind have several sizes; names two pairs.
        """
        return {name: self._stacked(name, of) for name, of in self.pictures.items()}

    def _stacked(self, name: str, of: list[Tensor | str]) -> Tensor | str:
        tensors = []
        for one in of:
            if isinstance(one, str):
                return one
            tensors.append(one)
        for pair, one in zip(self.pairs, tensors, strict=True):
            if one.shape != tensors[0].shape:
                first, other = (f"{shown.shape[2]} x {shown.shape[1]} pixels" for shown in (tensors[0], one))
                raise DatasetError(
                    f"the {name} of {self.pairs[0].name} is {first}, that of {pair.name} {other}: pictures of several sizes "
                    f"are no batch; take them as a list"
                )
        return torch.cat(tensors)


def select(pairs: Sequence[Pair], index: int, count: int = 1, broken: str = "stop") -> Selection:
    """Open ``count`` pairs of a list from an index on, fewer at its end.

    Args:
        pairs: the list.
        index: of the first, from 0.
        count: how many, at least 1.
        broken: "stop", "leave out", or "keep" for all whose pictures can be opened, whatever they show.

    Raises:
        DatasetError: the index lies beyond the list, or a pair is broken; names what is wrong.
    """
    if not 0 <= index < len(pairs):
        raise DatasetError(f"index {index} was asked for, but there are {len(pairs)} pairs, counted from 0")
    if count < 1:
        raise DatasetError(f"{count} pairs were asked for; expected at least 1")
    if broken not in BROKEN:
        raise DatasetError(f"broken pairs are to {', '.join(BROKEN[:-1])} or {BROKEN[-1]}, got {broken!r}")
    chosen = list(pairs[index : index + count])
    takes = [name for name in PICTURES if name not in NEEDED and any(name in pair.files for pair in chosen)]
    findings = check_pairs(chosen, NEEDED, takes)
    kept = chosen if broken == "keep" else findings.keep(chosen, go_on=broken == "leave out")
    return Selection(kept, {name: [_picture(pair, name) for pair in kept] for name in PICTURES}, findings)


def _picture(pair: Pair, name: str) -> Tensor | str:
    if name not in pair.files:
        return f"{pair.name} has no {name}: {pair.lacking(name)}"
    try:
        picture = pair.open([name], warn=lambda *_: None)[name]  # what it would warn of stands in the findings
    except I2AMError as error:
        return str(error)
    if name not in MASKS:
        return colours(picture)
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)[None]
