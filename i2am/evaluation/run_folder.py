"""What an evaluation leaves on disk: a folder with a row per image, written so that no kill loses or doubles one.

    OUT/run.json                        `Run`: what was evaluated, and how
    OUT/rows/<process>.jsonl            `Row`: a line per image, a file per process
    OUT/samples/<kind>/<name>.png       the generated picture, 8 bits
    OUT/maps/<kind>/<name>.safetensors  its raw maps by side, (h, w) float32: "R2G" and "G2R" where there are any
    OUT/findings.json                   every problem of the data set's pairs, and the names left out, by kind
    OUT/summary.json                    `Summary`: the figures of the data set; written anew at the end of every run

A kind is "paired" (the person wears the garment) or "unpaired"; a name is unique within its kind.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ..data.text import not_utf8
from ..errors import I2AMError
from ..outputs.locked import locked
from ..outputs.names import inside
from .errors import EvaluationError
from .facts import FORMAT, Key, Part, Row, Run, Summary, first_error
from .rows import RowWriter, read_rows

RUN, ROWS, SAMPLES, MAPS, FINDINGS, SUMMARY = "run.json", "rows", "samples", "maps", "findings.json", "summary.json"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
T = TypeVar("T", bound=Part)

log = logging.getLogger("i2am")


class RunFolder:
    """The folder of one evaluation; see the module's text for what lies in it."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @property
    def exists(self) -> bool:
        """Whether an evaluation was begun here."""
        return (self.path / RUN).is_file()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other evaluations out of the folder while the block runs; a kill lets go of it.

        Raises:
            EvaluationError: another one is at work in it.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.path / RUN, patience=0))
            except I2AMError as error:
                raise EvaluationError(
                    f"another `i2am evaluate` is at work in {self.path}; wait for its end, or give another --out"
                ) from error
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                log.warning(
                    "%s lies on a drive without locks (%s): start no second evaluation in it", self.path, error.strerror
                )
            yield

    def run(self) -> Run:
        """What was evaluated.

        Raises:
            EvaluationError: there is no such file, or it is none.
        """
        found = self._read(RUN, Run)
        if found.format > FORMAT:
            raise EvaluationError(
                f"{self.path / RUN} has format {found.format}, this version of I2AM reads up to {FORMAT}; install a newer one"
            )
        return found

    def summary(self) -> Summary | None:
        """The figures of the data set; None: the run has not come to its end.

        Raises:
            EvaluationError: the file is none.
        """
        return self._read(SUMMARY, Summary) if (self.path / SUMMARY).is_file() else None

    def rows(self) -> list[Row]:
        """A row per image, by kind and name.

        Raises:
            EvaluationError: as `read_rows`.
        """
        return read_rows(self.path / ROWS)

    def sample(self, key: Key) -> Path:
        """Where an image's generated picture lies, or will.

        Raises:
            I2AMError: the name leads out of the folder.
        """
        return inside(self.path / SAMPLES / key[0], f"{key[1]}.png")

    def maps(self, key: Key) -> dict[str, Tensor]:
        """An image's raw maps by side, (h, w); none: none were kept.

        Raises:
            EvaluationError: the file is damaged.
            I2AMError: the name leads out of the folder.
        """
        path = self._maps(key)
        try:
            return load_file(path) if path.is_file() else {}
        except SafetensorError as error:
            raise EvaluationError(f"{path} holds no maps ({error}); delete it and its row to have it made again") from error

    def write_run(self, run: Run) -> None:
        """Write what is evaluated, whole or not at all."""
        write_whole(self.path / RUN, _json(run))

    def write_findings(self, findings: Mapping[str, Mapping[str, Any]]) -> None:
        """Write what is wrong with the data set's pairs, by kind, whole or not at all."""
        write_whole(self.path / FINDINGS, _plain(findings))

    def write_summary(self, summary: Summary) -> None:
        """Write the figures of the data set, whole or not at all."""
        write_whole(self.path / SUMMARY, _json(summary))

    def write_maps(self, key: Key, maps: Mapping[str, Tensor]) -> None:
        """Keep an image's raw maps, (h, w) by side, whole or not at all."""
        write_whole(self._maps(key), save({side: values.contiguous() for side, values in maps.items()}))

    def writer(self, process: int = 0) -> RowWriter:
        """What adds rows to this process's own file."""
        return RowWriter(self.path / ROWS / f"{process}.jsonl")

    def _maps(self, key: Key) -> Path:
        return inside(self.path / MAPS / key[0], f"{key[1]}.safetensors")

    def _read(self, name: str, what: type[T]) -> T:
        path = self.path / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise EvaluationError(f"there is no {path}; give a folder that `i2am evaluate` wrote to") from None
        if why := not_utf8(content):
            raise EvaluationError(f"{path} {why}")
        try:
            return what.model_validate_json(content.decode("utf-8-sig"))
        except ValidationError as error:
            raise EvaluationError(
                f"{path} is not what `i2am evaluate` writes ({first_error(error)}); evaluate again"
            ) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: beside it first, then in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    draft.write_bytes(content)
    draft.replace(path)


def missing_of(rows: Iterable[Row], keys: Iterable[Key], folder: RunFolder) -> list[Key]:
    """The images that have no row yet, or no picture, in the order given."""
    done = {row.key for row in rows}
    return [key for key in keys if key not in done or not folder.sample(key).is_file()]


def _json(value: Part) -> bytes:
    return _plain(value.model_dump(mode="json"))


def _plain(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
