"""Attribution maps as one safetensors file whose metadata is versioned JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import MapsFileError
from ..geometry.layout import Reference, TokenGrid
from .facts import Facts, Key, LayerInfo, RunInfo
from .file_checks import check_stored
from .version1 import from_version_1

FORMAT = "i2am-maps"
VERSION = 2
_MASK, _THUMBNAIL = "inpaint_mask", "thumbnail|"


@dataclass(frozen=True)
class Stored:
    """What a file holds: facts, tensors by `Key`, the inpainting mask and the small pictures; see `AttributionMaps`."""

    facts: Facts
    tensors: Mapping[Key, Tensor]
    mask: Tensor | None
    pictures: Mapping[str, Tensor]


def write_maps(path: str | Path, maps: Stored) -> Path:
    """Write maps to ``path``; an existing file is replaced only once the new one is whole.

    Raises:
        MapsFileError: the file cannot be written, or `RunInfo.extra` holds what JSON cannot.
    """
    path = Path(path)
    facts = maps.facts
    tensors: dict[str, Tensor] = {"|".join(map(str, key)): t.contiguous() for key, t in maps.tensors.items()}
    if maps.mask is not None:
        tensors[_MASK] = maps.mask
    tensors |= {_THUMBNAIL + name: picture for name, picture in maps.pictures.items()}
    about = {
        "format": FORMAT,
        "version": VERSION,
        "layers": [asdict(x) for x in facts.layers],
        "references": [asdict(x) for x in facts.references],
        "branches": facts.branches,
        "images": facts.images,
        "run": asdict(facts.run),
        "bins": facts.bins,
        "groups": facts.groups,
        "recorded": facts.recorded,
        "active": facts.active,
        "generated_size": facts.generated_size,
        "notes": facts.notes,
        "null_branches": facts.null_branches,
    }
    draft = path.with_name(path.name + ".part")
    try:
        save_file(tensors, draft, {"i2am": json.dumps(about)})
        draft.replace(path)
    except TypeError as error:
        raise MapsFileError(f"the facts about the run are not plain data ({error}); look at `extra` of its RunInfo") from error
    except (OSError, SafetensorError) as error:
        raise MapsFileError(f"{path} could not be written ({error}); check the folder and the space left") from error
    finally:
        draft.unlink(missing_ok=True)
    return path


def is_maps_file(path: str | Path) -> bool:
    """Whether a file says of itself, in its header, that it holds attribution maps; nothing else of it is read."""
    try:
        with safe_open(path, "pt") as file:
            return f'"{FORMAT}"' in (file.metadata() or {}).get("i2am", "")
    except (OSError, SafetensorError):
        return False


def check_maps_file(path: Path) -> None:
    """Refuse a file of which the header alone says that `read_maps` cannot read it.

    Raises:
        MapsFileError: it is not whole, foreign or newer.
    """
    with _opened(path) as file:
        _described(path, file.metadata() or {})


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise MapsFileError(
            f"{path} is not a whole safetensors file ({error}): another kind of file, or a truncated one; choose a maps file, "
            f"or save it again"
        ) from error


def read_maps(path: str | Path) -> Stored:
    """Read a file of `write_maps`.

    Raises:
        MapsFileError: the file is missing, truncated, foreign, newer, or its tensors do not fit its description.
    """
    path = Path(path)
    if not path.is_file():
        raise MapsFileError(f"there is no file {path}; give the path of a maps file written by I2AM")
    with _opened(path) as file:
        about = _described(path, file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    mask = tensors.pop(_MASK, None)
    pictures = {n[len(_THUMBNAIL) :]: tensors.pop(n) for n in list(tensors) if n.startswith(_THUMBNAIL)}
    try:
        if about["version"] == 1:
            about = from_version_1(about)
        keyed = {_key(name): tensor for name, tensor in tensors.items()}
        facts = _facts(about)
        check_stored(facts, keyed)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise MapsFileError(f"{path} holds I2AM maps, but their description is damaged ({error!r}); save them again") from error
    return Stored(facts, keyed, mask, pictures)


def _described(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    try:
        about = json.loads(metadata.get("i2am", "null"))
    except json.JSONDecodeError as error:
        raise MapsFileError(f"{path} holds I2AM maps, but their description is damaged ({error}); save them again") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise MapsFileError(
            f"{path} is a safetensors file, but not of I2AM maps (no '{FORMAT}' in its metadata); choose "
            f"one that I²AM Save Maps or python -m i2am wrote"
        )
    version = about.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise MapsFileError(
            f"{path} has version {version!r} of the maps format, this I2AM reads versions 1 to {VERSION}; update I2AM"
        )
    return about


def _key(name: str) -> Key:
    kind, rest = name.split("|", 1)
    layer, branch, reference = rest.rsplit("|", 2)
    return kind, layer, branch, int(reference)


def _facts(about: dict[str, Any]) -> Facts:
    run: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in about["run"].items()}
    return Facts(
        layers=tuple(map(_layer, about["layers"])),
        references=tuple(map(_reference, about["references"])),
        branches=tuple(about["branches"]),
        images=int(about["images"]),
        run=RunInfo(**run),
        bins=_ranges(about["bins"]),
        groups=_ranges(about["groups"]),
        recorded=tuple(about["recorded"]),
        generated_size=_pair(about["generated_size"]),
        notes=tuple(about["notes"]),
        null_branches=tuple(about["null_branches"]),
        active=tuple(map(tuple, about.get("active", ()))),
    )


def _layer(value: dict[str, Any]) -> LayerInfo:
    return LayerInfo(**{**value, "grid": _grid(value["grid"]), "references": tuple(map(_reference, value["references"]))})


def _pair(value: list[int]) -> tuple[int, int]:
    a, b = value
    return int(a), int(b)


def _ranges(value: list[list[int]]) -> tuple[tuple[int, int], ...]:
    return tuple(map(_pair, value))


def _grid(value: dict[str, Any]) -> TokenGrid:
    picture, rect = value["picture"], value["rect"]
    return TokenGrid(
        value["rows"],
        value["columns"],
        value["leading"],
        None if picture is None else _pair(picture),
        None if rect is None else tuple(rect),  # type: ignore[arg-type]
    )


def _reference(value: dict[str, Any]) -> Reference:
    return Reference(_grid(value["grid"]), value["start"], value["name"], value.get("softmax", 0))
