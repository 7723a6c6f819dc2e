"""The pack in a real ComfyUI server, started as a user starts it, from a custom_nodes folder of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

import hosts
import pytest
from test_hosts import each_host

NAME = "ComfyUI-i2am-1.0_(copy)"  # no spaces: below such a folder the host finds nodes, but aiohttp serves no scripts
FRONTEND = "I2AM_FRONTEND"
"""The variable with the folder of another interface than the host's own: ``static`` of a comfyui-frontend-package."""
PATIENCE = 300  # seconds until the server answers; 10 on an idle machine


@contextmanager
def served(host: hosts.Host, base: Path) -> Iterator[str]:
    """The address of a ComfyUI whose folders all lie in ``base``, with the pack among its custom nodes."""
    for folder in ("custom_nodes", "user"):
        (base / folder).mkdir()
    (base / "custom_nodes" / NAME).symlink_to(hosts.REPOSITORY, target_is_directory=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(host.python), "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port), "--disable-api-nodes"]
    folders = ["--base-directory", str(base), "--database-url", f"sqlite:///{base / 'user' / 'comfyui.db'}"]
    folders += ["--front-end-root", os.environ[FRONTEND]] if FRONTEND in os.environ else []
    log = base / "log.txt"
    with log.open("w") as out:
        environment = host.environment(base)
        server = subprocess.Popen(
            [*command, *folders], cwd=host.folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        wait(f"http://127.0.0.1:{port}/queue", server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the server answers; fail with the end of its log when it ended or took too long."""
    until = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < until:
        try:
            with urlopen(address, timeout=30):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"no answer from {address}:\n{log.read_text(errors='replace')[-8000:]}", pytrace=False)


def get(address: str) -> bytes:
    with urlopen(address, timeout=60) as answer:
        return bytes(answer.read())


@each_host
def test_the_server_offers_our_nodes_and_their_help(host: hosts.Host, tmp_path: Path) -> None:
    before = sorted(os.listdir(host.folder))
    with served(host, tmp_path) as address:
        known: dict[str, Any] = json.loads(get(f"{address}/object_info"))
        ours = [name for name, node in known.items() if node["python_module"] == f"custom_nodes.{NAME}"]
        if not ours:
            log = (tmp_path / "log.txt").read_text(errors="replace")
            pytest.fail(f"the server knows {len(known)} nodes and none of {NAME}; its log ends:\n{log[-4000:]}", pytrace=False)
        assert all(name.startswith("I2AM_") for name in ours)
        scripts = json.loads(get(f"{address}/extensions"))
        script = f"/extensions/{quote(NAME)}/viewer/page.js"
        assert script in scripts
        assert get(address + script)
        for name in ours:
            assert get(f"{address}/extensions/{quote(NAME)}/docs/{name}.md").strip()
    assert sorted(os.listdir(host.folder)) == before
