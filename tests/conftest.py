"""What all tests share: tests/host runs elsewhere, and the last line says how it went there."""

from __future__ import annotations

import hosts
import pytest

collect_ignore = ["host"]  # test_hosts.py runs these inside ComfyUI
wanted = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: only in make test-full")


def pytest_collection_finish(session: pytest.Session) -> None:
    session.config.stash[wanted] = any(item.path.name == "test_hosts.py" for item in session.items)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Below pytest's own count, so that it really is the last line."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal and config.stash.get(wanted, False) and not config.option.collectonly:
        terminal.write_line(hosts.summary())
