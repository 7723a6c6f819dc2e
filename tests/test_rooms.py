"""Imports run one way between the rooms of `i2am/`, and each rule about them can fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rooms import (
    LONGEST,
    absolute_imports,
    arrows_back,
    demo_imports,
    heavy_modules,
    host_imports,
    long_files,
    networks_in_nodes,
    unplaced_rooms,
)

ROOT = Path(__file__).parents[1]
Rule = Callable[[Path], list[str]]

RULES = (
    arrows_back,
    unplaced_rooms,
    host_imports,
    absolute_imports,
    demo_imports,
    networks_in_nodes,
    long_files,
)

# by rule: a file, its text, and what the rule says of it, which is nothing where the text keeps it
CASES: dict[Rule, list[tuple[str, str, str]]] = {
    arrows_back: [
        ("i2am/maps/value.py", "from ..levels.heat import fit", "value.py:1: maps imports i2am.levels.heat.fit"),
        ("i2am/maps/value.py", "def f():\n    from .. import levels", "value.py:2: maps imports i2am.levels"),
        ("i2am/levels/heat.py", "from ..recording import recorder", "levels imports i2am.recording.recorder"),
        ("i2am/demo/train/vae.py", "from ...commands.run import x", "demo imports i2am.commands.run.x of commands"),
        ("i2am/demo/run.py", "import i2am.commands.run", "run.py:1: demo imports i2am.commands.run of commands"),
        ("i2am/maps/file.py", "from .. import __version__", "maps imports i2am.__version__ of __init__"),
        ("i2am/__init__.py", "from .demo.run import run", "__init__ imports i2am.demo.run.run of demo"),
        ("i2am/attic/old.py", "from ..maps import value", ""),
        ("i2am/maps/file.py", "from ..attic import old", ""),
        ("i2am/levels/heat.py", "from ..maps.value import x\nfrom .grids import y\nimport torch", ""),
        ("i2am/commands/cli.py", "from .. import __version__", ""),
    ],
    unplaced_rooms: [
        ("i2am/attic/old.py", "", "i2am/attic has no place"),
        ("i2am/loose.py", "", "i2am/loose has no place"),
        ("i2am/maps/value.py", "", "ORDER names levels, which is not in i2am/"),
    ],
    host_imports: [
        ("i2am/hosts/registry.py", "def f():\n    import comfy.utils", "registry.py:2: imports comfy.utils"),
        ("i2am/levels/heat.py", "from comfy_api.latest import io", "imports comfy_api.latest.io of ComfyUI"),
        ("i2am/outputs/names.py", "import folder_paths as f", "imports folder_paths of ComfyUI"),
        ("i2am/hosts/diffusers/tryon.py", "import nodes", "imports nodes of ComfyUI"),
        ("i2am/hosts/comfy/loaders/demo.py", "import comfy.sd", ""),
        ("i2am/hosts/registry.py", "from . import comfy", ""),
    ],
    absolute_imports: [
        ("nodes/base.py", "from i2am.errors import I2AMError", "base.py:1: imports i2am.errors.I2AMError"),
        ("i2am/levels/heat.py", "import i2am.maps", "imports i2am.maps"),
        ("nodes/load.py", "def f():\n    import diffusers", "nodes/load.py:2: imports diffusers"),
        ("nodes/load.py", "from ..i2am.errors import I2AMError", ""),
    ],
    demo_imports: [
        ("nodes/demo.py", "from ..i2am.demo.run import run", "nodes/demo.py:1: imports i2am.demo.run.run"),
        ("nodes/demo.py", "from ..i2am import commands", "imports i2am.commands"),
        ("i2am/commands/run.py", "def f():\n    from ..demo import run", "run.py:2: imports i2am.demo.run"),
        ("i2am/commands/demo.py", "from ..demo import run", "i2am/commands/demo.py:1: imports i2am.demo.run"),
        ("i2am/commands/demo.py", "def f():\n    from ..demo import run", ""),
        ("i2am/commands/cause.py", "from ..demo import cause", "i2am/commands/cause.py:1: imports i2am.demo.cause"),
        ("i2am/commands/cause.py", "def f():\n    from ..demo import cause", ""),
        ("i2am/commands/cli.py", "from .demo import add_demo", ""),
        ("nodes/demo.py", "from ..i2am.models.demo.family import x", ""),
    ],
    networks_in_nodes: [
        ("nodes/load.py", "from torch import Tensor, nn", "nodes/load.py:1: imports torch.nn"),
        ("nodes/load.py", "import torch.nn.functional as F", "imports torch.nn.functional"),
        ("nodes/load.py", "import torch\nclass N(torch.nn.Module): ...", "nodes/load.py:2: uses torch.nn"),
        ("nodes/load.py", "from torch import Tensor", ""),
    ],
    long_files: [
        ("i2am/levels/heat.py", "\n" * (LONGEST + 1), f"i2am/levels/heat.py: {LONGEST + 1} lines"),
        ("nodes/base.py", "\n" * LONGEST, ""),
    ],
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_repository_keeps(rule: Rule) -> None:
    assert not (found := rule(ROOT)), "\n".join(found)


@pytest.mark.parametrize("starts", [("i2am",), ("i2am.scores", "i2am.recording")], ids=["import i2am", "scores and recording"])
def test_no_drawing_code_or_diffusers_is_loaded_by(starts: tuple[str, ...]) -> None:
    assert heavy_modules(ROOT, *starts) == []


@pytest.mark.parametrize(
    ("rule", "file", "text", "said"),
    [pytest.param(rule, *case, id=f"{rule.__name__}-{case[0]}") for rule, cases in CASES.items() for case in cases],
)
def test_a_rule_says_what_breaks_it(rule: Rule, file: str, text: str, said: str, tmp_path: Path) -> None:
    _write(tmp_path, {"i2am/levels/__init__.py": "", "i2am/maps/__init__.py": "", "i2am/attic/__init__.py": "", file: text})
    if rule is unplaced_rooms and "levels" in said:
        (tmp_path / "i2am/levels/__init__.py").unlink()
    found = rule(tmp_path)
    assert any(said in line for line in found) if said else not found, found


def test_every_rule_is_shown_to_fail() -> None:
    assert {rule for rule, cases in CASES.items() if any(said for *_, said in cases)} == set(RULES)


def test_drawing_code_is_seen_however_it_is_loaded(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "i2am/__init__.py": "",
            "i2am/maps.py": "",
            "i2am/scores/__init__.py": "",
            "i2am/scores/card.py": "def draw():\n    import cv2\nfrom .. import middle",
            "i2am/middle.py": "from .pictures import colours",
            "i2am/pictures/__init__.py": "",
            "i2am/pictures/colours.py": "",
        },
    )
    assert heavy_modules(tmp_path, "i2am", "i2am.maps") == []
    assert heavy_modules(tmp_path, "i2am.scores") == ["i2am.pictures", "i2am.pictures.colours"]


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
