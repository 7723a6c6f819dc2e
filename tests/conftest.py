"""What all tests share: tests/host runs elsewhere, and the last line says how it went there."""

from __future__ import annotations

import browsers
import hosts
import pytest
import torch

collect_ignore = ["host"]  # test_hosts.py runs these inside ComfyUI
wanted = pytest.StashKey[bool]()
BROWSED = ("test_explorer_in_browser.py", "test_explorer_whole.py", "test_explorer_compare.py")
browsed = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: only in make test-full")
    torch.set_num_threads(1)  # tiny models are slower on many threads, and the hosts run beside


def _of_hosts(item: pytest.Item) -> bool:
    return item.path.name == "test_hosts.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The hosts' results last: they run beside all other tests."""
    items.sort(key=_of_hosts)


def pytest_collection_finish(session: pytest.Session) -> None:
    config = session.config
    config.stash[wanted] = any(_of_hosts(item) for item in session.items) and not config.option.collectonly
    config.stash[browsed] = any(item.path.name in BROWSED for item in session.items) and not config.option.collectonly
    if config.stash[wanted]:
        hosts.start(config.option.markexpr)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Below pytest's own count, so that it really is the last line."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal and config.stash.get(browsed, False):
        terminal.write_line(browsers.summary())
    if terminal and config.stash.get(wanted, False):
        terminal.write_line(hosts.summary())
    hosts.stop()
