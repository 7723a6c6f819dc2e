"""What the registry, pip and the host read of the pack is one and the same."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import i2am

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_one_version() -> None:
    found = re.search(r'^version = "(.+)"$', PROJECT, re.MULTILINE)
    assert found is not None
    assert found[1] == i2am.__version__


def test_the_oldest_host_that_is_promised_is_the_same_everywhere() -> None:
    found = re.search(r'^requires-comfyui = ">=(.+)"$', PROJECT, re.MULTILINE)
    assert found is not None
    assert f"ComfyUI ({found[1]} and newer)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_entry_point_imports_nothing_of_ours_or_of_torch() -> None:
    code = "import runpy, sys; runpy.run_path('__init__.py'); print({n.split('.')[0] for n in sys.modules} & {'torch', 'i2am'})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_nodes_import_the_library_relatively_and_never_diffusers() -> None:
    for path in (ROOT / "nodes").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(from|import) (i2am|diffusers)\b", text, re.MULTILINE), path.name


def test_only_the_host_module_touches_comfyui() -> None:
    for path in (ROOT / "i2am").rglob("*.py"):
        if "comfy" not in path.parts:
            assert not re.search(r"^\s*(from|import) comfy", path.read_text(encoding="utf-8"), re.MULTILINE), path


def test_the_wheel_holds_the_library_whole_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    for folder in ("i2am", "web/viewer"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([*build, str(source)], check=True, capture_output=True, timeout=300)
    unpacked = tmp_path / "site"
    with zipfile.ZipFile(next(tmp_path.glob("i2am-*.whl"))) as wheel:
        wheel.extractall(unpacked)
    found = {str(p.relative_to(unpacked)) for p in unpacked.rglob("*") if p.is_file() and "dist-info" not in str(p)}
    code = {str(p.relative_to(ROOT)) for p in (ROOT / "i2am").rglob("*.py")}
    weights = {str(p.relative_to(ROOT)) for p in (ROOT / "i2am" / "models" / "demo" / "weights").iterdir()}
    weights |= {str(p.relative_to(ROOT)) for p in (ROOT / "i2am" / "demo" / "card").glob("*.json")}
    viewer = {f"i2am/_viewer/{p.name}" for p in (ROOT / "web" / "viewer").iterdir()}
    assert found == code | weights | viewer
    told = subprocess.run(
        [sys.executable, "-c", "import i2am.outputs.report as r; print(r._viewer_folder())"],
        cwd=tmp_path, env={"PYTHONPATH": str(unpacked), "PATH": ""}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.strip() == str(unpacked / "i2am" / "_viewer")
