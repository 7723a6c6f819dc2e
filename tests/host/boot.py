"""The host, started in this process as its main.py starts it, but without listening and without a queue of its own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

PACK = Path(__file__).resolve().parents[2]


def boot(folder: Path) -> Any:
    """Start the host on the CPU with all its folders under ``folder``; the real PromptServer, which listens nowhere."""
    (folder / "custom_nodes").mkdir()
    folders = ["--base-directory", str(folder), "--database-url", "sqlite:///:memory:"]
    ours, sys.argv = sys.argv, ["main.py", "--cpu", *folders, "--disable-api-nodes"]
    try:
        import main  # noqa: F401 -- not as __main__: it reads the arguments and imports all in the host's own order
    finally:
        sys.argv = ours
    from server import PromptServer

    import nodes

    server = PromptServer(asyncio.new_event_loop())
    asyncio.run(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))
    return server


def load(folder: Path = PACK) -> ModuleType:
    """Load a pack by its path, as the host does with what lies in custom_nodes.

    Raises:
        RuntimeError: the host would have gone on without it.
    """
    import nodes

    if not asyncio.run(nodes.load_custom_node(str(folder))):
        raise RuntimeError(f"the host could not load {folder}: the reason is in its log, just above")
    return sys.modules[str(folder).replace(".", "_x_")]
