"""The scripts of tests/browser: whether this machine can run them, and how.

They need a ComfyUI (see `hosts`), a Chromium, node, and playwright-core: `make playwright` brings the latter to
``.venv/browser`` with npm, outside ``web/`` and from a lock file; else the one in ``$NODE_PATH`` serves.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import hosts
from viewer_case import CHROMIUM

SCRIPTS = Path(__file__).parent / "browser"
MODULES = hosts.REPOSITORY / ".venv" / "browser" / "node_modules"
LOOK = "I2AM_LOOK"
"""The variable with the folder in which the scripts keep pictures of what they see."""


def environment() -> dict[str, str]:
    """Ours, so that the scripts find the browser and what drives it."""
    folders = [str(MODULES), *filter(None, [os.environ.get("NODE_PATH")])]
    return {**os.environ, "NODE_PATH": os.pathsep.join(folders), "CHROMIUM": CHROMIUM or ""}


@lru_cache(maxsize=1)
def missing() -> str:
    """What is missing to run them; empty: nothing."""
    if not hosts.find():
        return hosts.NONE.partition(",")[0]
    if CHROMIUM is None:
        return "no Chromium or Chrome on PATH"
    node = shutil.which("node")
    if node is None:
        return "no node on PATH"
    asked = [node, "-e", "require.resolve('playwright-core')"]
    found = subprocess.run(asked, capture_output=True, check=False, env=environment(), cwd=SCRIPTS)
    return "" if found.returncode == 0 else "no playwright-core, which `make playwright` brings where there is npm"


def summary() -> str:
    """One line: whether they can run."""
    return f"I²AM Explorer in a browser: {'skipped, ' + missing() if missing() else 'tried'}"


def run(script: str, options: Sequence[str], address: str, longest: int) -> dict[str, Any]:
    """What a script found at a ComfyUI, as it printed it.

    Raises:
        AssertionError: it ended with another status than 0.
    """
    command = ["node", str(SCRIPTS / script), *options]
    command += ["--look", os.environ[LOOK]] if LOOK in os.environ else []
    done = subprocess.run([*command, address], capture_output=True, text=True, timeout=longest, check=False, env=environment())
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return dict(json.loads(done.stdout.splitlines()[-1]))
