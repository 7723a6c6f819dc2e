"""The evaluations that are compared, as their folders hold them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...errors import I2AMError
from ..errors import EvaluationError
from ..facts import KINDS, OfSet, Row, Run, Summary
from ..metrics.names import LPIPS, OF_SET
from ..run_folder import RunFolder

ONE_MODEL = ("sha256", "family", "data", "split", "pair_list", "sampler", "steps", "cfg", "pasted")
"""Facts that are the same for runs of one model, which differ in their noise alone."""
NOT_NAMED = "not named, since an earlier version did not keep it"
"""Of the network of a figure."""
ALIKE = ("data", "split", "pair_list", "seed", "sampler", "steps", "cfg", "pasted", "every", "presets", "weight", "threshold")
"""Facts that differ between runs which cannot be compared without saying so."""


@dataclass(frozen=True, eq=False)
class Evaluated:
    """One evaluation.

    Attributes:
        label: what it is called beside the others.
        folder: where its pictures and maps lie.
        run: what was evaluated.
        rows: one per image, at least one.
        summary: of the data set; None: the run has not come to its end.
    """

    label: str
    folder: RunFolder
    run: Run
    rows: tuple[Row, ...]
    summary: Summary | None

    @cached_property
    def by_kind(self) -> dict[str, dict[str, Row]]:
        """The rows by kind and by the image's name; kinds without a row are left out."""
        found: dict[str, dict[str, Row]] = {}
        for row in self.rows:
            found.setdefault(row.kind, {})[row.name] = row
        return {kind: found[kind] for kind in KINDS if kind in found}

    @property
    def names(self) -> set[str]:
        """The names of all values that a row has."""
        return {name for row in self.rows for name in row.values}

    def values(self, kind: str, name: str) -> dict[str, float]:
        """One value by image."""
        return {image: row.values[name] for image, row in self.by_kind.get(kind, {}).items() if name in row.values}

    def of_set(self, kind: str, name: str) -> OfSet | None:
        """A figure of the whole data set, if there is one."""
        of_kind = None if self.summary is None else self.summary.kinds.get(kind)
        return None if of_kind is None else of_kind.sets.get(name)


def read_runs(given: Sequence[str]) -> list[Evaluated]:
    """Read run folders, each given as its path or as NAME=PATH.

    Raises:
        EvaluationError: there is none, a folder cannot be read or holds no row, or two have one name.
    """
    if not given:
        raise EvaluationError("there is nothing to compare; give at least one folder that `i2am evaluate` wrote to")
    found = [_read(*_named(text)) for text in given]
    labels = [one.label for one in found]
    for one in found:
        if labels.count(one.label) > 1:
            raise EvaluationError(f"two runs are called {one.label!r}; name them, such as first={one.folder.path}")
    return found


def unlike(runs: Sequence[Evaluated]) -> list[str]:
    """In which facts runs differ so that their figures cannot be compared as they are; empty: in none."""
    found = [f"{label} is {of} once more: the same weights and values; it counts once" for label, of in twins(runs).items()]
    for of_one in models_of([one for one in runs if one.label not in twins(runs)]):
        if len(of_one) > 1:
            labels = " and ".join(one.label for one in of_one)
            found.append(f"{labels} are one model, the same weights and settings: over models they count once, by their mean")
    for name in ALIKE:
        values = {one.label: _short(getattr(one.run, name)) for one in runs}
        if len(set(values.values())) > 1:
            found.append(f"{name}: {', '.join(f'{label} {value}' for label, value in values.items())}")
    for kind in KINDS:
        images = {one.label: set(one.by_kind.get(kind, {})) for one in runs}
        if len({frozenset(x) for x in images.values()}) > 1:
            common = len(set.intersection(*images.values()))
            counts = ", ".join(f"{label} {len(x)}" for label, x in images.items())
            found.append(f"{kind} images: {counts}; {common} in common")
        found += _other_files(runs, kind)
    found += [f"network of {name}: {', '.join(told)}" for name, told in _networks(runs).items() if len(told) > 1]
    unfinished = [one.label for one in runs if one.summary is None]
    return found + [f"{label} has not come to its end: figures of its data set are missing" for label in unfinished]


def twins(runs: Sequence[Evaluated]) -> dict[str, str]:
    """Runs that are an earlier one once more, of the same weights and with the same values, by label; and that one's label."""
    found: dict[str, str] = {}
    for number, one in enumerate(runs):
        first = next((x for x in runs[:number] if x.label not in found and _is_same(x, one)), None)
        if first is not None:
            found[one.label] = first.label
    return found


def models_of(runs: Iterable[Evaluated]) -> list[list[Evaluated]]:
    """Runs by model: those of the same weights and settings, such as with another seed, are of one."""
    found: dict[tuple[object, ...], list[Evaluated]] = {}
    for one in runs:
        found.setdefault(tuple(getattr(one.run, name) for name in ONE_MODEL), []).append(one)
    return list(found.values())


def _is_same(one: Evaluated, other: Evaluated) -> bool:
    if one.run.sha256 != other.run.sha256 or one.run.data != other.run.data or one.by_kind.keys() != other.by_kind.keys():
        return False
    rows = ({row.key: row.values for row in run.rows} for run in (one, other))
    sets = [{kind: of.sets for kind, of in run.summary.kinds.items()} if run.summary else {} for run in (one, other)]
    return next(rows) == next(rows) and sets[0] == sets[1]


def is_one_image(rows: Iterable[Row]) -> bool:
    """Whether rows of one name are of one image: no two say that a picture of theirs was another file."""
    known: dict[str, str] = {}
    return all(known.setdefault(name, digest) == digest for row in rows for name, digest in row.files.items())


def _other_files(runs: Sequence[Evaluated], kind: str) -> list[str]:
    """Images that runs have by name, and made of other files."""
    rows = [one.by_kind.get(kind, {}) for one in runs]
    common = sorted(set.intersection(*map(set, rows))) if len(rows) > 1 else []
    other = [name for name in common if not is_one_image(of[name] for of in rows)]
    if not other:
        return []
    return [
        f"data of {kind} images: {len(other)} of {len(common)} that all name were made of other files in one run than in "
        f"another, such as {other[0]}; they do not count as one image"
    ]


def networks_told(runs: Sequence[Evaluated]) -> list[str]:
    """The networks that figures were made through, such as "fid, unpaired: features.pt (0123abcd)"."""
    return [f"{name}: {', '.join(told)}" for name, told in _networks(runs).items()]


def network_of(one: Evaluated, kind: str, name: str) -> str:
    """The network that a figure of a run was made through; empty: it needs none, or the run has no such figure."""
    if name == LPIPS:
        return (one.run.networks.get(LPIPS) or NOT_NAMED) if one.values(kind, name) else ""
    of_set = one.of_set(kind, name) if name in OF_SET else None
    return "" if of_set is None else of_set.network or NOT_NAMED


def _networks(runs: Sequence[Evaluated]) -> dict[str, list[str]]:
    """The networks by figure; one text where all runs have one, else one per run that has the figure."""
    out = {}
    for title, names in {
        LPIPS: [(kind, LPIPS) for kind in KINDS],
        **{f"{name}, {kind}": [(kind, name)] for kind in KINDS for name in OF_SET},
    }.items():
        told = {one.label: next((n for n in (network_of(one, *of) for of in names) if n), "") for one in runs}
        found = {label: network for label, network in told.items() if network}
        if each := list(dict.fromkeys(found.values())):
            out[title] = each if len(each) == 1 else [f"{label} {network}" for label, network in found.items()]
    return out


def names_of(runs: Iterable[Evaluated]) -> list[str]:
    """The names of all values that any row has, in order."""
    return sorted({name for one in runs for name in one.names})


def _named(text: str) -> tuple[str, Path]:
    name, given, path = text.partition("=")
    if given and name and not Path(text).exists():
        return name, Path(path)
    return Path(text).absolute().name, Path(text)


def _read(label: str, path: Path) -> Evaluated:
    folder = RunFolder(path)
    run, rows = folder.run(), folder.rows()
    if not rows:
        raise EvaluationError(f"{path} holds no row yet; let `i2am evaluate` finish at least one image")
    return Evaluated(label, folder, run, tuple(rows), folder.summary())


def picture_of(one: Evaluated, row: Row) -> Path | None:
    """The generated picture of a row, if it is there."""
    try:
        path = one.folder.sample(row.key)
    except I2AMError:  # a name from a file of unknown origin
        return None
    return path if path.is_file() else None


def _short(value: object) -> str:
    return (" ".join(map(str, value)) if isinstance(value, tuple) else str(value)) or "none"
