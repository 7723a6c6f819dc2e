"""The pack is loaded as the host loads it, and every node says what a user has to know."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import comfyui_version
import pytest
from host_tests.boot import PACK, load

import nodes

ALONE = """
import importlib.util, sys
before = set(sys.modules)
spec = importlib.util.spec_from_file_location("pack", sys.argv[1] + "/__init__.py", submodule_search_locations=[sys.argv[1]])
sys.modules["pack"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(*sorted(name for name in set(sys.modules) - before if name.split(".")[0] not in sys.stdlib_module_names))
"""


def inputs(node: Any) -> dict[str, tuple[Any, ...]]:
    """The inputs of a node that a user sees, by name."""
    types = node.INPUT_TYPES()
    return {**types.get("required", {}), **types.get("optional", {})}


def test_this_is_the_host() -> None:
    host = Path.cwd()
    assert Path(nodes.__file__).resolve() == (host / "nodes.py").resolve()
    assert Path(comfyui_version.__file__).resolve().parent == host.resolve()


def test_nothing_of_ours_is_a_top_level_module(pack: ModuleType) -> None:
    assert str(PACK) not in {str(Path(entry or ".").resolve()) for entry in sys.path}
    assert "i2am" not in sys.modules
    assert Path(pack.__file__ or "") == PACK / "__init__.py"


def test_the_pack_alone_imports_nothing() -> None:
    command = [sys.executable, "-c", ALONE, str(PACK)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["pack"]


def test_the_host_registered_what_the_pack_lists(pack: ModuleType, pack_nodes: dict[str, Any]) -> None:
    async def listed() -> list[Any]:
        return await (await pack.comfy_entrypoint()).get_node_list()

    classes = asyncio.run(listed())
    assert {node.GET_SCHEMA().node_id: node for node in classes} == pack_nodes


def test_a_copy_under_an_odd_name_loads_beside_it(pack: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for table in ("NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "EXTENSION_WEB_DIRS", "LOADED_MODULE_DIRS"):
        monkeypatch.setattr(nodes, table, {})
    copy = tmp_path / "ComfyUI i2am-1.0 (copy)"
    copy.symlink_to(PACK, target_is_directory=True)
    second = load(copy)
    assert second is not pack
    assert set(nodes.EXTENSION_WEB_DIRS) == {copy.name}
    classes = list(nodes.NODE_CLASS_MAPPINGS.values())
    assert all(node.__module__.startswith(second.__name__) for node in classes)
    assert all(f"custom_nodes.{copy.name}" == node.RELATIVE_PYTHON_MODULE for node in classes)


def test_the_scripts_are_registered_once(pack: ModuleType) -> None:
    ours = [Path(folder) for folder in nodes.EXTENSION_WEB_DIRS.values() if PACK in Path(folder).resolve().parents]
    assert ours == [(PACK / pack.WEB_DIRECTORY)]


def test_every_node_has_a_name_and_our_category(pack_nodes: dict[str, Any]) -> None:
    shown = nodes.NODE_DISPLAY_NAME_MAPPINGS
    assert [name for name in pack_nodes if shown.get(name, name) == name] == []
    assert {name: node.CATEGORY for name, node in pack_nodes.items() if node.CATEGORY != "I2AM"} == {}


def test_every_input_has_a_tooltip(pack_nodes: dict[str, Any]) -> None:
    silent = [
        f"{name}.{field}"
        for name, node in pack_nodes.items()
        for field, (_, *options) in inputs(node).items()
        if not (options and options[0].get("tooltip"))
    ]
    assert silent == []


def test_a_reference_is_called_a_picture_or_a_number_and_never_both(pack_nodes: dict[str, Any]) -> None:
    word = {"IMAGE": "picture", "INT": "number"}
    for name, node in pack_nodes.items():
        called = {}
        for field, (kind, *options) in inputs(node).items():
            if field in ("reference", "reference_image", "reference_index", "reference_2", "reference_3"):
                called[field] = (options[0] if options else {}).get("display_name", field)
                assert called[field].startswith("reference")
                assert called[field].endswith(word[kind]), f"{name}.{field}"
        assert len(set(called.values())) == len(called), name


def test_every_node_has_a_help_page(pack_nodes: dict[str, Any]) -> None:
    assert [name for name in pack_nodes if not (PACK / "web" / "docs" / f"{name}.md").is_file()] == []
