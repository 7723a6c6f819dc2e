"""The library's public face: every name is there, and is loaded when it is first used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import i2am

SOURCE = Path(i2am.__file__)
HEAVY = {"torch", "diffusers", "cv2", "PIL", "numpy", "safetensors"}


def loaded_by(code: str) -> set[str]:
    """The modules that a statement loads in a fresh Python."""
    program = f"import sys; before = set(sys.modules); {code}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], cwd=SOURCE.parents[1], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", i2am.__all__)
def test_every_name_is_found_in_its_room(name: str) -> None:
    value = getattr(i2am, name)
    assert getattr(value, "__name__", name) == name
    assert name in dir(i2am)


def test_what_type_checkers_see_is_what_is_found_at_run_time() -> None:
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == i2am._ROOM_OF
    assert sorted(seen) == sorted(i2am.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'ulan'"):
        i2am.ulan  # noqa: B018


def test_importing_the_library_loads_nothing_else() -> None:
    loaded = loaded_by("import i2am")
    assert {name for name in loaded if name.startswith("i2am")} == {"i2am"}
    assert not HEAVY & loaded


def test_a_name_loads_its_own_room_and_what_that_needs() -> None:
    loaded = loaded_by("from i2am import imacs_pair, sram")
    assert "torch" in loaded
    assert not {"cv2", "diffusers"} & loaded
    assert not {name for name in loaded if name.startswith(("i2am.pictures", "i2am.outputs", "i2am.hosts"))}
