"""The pairs of an evaluation: which pictures they are opened with, which belong together in a batch, what seeds their noise."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from ..data.findings import Findings
from ..data.kinds import AUTO, open_data_set
from ..data.pairs import DataSet, Pair
from .facts import KINDS, Key
from .pair_lists import pairs_by_kind
from .samplers.sampler import Sampler

log = logging.getLogger("i2am")

SCORED = ("inpaint_mask", "reference_mask")
"""Pictures that scores take, besides those that the model needs."""


@dataclass(frozen=True)
class Item:
    """One image to make: a pair, and its key in the rows."""

    key: Key
    pair: Pair


@dataclass(frozen=True)
class Work:
    """The pairs of a data set that an evaluation is about.

    Attributes:
        data: the data set.
        split: of it.
        items: the pairs, in the order of their lists; `usable` leaves those that can be used.
        pictures: names of the pictures that pairs are opened with, where they have them.
        findings: what is wrong with the pairs, by kind.
        pair_list: that the pairs are out of; None: the data set's own.
    """

    data: DataSet
    split: str
    items: tuple[Item, ...]
    pictures: tuple[str, ...]
    findings: Mapping[str, Findings]
    pair_list: Path | None = None

    @property
    def title(self) -> str:
        """The data set's."""
        return self.data.title

    def batches(self, size: int) -> list[tuple[Item, ...]]:
        """The items of each kind in batches, always the same ones: what a batch holds does not depend on what is done."""
        out = []
        for kind in KINDS:
            items = [item for item in self.items if item.key[0] == kind]
            out += [tuple(items[start : start + size]) for start in range(0, len(items), size)]
        return out

    def usable(self, skip: bool) -> Work:
        """The work without pairs that cannot be used, if that is asked for.

        Args:
            skip: go on without them.

        Raises:
            DatasetError: there are such pairs and ``skip`` is false, or no pair of a kind remains; says which and why.
        """
        kept: list[Item] = []
        for kind, found in self.findings.items():
            pairs = [item.pair for item in self.items if item.key[0] == kind]
            kept += [Item((kind, pair.name), pair) for pair in found.keep(pairs, skip)]
        return replace(self, items=tuple(kept))

    def open(self, item: Item) -> dict[str, Image.Image]:
        """A pair's pictures by name, without the true one."""
        return item.pair.open(name for name in self.pictures if name in item.pair.files and name != "truth")


def work_of(
    folder: Path,
    kinds: Sequence[str],
    split: str,
    sampler: Sampler,
    limit: int | None,
    kind: str = AUTO,
    pair_list: Path | None = None,
) -> Work:
    """Find the pairs, look at all of their pictures, and tell what is wrong with them.

    Args:
        folder: the data set's.
        kinds: of `facts.KINDS`.
        split: "train" or "test".
        sampler: whose pictures are needed.
        limit: the most pairs of each kind, the first of their lists; None: all.
        kind: of data set, a name in `data.kinds.KINDS`, or "auto".
        pair_list: a list of pairs, of which those of these kinds are taken; None: the data set's own.

    Raises:
        DatasetError: there is no such data set or list.
    """
    data = open_data_set(folder, kind)
    items: list[Item] = []
    pictures: dict[str, None] = {}
    findings: dict[str, Findings] = {}
    for of, every in pairs_by_kind(data, kinds, split, pair_list).items():
        pairs = every[:limit]
        needs, takes = _wanted(pairs, sampler)
        pictures.update(dict.fromkeys((*needs, *takes)))
        findings[of] = data.check(pairs, needs, takes)
        items += [Item((of, pair.name), pair) for pair in pairs]
    for of, found in findings.items():
        for line in found.lines():
            log.warning("%s pairs: %s", of, line)
    return Work(data, split, tuple(items), tuple(pictures), findings, pair_list)


def seed_of(seed: int, name: str) -> int:
    """The seed of an image's noise, from the run's and the image's name alone.

    >>> seed_of(0, "00006_00") == seed_of(0, "00006_00"), seed_of(0, "00006_00") == seed_of(1, "00006_00")
    (True, False)
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:7], "big")


def truth_of(pair: Pair) -> str:
    """The name of the picture that shows the person in this garment; "": there is none."""
    if pair.paired:
        return "person"
    return "truth" if "truth" in pair.files else ""


def _wanted(pairs: Sequence[Pair], sampler: Sampler) -> tuple[list[str], list[str]]:
    """The pictures that a run of these pairs needs, and those that it can also use."""
    agnostic = any("agnostic" in pair.files for pair in pairs)
    needs = [*sampler.needs]
    if sampler.inpaints:
        needs += ["agnostic"] if agnostic else ["person", "inpaint_mask"]
    if sampler.how.pasted:
        needs += ["person", "inpaint_mask"]
    takes = [*sampler.takes, *SCORED, "person"]
    if any("truth" in pair.files for pair in pairs):
        takes.append("truth")
    needs = list(dict.fromkeys(needs))
    return needs, [name for name in dict.fromkeys(takes) if name not in needs]
