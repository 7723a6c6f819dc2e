"""Evaluations of the demo model on a few drawn pairs, from the command line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from feature_networks import Features, Unlike, scripted

from i2am.commands.cli import main
from i2am.data.demo_folder import write_demo_folder
from i2am.evaluation.facts import Key, Row, Summary
from i2am.evaluation.run_folder import RunFolder

PAIRS = 4
"""Of each kind."""


def drawn(folder: Path) -> Path:
    """A data set of drawn pairs."""
    return write_demo_folder(folder, 0, PAIRS)


def networks(folder: Path) -> list[str]:
    """Options that name small networks, which are written to a folder."""
    features, lpips = scripted(Features(), folder / "features.pt"), scripted(Unlike(), folder / "lpips.pt")
    return ["--features", str(features), "--lpips", str(lpips)]


def evaluated(data: Path, out: Path, *options: str) -> RunFolder:
    """The folder of a run that came to its end."""
    steps = () if "--steps" in options else ("--steps", "2")
    assert main(["evaluate", str(data), *steps, "--out", str(out), *options]) == 0
    return RunFolder(out)


def untimed(rows: Iterable[Row]) -> dict[Key, Row]:
    """Rows by key, without the seconds that they took."""
    return {row.key: row.model_copy(update={"seconds": {}}) for row in rows}


def figures(folder: RunFolder) -> Summary:
    """The summary without seconds."""
    summary = folder.summary()
    assert summary is not None
    return Summary(kinds={kind: one.model_copy(update={"seconds": {}}) for kind, one in summary.kinds.items()})


def samples(folder: RunFolder) -> dict[str, bytes]:
    """The files of all pictures and maps, by their paths in the folder."""
    files = [path for part in ("samples", "maps") for path in (folder.path / part).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in files}
