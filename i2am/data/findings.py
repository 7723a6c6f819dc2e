"""What is wrong with a data set's pairs, found out before anything is computed of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DatasetError

if TYPE_CHECKING:
    from .pairs import Pair


@dataclass(frozen=True)
class ProblemKind:
    """A kind of problem.

    Attributes:
        leaves_out: whether a pair that has it is left out.
        advice: what to do about it.
    """

    leaves_out: bool
    advice: str


PROBLEMS: dict[str, ProblemKind] = {
    "missing": ProblemKind(True, "unpack the data set whole, or take these pairs out of the list"),
    "unreadable": ProblemKind(True, "copy or unpack these files again"),
    "mismatched pair": ProblemKind(True, "mend the list of pairs"),
    "unfit name": ProblemKind(True, "rename these pictures, and in the list too"),
    "no mask": ProblemKind(True, "save masks as white on black"),
    "empty mask": ProblemKind(True, "mend these masks, or take their pairs out of the list"),
    "full mask": ProblemKind(True, "mend these masks, or take their pairs out of the list"),
    "inverted mask": ProblemKind(True, "turn black and white round in these masks"),
    "another shape": ProblemKind(True, "give pictures of one person and their masks the same sides"),
    "too small": ProblemKind(True, "copy or unpack these files again"),
    "one colour": ProblemKind(True, "copy or unpack these files again"),
    "same picture": ProblemKind(True, "look whether the folders were mixed up"),
    "mismatched picture": ProblemKind(True, "look whether the files bear the right names"),
    "missing, optional": ProblemKind(False, "these pairs run without"),
    "full reference mask": ProblemKind(False, "these pairs have no IMACS_r"),
    "doubtful mask": ProblemKind(False, "look whether these masks are meant so"),
    "stretched": ProblemKind(False, "look whether these masks were cropped"),
    "odd size": ProblemKind(False, "they are resized like the others"),
    "turned": ProblemKind(False, "they are turned upright as their EXIF data says; other programs may not"),
    "listed twice": ProblemKind(False, "each is taken once"),
}
"""Every kind of problem by its name, in the order in which they are told: first those for which pairs are left out."""


@dataclass(frozen=True)
class Problem:
    """One problem of one pair.

    Attributes:
        kind: a name in `PROBLEMS`.
        name: the pair's.
        picture: the picture's name in `pairs.PICTURES`; "": it is about the pair's line.
        path: the file, or the first path that was looked for; None: it is about the pair's line.
        said: what was seen.
    """

    kind: str
    name: str
    picture: str
    path: Path | None
    said: str


@dataclass(frozen=True)
class Findings:
    """What a check found.

    Attributes:
        items: how many pairs were looked at.
        problems: in the order of the pairs.
    """

    items: int
    problems: tuple[Problem, ...] = ()

    @property
    def left_out(self) -> tuple[str, ...]:
        """The names of the pairs that cannot be used, in order."""
        return tuple(dict.fromkeys(p.name for p in self.problems if PROBLEMS[p.kind].leaves_out))

    def counts(self) -> dict[str, dict[str, int]]:
        """How many pairs have a problem, by its kind and the picture's name, in the order of `PROBLEMS`."""
        seen: dict[tuple[str, str], dict[str, None]] = {}
        for problem in self.problems:
            seen.setdefault((problem.kind, problem.picture), {})[problem.name] = None
        out: dict[str, dict[str, int]] = {}
        for kind in PROBLEMS:
            for (of, picture), names in seen.items():
                if of == kind:
                    out.setdefault(kind, {})[picture] = len(names)
        return out

    def lines(self) -> list[str]:
        """A line for each kind of problem and picture: how many pairs have it, the first one, and what to do."""
        return [self._line(kind, picture, n) for kind, of in self.counts().items() for picture, n in of.items()]

    def _line(self, kind: str, picture: str, count: int) -> str:
        first = next(p for p in self.problems if (p.kind, p.picture) == (kind, picture))
        of = f" ({picture})" if picture else ""
        return f"{kind}{of}: {count} of {self.items}; first {first.name}: {first.said}; {PROBLEMS[kind].advice}"

    def keep(self, pairs: Sequence[Pair], go_on: bool = False) -> list[Pair]:
        """The pairs that can be used.

        Args:
            pairs: those that were looked at.
            go_on: leave out the others; otherwise there must be none.

        Raises:
            DatasetError: pairs are to be left out and ``go_on`` is false, or none remains; names every kind of problem.
        """
        out = set(self.left_out)
        kept = [pair for pair in pairs if pair.name not in out]
        if out and (not go_on or not kept):
            told = "\n".join(self.lines())
            what = "no pair can be used" if not kept else f"{len(out)} of {self.items} pairs cannot be used"
            raise DatasetError(f"{what}: {told}")
        return kept

    def as_dict(self) -> dict[str, Any]:
        """For JSON: counts, the names left out, and every problem."""
        return {
            "items": self.items,
            "counts": self.counts(),
            "left_out": list(self.left_out),
            "problems": [
                {"kind": p.kind, "name": p.name, "picture": p.picture, "path": p.path and p.path.as_posix(), "said": p.said}
                for p in self.problems
            ],
        }
