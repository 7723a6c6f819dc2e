"""Starts the host once, loads the pack by its path, and runs graphs in it. Nothing of ours is on sys.path.

Test modules may import the host's own modules (``nodes``, ``comfy…``) and, from here, ``host_tests.<file>``.
"""

from __future__ import annotations

import atexit
import gc
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HOST = Path.cwd()
if not (HOST / "comfyui_version.py").is_file():
    raise pytest.UsageError(f"tests/host runs inside a ComfyUI, not in {HOST}: use `python tests/hosts.py`")

# the files beside this one as a package, so that they can import each other without an entry in sys.path
package = ModuleType("host_tests")
package.__path__ = [str(Path(__file__).resolve().parent)]
sys.modules[package.__name__] = package

SCRATCH = Path(tempfile.mkdtemp(prefix="i2am-host-"))
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)
from host_tests.boot import boot, load  # noqa: E402

SERVER = boot(SCRATCH)
MODULE = load()
from host_tests.adapters import FOLDER  # noqa: E402
from host_tests.graph import Graphs  # noqa: E402

collect_ignore = [] if FOLDER.is_dir() else ["test_ipadapter.py", "test_cut_ipadapter.py"]


def pytest_report_header() -> str:
    import comfyui_version
    import torch

    return f"ComfyUI {comfyui_version.__version__} in {HOST}, torch {torch.__version__}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this host has no part for: a skipped test counts as a failure, see tests/test_hosts.py."""
    lacking = [item for item in items if not all(mark.args[0] for mark in item.iter_markers("where"))]
    if lacking:
        config.hook.pytest_deselected(items=lacking)
        items[:] = [item for item in items if item not in lacking]


def pytest_collection_finish() -> None:
    """The host collects garbage after every graph: most of a short test's time, were all that it imported looked at again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def pack() -> ModuleType:
    """The loaded pack."""
    return MODULE


@pytest.fixture(scope="session")
def pack_nodes() -> dict[str, Any]:
    """Our node classes by id, as the host has registered them."""
    import nodes

    return {name: node for name, node in nodes.NODE_CLASS_MAPPINGS.items() if name.startswith("I2AM_")}


@pytest.fixture
def run_graph() -> Graphs:
    """Validates and executes API-format prompts; the calls of one test share a cache."""
    return Graphs(SERVER)
