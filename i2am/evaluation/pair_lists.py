"""The pairs of a data set by their kind, out of its own lists or out of a given one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..data.pairs import DataSet, Pair
from ..errors import DatasetError


def pairs_by_kind(data: DataSet, kinds: Sequence[str], split: str, pair_list: Path | None = None) -> dict[str, list[Pair]]:
    """Pairs of each kind, in the order of their list; of a given list the kinds that it has none of are left out.

    Args:
        data: the data set.
        kinds: of `facts.KINDS`.
        split: "train" or "test".
        pair_list: a list whose pairs are taken as they stand; None: the data set's own.

    Raises:
        DatasetError: there is no such list, or it names no pair of these kinds.
    """
    if pair_list is None:
        return {kind: data.pairs(kind, split) for kind in kinds}
    pairs = data.pairs(pair_list, split)
    found = {kind: [pair for pair in pairs if pair.paired == (kind == "paired")] for kind in kinds}
    found = {kind: of for kind, of in found.items() if of}
    if not found:
        persons = "other persons' garments" if "paired" in kinds else "the persons' own garments, as are lines with one name"
        raise DatasetError(
            f"{pair_list} names no {' or '.join(kinds)} pair: its {len(pairs)} pair{'s are' if len(pairs) > 1 else ' is'} of "
            f"{persons}; ask for these, or give another list"
        )
    return found
