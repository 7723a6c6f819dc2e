"""What was measured, run by run, in a file that grows: a study that is stopped goes on from it, and counts no run twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .trials import Key

Place = tuple[int, int, Key]
"""The pair, the noise and the key of a run."""


@dataclass(frozen=True)
class Row:
    """One run, or what maps foretell of several.

    Attributes:
        pair, noise: their numbers.
        key: of the run, see `trials`; of what is foretold, the key of its runs with the map's name in the place of their own.
        mean: the mean change of the picture.
        inside: the share of all change that lies where the reference is truly seen; None: nothing changed.
        area: the part of the picture that this is.
        roc: area under the ROC curve of the change for it.
        foretold: what maps say, instead of a change.
        seconds: that the run took.
    """

    pair: int
    noise: int
    key: Key
    mean: float | None = None
    inside: float | None = None
    area: float | None = None
    roc: float | None = None
    foretold: tuple[float, ...] | None = None
    seconds: float = 0.0

    @property
    def place(self) -> Place:
        """What it is of."""
        return self.pair, self.noise, self.key


class Rows:
    """The rows of a study, in a file of a line each.

    Args:
        folder: of the file.
        study: what all of its runs have in common; rows of another study lie in another file.
    """

    def __init__(self, folder: Path, study: Mapping[str, Any]) -> None:
        digest = hashlib.sha256(json.dumps(study, sort_keys=True).encode()).hexdigest()[:12]
        self.path = folder / f"{study['model']}-{digest}.jsonl"
        self.found: dict[Place, Row] = {}
        if self.path.is_file():
            for row in self._read():
                self.found.setdefault(row.place, row)

    def _read(self) -> Iterable[Row]:
        """The whole lines; one that an end of the process tore is taken off the file."""
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            draft = self.path.with_suffix(".part")
            draft.write_text(whole, encoding="utf-8")
            draft.replace(self.path)
        for line in whole.splitlines():
            given = json.loads(line)
            told = given.pop("foretold")
            yield Row(**{**given, "key": tuple(given["key"])}, foretold=None if told is None else tuple(told))

    def add(self, rows: Iterable[Row]) -> None:
        """Keep rows, of which those that are there already stay as they are."""
        new = {row.place: row for row in rows if row.place not in self.found}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(asdict(row)) + "\n" for row in new.values()))
        self.found.update(new)
