"""Reads the imports of `i2am/` and `nodes/`, and says where they break the order of the rooms."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FACADE = "__init__"  # i2am/__init__.py: what `from i2am import …` offers
# Imports run from right to left, from a later row to an earlier one; rooms of one row know nothing of each other.
ORDER = (
    ("errors", "options", "numbers"),
    ("geometry",),
    ("maps",),
    ("recording", "levels", "drawn"),
    ("models",),
    ("interventions", "data"),
    ("scores", "pictures", "hosts"),
    ("answers",),
    ("outputs", "bench"),
    ("evaluation",),
    ("train",),
    (FACADE,),
    ("demo",),
    ("commands",),
    ("__main__",),
)
RANK = {room: rank for rank, row in enumerate(ORDER) for room in row}
LONGEST = 420
"""Lines of one file."""
HOST = {
    *("alembic_db", "api_server", "app", "comfy", "comfy_api", "comfy_api_nodes", "comfy_config", "comfy_execution"),
    *("comfy_extras", "comfyui_version", "cuda_malloc", "execution", "folder_paths", "latent_preview", "middleware"),
    *("node_helpers", "nodes", "protocol", "server"),
}
"""Top-level modules and packages of ComfyUI."""
RUN_THE_DEMO = ("demo.py", "cause.py")
"""Commands that run the bundled models on what the demo draws."""
HEAVY = ("cv2", "diffusers", "i2am.pictures", "i2am.outputs")
"""What neither `import i2am` nor recording or scoring may load."""

LOAD = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps([*sys.modules]))
"""


@dataclass(frozen=True)
class Import:
    """One imported name, by its full dotted path."""

    file: Path
    """Relative to the repository."""
    line: int
    name: str
    relative: bool
    inside: bool
    """In a function, so that loading the file does not load it."""

    @property
    def place(self) -> str:
        return f"{self.file.as_posix()}:{self.line}"

    def of(self, *packages: str) -> bool:
        """Whether it is one of these packages, or lies in one."""
        return any(f"{self.name}.".startswith(f"{package}.") for package in packages)


def imports(root: Path, *folders: str) -> Iterator[Import]:
    """Every import below these folders of a repository, those in functions and for types included."""
    for path in _files(root, *folders):
        file = path.relative_to(root)
        for node, inside in _walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            if isinstance(node, ast.Import):
                yield from (Import(file, node.lineno, alias.name, False, inside) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                # level 1 is the file's own folder
                above = file.parts[: len(file.parts) - node.level] if node.level else ()
                base = (*above, node.module) if node.module else above
                for alias in node.names:
                    yield Import(file, node.lineno, ".".join((*base, alias.name)), bool(node.level), inside)


def arrows_back(root: Path) -> list[str]:
    """Imports within `i2am/` from a room that does not stand left of the importing one."""
    found = []
    for entry in imports(root, "i2am"):
        own, other = _room(root, *entry.file.parts), _room(root, *entry.name.split("."))
        if entry.of("i2am") and own != other and not RANK.get(other, 0) < RANK.get(own, len(ORDER)):
            found.append(f"{entry.place}: {own} imports {entry.name} of {other}, which does not stand left of {own}")
    return found


def unplaced_rooms(root: Path) -> list[str]:
    """Rooms without a place in the order, and places without a room."""
    there = {path.relative_to(root / "i2am").parts[0].removesuffix(".py") for path in _files(root, "i2am")}
    missing = [f"i2am/{room} has no place in ORDER of tests/helpers/rooms.py" for room in sorted(there - RANK.keys())]
    return missing + [f"ORDER names {room}, which is not in i2am/" for room in sorted(RANK.keys() - there)]


def host_imports(root: Path) -> list[str]:
    """Imports of ComfyUI outside `i2am/hosts/comfy`; `nodes/` may import it."""
    home = Path("i2am", "hosts", "comfy")
    strangers = (entry for entry in imports(root, "i2am") if home not in entry.file.parents and not entry.relative)
    return [f"{entry.place}: imports {entry.name} of ComfyUI outside {home}" for entry in strangers if entry.of(*HOST)]


def absolute_imports(root: Path) -> list[str]:
    """Imports that fail in ComfyUI: of `i2am` by name, since the pack is loaded under any name, and of diffusers by nodes."""
    found = [entry for entry in imports(root, "i2am", "nodes") if entry.of("i2am") and not entry.relative]
    found += [entry for entry in imports(root, "nodes") if entry.of("diffusers")]
    return [f"{entry.place}: imports {entry.name}; import i2am relatively, and diffusers not at all" for entry in found]


def demo_imports(root: Path) -> list[str]:
    """Imports of the test bed by the product: of `demo` or `commands` by nodes, of `demo` by commands that do not run it."""
    found = [entry for entry in imports(root, "nodes") if entry.of("i2am.demo", "i2am.commands")]
    commands = (entry for entry in imports(root, "i2am/commands") if entry.of("i2am.demo"))
    found += [entry for entry in commands if not (entry.file.name in RUN_THE_DEMO and entry.inside)]
    allowed = " and ".join(f"commands/{name}" for name in RUN_THE_DEMO)
    return [f"{entry.place}: imports {entry.name}; only {allowed} may, inside a function" for entry in found]


def networks_in_nodes(root: Path) -> list[str]:
    """Uses of `torch.nn` in `nodes/`."""
    found = [f"{entry.place}: imports {entry.name}" for entry in imports(root, "nodes") if entry.of("torch.nn")]
    for path in _files(root, "nodes"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        uses = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and ast.unparse(n) == "torch.nn"]
        found += [f"{path.relative_to(root).as_posix()}:{use.lineno}: uses torch.nn" for use in uses]
    return found


def long_files(root: Path) -> list[str]:
    """Files of `i2am/` and `nodes/` over `LONGEST` lines."""
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in _files(root, "i2am", "nodes")}
    return [f"{path.relative_to(root).as_posix()}: {n} lines, over {LONGEST}" for path, n in lengths.items() if n > LONGEST]


def heavy_modules(root: Path, *starts: str) -> list[str]:
    """What a fresh Python has loaded of `HEAVY` after importing these modules or whole packages of a repository."""
    modules = [name for start in starts for name in _modules(root, start)]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *modules],
        check=False, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout.splitlines()[-1])
    return sorted(name for name in loaded if any(f"{name}.".startswith(f"{heavy}.") for heavy in HEAVY))


def _files(root: Path, *folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((root / folder).rglob("*.py"))]


def _modules(root: Path, start: str) -> list[str]:
    """The module, and where it is a package below `i2am` all that lies in it."""
    folder = root.joinpath(*start.split("."))
    if start == "i2am" or not folder.is_dir():
        return [start]
    inner = [path.relative_to(root).with_suffix("") for path in _files(root, str(folder.relative_to(root)))]
    return [".".join(path.parts).removesuffix(".__init__") for path in inner if path.name != "__main__"]


def _walk(tree: ast.AST, inside: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes below, each with whether it lies in a function."""
    for node in ast.iter_child_nodes(tree):
        yield node, inside
        yield from _walk(node, inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))


def _room(root: Path, package: str, name: str = FACADE, *_: str) -> str:
    """The room of a file's or a module's path; what is no room is a name of the facade."""
    stem = name.removesuffix(".py")
    lies = (root / package / stem).is_dir() or (root / package / f"{stem}.py").is_file()
    return stem if lies or stem in RANK else FACADE
