"""Looks at every picture of a data set's pairs, before anything is computed of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..errors import DatasetError, I2AMError, MaskError
from ..geometry.shapes import check_shape
from .checks import doubts
from .findings import Findings, Problem
from .names import unfit_names
from .pairs import MASKS, Pair
from .pictures import is_turned

LEAST = 32
"""Pixels of a side: smaller pictures are icons, or what a failed download left."""
USUAL = 0.5
"""The share of a picture's files from which on their most frequent size is the usual one."""
ALIKE = 3
"""How near two photos lie on average, of 255, that are one."""
COMPARED = (48, 48)
"""The size (width, height) at which they are compared."""
VARIED = 6
"""The standard deviation, of 255, below which a photo shows too little to be compared."""
SAME = {"densepose": "person", "reference": "person", "reference_mask": "inpaint_mask"}
"""Pictures that must not be others."""


@dataclass
class Seen:
    """One pair, looked at: its problems, and the sizes (width, height) of its pictures."""

    problems: list[Problem] = field(default_factory=list)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)


def check_pairs(
    pairs: Sequence[Pair],
    needs: Iterable[str] = (),
    takes: Iterable[str] = (),
    progress: bool = False,
) -> Findings:
    """Look at every picture of pairs that is needed or can be used, and say what is wrong with it.

    Args:
        pairs: of a data set.
        needs: names in `pairs.PICTURES` that a run cannot do without.
        takes: names that it can also use.
        progress: show a bar.
    """
    needed = tuple(dict.fromkeys(needs))
    taken = tuple(name for name in dict.fromkeys(takes) if name not in needed)
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        looks = pool.map(partial(_look, needs=needed, takes=taken), pairs)
        seen = list(tqdm(looks, total=len(pairs), desc="checking pairs", unit="pair", disable=not progress))
    finally:
        pool.shutdown(cancel_futures=True)
    _tell_odd_sizes(pairs, seen)
    names = unfit_names([pair.name for pair in pairs])
    return Findings(len(pairs), (*names, *(problem for one in seen for problem in one.problems)))


def find_missing(pairs: Sequence[Pair], needs: Iterable[str]) -> Findings:
    """Which pictures are missing, without a look at the others."""
    needed = tuple(dict.fromkeys(needs))
    return Findings(len(pairs), tuple(problem for pair in pairs for problem in _missing(pair, needed, "missing")))


def _look(pair: Pair, needs: tuple[str, ...], takes: tuple[str, ...]) -> Seen:
    seen = Seen([Problem(kind, pair.name, "", None, said) for kind, said in pair.odd.items()])
    seen.problems += [*_missing(pair, needs, "missing"), *_missing(pair, takes, "missing, optional")]
    opened = {}
    for name in (*needs, *takes):
        if name not in pair.files:
            continue
        picture, found = _opened(pair, name)
        seen.problems += found
        if picture is not None:
            opened[name] = picture
            seen.sizes[name] = picture.size
    for look in (_mixed_up, _misshapen, _of_doubts):
        problems = list(look(pair, opened))
        seen.problems += problems
        for problem in problems:  # what is wrong by itself is not compared with others
            opened.pop(problem.picture, None)
    return seen


def _missing(pair: Pair, names: Iterable[str], kind: str) -> Iterator[Problem]:
    for name in names:
        if name not in pair.files:
            yield Problem(kind, pair.name, name, pair.lacks.get(name), pair.lacking(name))


def _opened(pair: Pair, name: str) -> tuple[Image.Image | None, list[Problem]]:
    """A picture by itself, None where it cannot be used, and what is wrong with it."""
    told: list[str] = []

    def problem(kind: str, said: str) -> Problem:
        return Problem(kind, pair.name, name, pair.files[name], said)

    try:
        picture = pair.open([name], warn=lambda text, *values: told.append(text % values))[name]
    except MaskError as error:
        return None, [problem("no mask", str(error))]
    except DatasetError as error:
        return None, [problem("another shape", str(error))]
    except I2AMError as error:
        return None, [problem("unreadable", str(error))]
    found = [problem("doubtful mask", said) for said in told]
    if is_turned(pair.files[name]):
        found.append(problem("turned", f"{pair.files[name]} is to be turned, as its EXIF data says"))
    sides = f"{pair.files[name]} is {picture.width} x {picture.height} pixels"
    if min(picture.size) < LEAST:
        return None, [*found, problem("too small", f"{sides}; expected {LEAST} at least")]
    if name not in MASKS and all(low == high for low, high in _extrema(picture)):
        return None, [*found, problem("one colour", f"{pair.files[name]} is of one colour: it shows nothing")]
    return picture, found


def _extrema(picture: Image.Image) -> tuple[tuple[int, int], ...]:
    """Of each band of an RGB picture."""
    low_high: tuple[tuple[int, int], ...] = picture.getextrema()  # type: ignore[assignment]
    return low_high


def _mixed_up(pair: Pair, opened: Mapping[str, Image.Image]) -> Iterator[Problem]:
    """Pictures that are others."""
    for name, other in SAME.items():
        if name in opened and other in opened and _is_same(opened[name], opened[other]):
            said = f"{pair.files[name]} shows the same as the {other} {pair.files[other]}"
            yield Problem("same picture", pair.name, name, pair.files[name], said)


def _is_same(picture: Image.Image, other: Image.Image) -> bool:
    a, b = (np.asarray(one.convert("L").resize(COMPARED, Image.Resampling.BOX), dtype=np.float32) for one in (picture, other))
    return bool(min(a.std(), b.std()) > VARIED and np.abs(a - b).mean() < ALIKE)


def _misshapen(pair: Pair, opened: Mapping[str, Image.Image]) -> Iterator[Problem]:
    """Pictures that cannot show the person; masks are checked with their content."""
    person = next((opened[name] for name in ("person", "agnostic") if name in opened), None)
    for name in ("agnostic", "densepose", "warped"):
        if person is not None and name in opened:
            try:
                check_shape(name, opened[name].size[::-1], person.size[::-1], "picture of the person")
            except I2AMError as error:
                yield Problem("another shape", pair.name, name, pair.files[name], str(error))


def _of_doubts(pair: Pair, opened: Mapping[str, Image.Image]) -> Iterator[Problem]:
    for doubt in doubts(opened, warn=lambda *_: None):  # what it warns of was told when the mask was opened
        path = pair.files[doubt.picture]
        yield Problem(doubt.kind, pair.name, doubt.picture, path, f"{doubt.said} ({path})")


def _tell_odd_sizes(pairs: Sequence[Pair], seen: Sequence[Seen]) -> None:
    """Add pictures of another size than most of their kind."""
    for name in dict.fromkeys(name for one in seen for name in one.sizes):
        sizes = Counter(one.sizes[name] for one in seen if name in one.sizes)
        (usual, count), total = sizes.most_common(1)[0], sum(sizes.values())
        if count <= USUAL * total:
            continue
        for pair, one in zip(pairs, seen, strict=True):
            size = one.sizes.get(name, usual)
            if size != usual:
                said = f"{pair.files[name]} is {size[0]} x {size[1]} pixels, {count} of {total} are {usual[0]} x {usual[1]}"
                one.problems.append(Problem("odd size", pair.name, name, pair.files[name], said))
