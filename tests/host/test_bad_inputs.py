"""Bad inputs in the real host: each gets a message that says what was seen and what to do; they make a table of the docs.

Write web/docs/errors.md anew, from the repository's root (the newest host runs last, so its table stays)::

    I2AM_BAD_INPUTS=$PWD/web/docs/errors.md .venv/bin/python tests/hosts.py test_bad_inputs.py
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import folder_paths
import pytest
from host_tests.bad_case import Said
from host_tests.bad_inputs import CASES, NO_ERRORS
from host_tests.boot import PACK
from host_tests.graph import Graphs
from host_tests.graph_bench import bench
from server import PromptServer

import nodes

TABLE = PACK / "web" / "docs" / "errors.md"
HEAD = """# What the nodes say when something does not fit

Each row was tried in a real ComfyUI by `tests/host/test_bad_inputs.py`, which also writes this page.
"""
NO_ERROR = """
## No error, but a note

| What was done | Node | Note |
|---|---|---|
"""


class Answers:
    """What the host says to each case; every graph runs once."""

    def __init__(self, pack: ModuleType, pack_nodes: dict[str, Any]) -> None:
        self.given = (pack, pack_nodes)
        self.known: dict[str, tuple[str, str]] = {}
        self.kinds: dict[str, str] = {}

    def to(self, name: str) -> tuple[str, str]:
        """The type of the node that speaks, and what it says."""
        if name not in self.known:
            with tempfile.TemporaryDirectory() as folder:
                node, said = self._ask(name, Path(folder))
                for place in (Path(folder), *map(Path, folder_paths.get_folder_paths("checkpoints"))):
                    said = said.replace(f"{place.resolve()}{os.sep}", "…/")
                self.known[name] = node, " ".join(said.split())
        return self.known[name]

    def _ask(self, name: str, folder: Path) -> tuple[str, str]:
        case = CASES.get(name) or NO_ERRORS[name]
        with bench(*self.given, folder) as made:
            prompt = case.make(made)
            run = Graphs(PromptServer.instance)
            if isinstance(case, Said):
                last = list(prompt)[-1]
                said = run(prompt, give=made.give, watch={"said": (last, case.output)})["said"]
                return prompt[last]["class_type"], said if isinstance(said, str) else "; ".join(said.notes)
            error = run(prompt, give=made.give, watch={key: (key, 0) for key in prompt}, expect_error=True).error
            assert error is not None
            self.kinds[name] = error.type
            return error.node_type, error.message


@pytest.fixture(scope="module")
def answers(pack: ModuleType, pack_nodes: dict[str, Any]) -> Answers:
    return Answers(pack, pack_nodes)


@pytest.mark.parametrize("name", CASES)
def test_the_message_says_what_was_seen_and_what_to_do(answers: Answers, name: str) -> None:
    node, said = answers.to(name)
    assert node == CASES[name].node, said
    assert re.search(CASES[name].says, said), said


@pytest.mark.parametrize("name", CASES)
def test_no_path_stands_before_the_message(answers: Answers, name: str) -> None:
    answers.to(name)
    assert re.fullmatch(r"i2am\.\w+|\w+", answers.kinds[name])


@pytest.mark.parametrize("name", NO_ERRORS)
def test_what_is_no_error_is_still_said(answers: Answers, name: str) -> None:
    node, said = answers.to(name)
    assert node == NO_ERRORS[name].node
    assert re.search(NO_ERRORS[name].says, said), said


def test_every_node_has_its_bad_inputs(pack_nodes: dict[str, Any]) -> None:
    assert set(pack_nodes) - {case.node for case in CASES.values()} == set()


def table(answers: Answers) -> str:
    """The page: every case, in the order of the list."""
    lines = ["", "| What was done | Node | Message |", "|---|---|---|"]
    lines += [_row(case.did, *answers.to(name)) for name, case in CASES.items()]
    notes = [_row(said.did, said.node, _first(said.says, answers.to(name)[1])) for name, said in NO_ERRORS.items()]
    return HEAD + "\n".join(lines) + "\n" + NO_ERROR + "\n".join(notes) + "\n"


def _first(wanted: str, said: str) -> str:
    found = re.search(wanted, said)
    return found[0] if found else said


def _row(did: str, node: str, said: str) -> str:
    fence = "``" if "`" in said else "`"
    shown = nodes.NODE_DISPLAY_NAME_MAPPINGS.get(node, node)
    cells = (cell.replace("|", "\\|") for cell in (did, shown, f"{fence}{said}{fence}"))  # a bar would end the cell
    return f"| {' | '.join(cells)} |"


def test_the_page_says_what_the_host_says(answers: Answers) -> None:
    written = table(answers)
    if "I2AM_BAD_INPUTS" in os.environ:
        Path(os.environ["I2AM_BAD_INPUTS"]).write_text(written, encoding="utf-8")
    else:
        assert written.splitlines() == TABLE.read_text(encoding="utf-8").splitlines(), f"see {__doc__}"
