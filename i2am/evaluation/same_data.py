"""Whether a run's images are made of one data set's files: each row keeps their digests, which a later start looks up again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

from ..data.pairs import Pair
from .digest import sha256_of
from .errors import EvaluationError
from .facts import Row
from .pair_lists import pairs_by_kind
from .work import Work

log = logging.getLogger("i2am")

DIGITS = 16
"""Of a file's sha256 that a row keeps."""


def files_of(pair: Pair, names: Iterable[str]) -> dict[str, Path]:
    """The files that pictures of a pair are opened from, by name; those that it lacks are left out.

    Args:
        pair: a data set's.
        names: of pictures, in `data.pairs.PICTURES`.
    """
    wanted = dict.fromkeys(names)
    if "warped" in wanted:  # is cut out by its own mask
        wanted["warped_mask"] = None
    return {name: pair.files[name] for name in wanted if name in pair.files}


def digests_of(pair: Pair, names: Iterable[str]) -> dict[str, str]:
    """The first digits of the sha256 of the files that pictures of a pair are opened from, by name."""
    return {name: _digest(path) for name, path in files_of(pair, names).items()}


def check_same(rows: Sequence[Row], work: Work, title: str, out: Path) -> None:
    """Refuse to go on with rows that were made of other files than the data set holds now.

    Args:
        rows: of earlier starts, of any kinds of pairs.
        work: what this start is about.
        title: of the data set as the run knows it.
        out: the run's folder.

    Raises:
        EvaluationError: the list or a file is another; names the first image, and what is different.
        DatasetError: the data set has no list of a kind that the rows have.
    """
    unknown = sum(not row.files for row in rows)
    if unknown:
        log.warning(
            "%d of %d rows in %s do not say which files they were made of, since an earlier version wrote them: whether this "
            "is the same data set is not checked for them",
            unknown,
            len(rows),
            out,
        )
    seen = cache(_digest)
    kinds = list(dict.fromkeys(row.kind for row in rows))
    lists = pairs_by_kind(work.data, kinds, work.split, work.pair_list) if kinds else {}
    pairs = {(kind, pair.name): pair for kind, of in lists.items() for pair in of}
    found = {row.key: _change(row, pairs.get(row.key), work.pictures, seen) for row in rows}
    changed = [(key, what) for key, what in found.items() if what]
    if changed:
        (kind, name), what = changed[0]
        raise EvaluationError(
            f"{out} holds images of {title} that were made of other files than {work.data.folder} holds now: {len(changed)} of "
            f"{len(rows)}, first {kind} {name}: {what}; give the data set as it was, or another --out"
        )


def _change(row: Row, pair: Pair | None, pictures: Sequence[str], digest: Callable[[Path], str]) -> str:
    """What is different for one row; empty: nothing is, or it is not known."""
    if pair is None:
        return "the list of pairs does not name it any more"
    if not row.files:
        return ""
    now = files_of(pair, (*pictures, *row.files))
    for name in dict.fromkeys((*row.files, *now)):
        if name not in now:
            return f"its {name} is gone; {pair.lacking(name)}"
        if name not in row.files:
            return f"its {name} {now[name]} was not there"
        if row.files[name] != digest(now[name]):
            return f"its {name} {now[name]} is another picture than before"
    return ""


def _digest(path: Path) -> str:
    return sha256_of([path])[:DIGITS]
