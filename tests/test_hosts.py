"""tests/host inside every ComfyUI of this machine: nothing may fail there, and nothing may be skipped."""

from __future__ import annotations

import hosts
import pytest

FILES = sorted(path.name for path in hosts.TESTS.glob("test_*.py"))
HERE = hosts.find()
NOWHERE = [pytest.param(None, marks=pytest.mark.skip(reason=hosts.NONE), id="no ComfyUI")]
each_host = pytest.mark.parametrize("host", [pytest.param(host, id=host.version) for host in HERE] or NOWHERE)


@pytest.fixture
def marked(pytestconfig: pytest.Config) -> str:
    """The expression of ``-m``, which holds inside the hosts too."""
    return pytestconfig.option.markexpr


@each_host
def test_the_run(host: hosts.Host, marked: str) -> None:
    """The whole of tests/host was collected, ran and passed."""
    done = hosts.result(host, marked)
    if done.code or not done.count("passed") or done.count("skipped"):
        why = f"pytest ended with {done.code} in ComfyUI {host.version} ({host.python}): {done}, where all must pass"
        pytest.fail(f"{why}\n{done.tail}", pytrace=False)


@pytest.mark.parametrize("file", FILES)
@each_host
def test_file(host: hosts.Host, file: str, marked: str) -> None:
    """What one file of tests/host gave, with the host's own report of each failure."""
    done = hosts.result(host, marked)
    if done.code > 1 or not done.cases:
        pytest.fail(f"the run in ComfyUI {host.version} broke off: see test_the_run[{host.version}]", pytrace=False)
    if file in host.lacks:
        pytest.skip(f"ComfyUI {host.version} has no {host.lacks[file]} in its custom_nodes")
    mine = [case for case in done.cases if case.file == file]
    bad = [f"{case.name} {case.outcome}\n{case.text}" for case in mine if case.outcome != "passed"]
    if bad:
        pytest.fail("\n\n".join(bad), pytrace=False)
    assert mine or marked, f"{file} has no test that ran in ComfyUI {host.version}"
