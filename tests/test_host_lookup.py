"""Where hosts are looked for, and which Python they run in."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hosts
import pytest


@pytest.fixture(autouse=True)
def nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(hosts, "REPOSITORY", tmp_path / "elsewhere" / "i2am")
    monkeypatch.setattr(hosts, "__file__", str(tmp_path / "elsewhere" / "i2am" / "tests" / "hosts.py"))
    monkeypatch.delenv("COMFYUI_PATH", raising=False)


def comfyui(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True)
    for name in ("main.py", "nodes.py"):
        (folder / name).touch()
    (folder / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
    return folder


def test_none() -> None:
    assert hosts.find() == []
    assert hosts.summary().startswith("ComfyUI hosts: skipped: no ComfyUI at $COMFYUI_PATH")


def test_each_place_once_and_by_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = comfyui(tmp_path / "a", "0.33.0"), comfyui(tmp_path / "b", "0.8.0")
    home = comfyui(tmp_path / "home" / "comfy" / "ComfyUI-1", "1.0.0")
    (tmp_path / "home" / "comfy" / "ComfyUI-models").mkdir()
    around = comfyui(tmp_path / "around", "0.9.0")
    monkeypatch.setattr(hosts, "REPOSITORY", around / "custom_nodes" / "i2am")
    monkeypatch.setenv("COMFYUI_PATH", os.pathsep.join(map(str, (one, two, home))))
    assert [host.folder for host in hosts.find()] == [two, around, one, home]
    assert hosts.summary() == "ComfyUI hosts: 0.8.0 not run, 0.9.0 not run, 0.33.0 not run, 1.0.0 not run"


def test_two_of_one_version_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = [comfyui(tmp_path / name, "0.33.0") for name in ("a", "b")]
    monkeypatch.setenv("COMFYUI_PATH", os.pathsep.join(map(str, pair)))
    assert [host.version for host in hosts.find()] == [f"0.33.0 in {folder}" for folder in pair]


def test_its_own_python_or_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = comfyui(tmp_path / "a", "0.33.0")
    monkeypatch.setenv("COMFYUI_PATH", str(folder))
    assert hosts.find()[0].python == Path(sys.executable)
    own = folder / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.touch()
    assert hosts.find()[0].python == own


def test_a_path_without_a_host_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"\$COMFYUI_PATH names .* which holds no main.py"):
        hosts.find()
