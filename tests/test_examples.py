"""The examples in the library's docstrings run and show what they promise."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest

import i2am

LOADERS = "i2am.hosts.comfy.loaders"
"""These subclass the host's classes, so only a host can import them."""
FEWEST = 12


def modules() -> list[str]:
    found = (x.name for x in pkgutil.walk_packages(i2am.__path__, "i2am."))
    return [name for name in found if not name.startswith(LOADERS) and not name.endswith("__main__")]


def examples(name: str) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder(exclude_empty=True).find(import_module(name)) if test.examples]


@pytest.fixture(scope="module")
def found() -> dict[str, list[doctest.DocTest]]:
    return {name: tests for name in modules() if (tests := examples(name))}


def test_the_examples_hold(found: dict[str, list[doctest.DocTest]]) -> None:
    runner, said = doctest.DocTestRunner(verbose=False), []
    for tests in found.values():
        for test in tests:
            runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


def test_there_are_examples(found: dict[str, list[doctest.DocTest]]) -> None:
    assert sum(len(test.examples) for tests in found.values() for test in tests) >= FEWEST
    assert {name.split(".")[1] for name in found} >= {"geometry", "levels", "scores", "pictures", "outputs"}
