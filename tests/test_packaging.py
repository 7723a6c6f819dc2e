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

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

ROOT = Path(__file__).parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


WHOLE = tomllib.loads(read("pyproject.toml"))
PROJECT, TOOL = WHOLE["project"], WHOLE["tool"]


def test_one_version() -> None:
    assert PROJECT["version"] == i2am.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", i2am.__version__)  # the registry takes nothing else


def test_the_newest_released_version_in_the_changelog_is_ours() -> None:
    released = re.findall(r"^## \[?(\d+\.\d+\.\d+)", read("CHANGELOG.md"), re.MULTILINE)
    assert released[:1] == [i2am.__version__]


def test_the_oldest_host_that_is_promised_is_the_same_everywhere() -> None:
    oldest = TOOL["comfy"]["requires-comfyui"].removeprefix(">=")
    assert f"ComfyUI ({oldest} and newer)" in read("README.md")


def test_the_registry_gets_what_it_asks_for() -> None:
    """As in its specification of pyproject.toml; Icon, Banner and Repository are addresses that are not known yet."""
    assert re.fullmatch(r"[A-Za-z](?!.*[-_.]{2})[\w.-]{0,98}", PROJECT["name"])
    assert TOOL["comfy"].keys() >= {"PublisherId", "DisplayName", "requires-comfyui", "includes"}
    assert all(TOOL["comfy"][key].strip() for key in ("PublisherId", "DisplayName"))
    assert "Operating System :: OS Independent" in PROJECT["classifiers"]
    assert PROJECT["license"] == "MIT"
    assert read("LICENSE").startswith("MIT License")
    assert (ROOT / PROJECT["readme"]).is_file()


def test_the_host_installs_what_the_library_asks_for() -> None:
    """The host installs requirements.txt, in the pack's folder; it has the rest itself."""
    assert set(read("requirements.txt").split()) <= set(PROJECT["dependencies"])


def test_the_pythons_that_are_promised_are_the_same_everywhere() -> None:
    promised = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", name)]
    assert PROJECT["requires-python"] == f">={promised[0]}"
    assert TOOL["mypy"]["python_version"] == promised[0]
    assert TOOL["ruff"]["target-version"] == f"py{promised[0].replace('.', '')}"
    (matrix,) = re.findall(r"python: \[(.+)\]", read(".github/workflows/test.yml"))
    assert [name.strip(' "') for name in matrix.split(",")] == promised


def test_the_entry_point_imports_nothing_of_ours_or_of_torch() -> None:
    code = "import runpy, sys; runpy.run_path('__init__.py'); print({n.split('.')[0] for n in sys.modules} & {'torch', 'i2am'})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_beside_a_clone_its_folder_gives_the_library(tmp_path: Path) -> None:
    """Where a clone named i2am lies in the current folder, Python finds the clone's own folder first."""
    (tmp_path / "i2am").symlink_to(ROOT)
    code = "import i2am, i2am.errors as e; from i2am import I2AMError; assert I2AMError is e.I2AMError; print(i2am.__version__)"
    for command in (["-c", code], ["-m", "i2am", "--version"]):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[-1] == PROJECT["version"]


def test_the_host_loads_no_script_but_the_viewers_and_the_nodes() -> None:
    """It loads every *.js below web/ into its page: a lint configuration or node_modules there would go along."""
    scripts = list((ROOT / "web").rglob("*.js"))
    assert {path.parent for path in scripts} == {ROOT / "web", ROOT / "web" / "viewer"}
    for path in scripts:
        if path.parent == ROOT / "web":
            assert "app.registerExtension(" in path.read_text(encoding="utf-8"), f"{path} is no extension of the host's page"


def test_every_package_is_listed() -> None:
    listed = set(TOOL["setuptools"]["packages"])
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "i2am").rglob("__init__.py")}
    assert listed == {*folders, "i2am._viewer"}


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
    code = {str(p.relative_to(ROOT)) for p in (ROOT / "i2am").rglob("*.py")} | {"i2am/py.typed"}
    models = [ROOT / "i2am" / "models" / name / "weights" for name in ("demo", "edit")]
    weights = {str(p.relative_to(ROOT)) for folder in models for p in folder.iterdir()}
    assert "i2am/models/edit/weights/edit.safetensors" in weights
    weights |= {str(p.relative_to(ROOT)) for p in (ROOT / "i2am" / "demo" / "card").glob("*.json")}
    viewer = {f"i2am/_viewer/{p.name}" for p in (ROOT / "web" / "viewer").iterdir()}
    assert found == code | weights | viewer
    told = subprocess.run(
        [sys.executable, "-c", "import i2am.outputs.page as p; print(p._viewer_folder())"],
        cwd=tmp_path, env={"PYTHONPATH": str(unpacked), "PATH": ""}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.strip() == str(unpacked / "i2am" / "_viewer")
