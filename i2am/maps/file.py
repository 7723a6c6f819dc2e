"""Attribution maps as one safetensors file whose metadata is versioned JSON.

A file may come from a stranger: its header is read and checked before any tensor, and must stay within `bounds`, so
that reading takes little more memory than the file's own size.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import MapsFileError, shown
from .bounds import MOST_HEADER
from .facts import Facts, Key
from .file_checks import MASK, THUMBNAIL, Shape, check_tensors, key_of, name_of
from .tensors import save_tensors
from .version1 import from_version_1

FORMAT = "i2am-maps"
VERSION = 5
_DTYPES = {"F32": "float32", "I32": "int32", "U8": "uint8"}


@dataclass(frozen=True)
class Stored:
    """What a file holds: facts, tensors by `Key`, the inpainting mask and the small pictures; see `AttributionMaps`."""

    facts: Facts
    tensors: Mapping[Key, Tensor]
    mask: Tensor | None
    pictures: Mapping[str, Tensor]


def write_maps(path: str | Path, maps: Stored) -> Path:
    """Write maps to ``path``; an existing file is replaced only when the new one is complete and readable.

    Raises:
        MapsFileError: the file cannot be written, `RunInfo.extra` is not plain JSON data, or the maps hold what no reader
            accepts, such as NaN.
    """
    path = Path(path)
    tensors = {name_of(key): t for key, t in maps.tensors.items()}
    if maps.mask is not None:
        tensors[MASK] = maps.mask
    tensors |= {THUMBNAIL + name: picture for name, picture in maps.pictures.items()}
    draft = path.parent / f"{path.name}.part"
    try:
        _check_finite(tensors)
        save_tensors({name: t.contiguous() for name, t in tensors.items()}, draft, {"i2am": json.dumps(_about(maps.facts))})
        with _opened(draft) as file:
            _described(draft, file)
        draft.replace(path)
    except (TypeError, RecursionError) as error:
        raise MapsFileError(
            f"the facts about the run are not plain data ({error!s:.80}); look at `extra` of its RunInfo"
        ) from error
    except (OSError, SafetensorError) as error:
        raise MapsFileError(f"{_name(path)} could not be written ({error!s:.80}); check the folder and free space") from error
    except ValueError as error:
        raise MapsFileError(f"{_name(path)} was not written, since no reader would take it: {error!s:.150}") from error
    finally:
        with suppress(OSError, ValueError):  # no file can have such a name
            draft.unlink(missing_ok=True)
    return path


def _about(facts: Facts) -> dict[str, Any]:
    """A file's description, see `schema`."""
    return {
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
        "words": [(branch, [asdict(word) for word in own]) for branch, own in facts.words],
        "word_layers": facts.word_layers,
    }


def is_maps_file(path: str | Path) -> bool:
    """Whether a file's header says that it holds attribution maps; nothing else of it is read."""
    try:
        with _opened(Path(path)) as file:
            return f'"{FORMAT}"' in (file.metadata() or {}).get("i2am", "")
    except MapsFileError:
        return False


def check_maps_file(path: Path) -> None:
    """Refuse a file whose header already shows that `read_maps` cannot read it.

    Raises:
        MapsFileError: it is truncated, of another kind, newer, or its tensors do not fit its description.
    """
    with _opened(path) as file:
        _facts(path, file)


def read_maps(path: str | Path) -> Stored:
    """Read a file of `write_maps`.

    Raises:
        MapsFileError: the file is missing, truncated, of another kind or newer, its tensors do not fit its description, or
            they hold NaN.
    """
    path = Path(path)
    with _opened(path) as file:
        facts = _facts(path, file)
        # copies: maps must not change with the file, and no tensor may keep the whole file in memory
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
    try:
        _check_finite(tensors)
    except ValueError as error:
        raise MapsFileError(f"{_name(path)} holds I2AM maps, but {error}; record them again") from error
    mask = tensors.pop(MASK, None)
    pictures = {n[len(THUMBNAIL) :]: tensors.pop(n) for n in list(tensors) if n.startswith(THUMBNAIL)}
    return Stored(facts, {key_of(name): tensor for name, tensor in tensors.items()}, mask, pictures)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        if not path.is_file():
            raise MapsFileError(f"there is no file {_name(path)}; give the path of a maps file written by I2AM")
        with path.open("rb") as raw:
            length = int.from_bytes(raw.read(8), "little")
        if MOST_HEADER < length < path.stat().st_size:
            raise MapsFileError(f"{_name(path)} has a header of {length} bytes, more than a maps file has; choose a maps file")
        with safe_open(path, "pt") as file:
            yield file
    except OSError as error:
        why = error.strerror or str(error)
        raise MapsFileError(f"{_name(path)} cannot be read ({why:.60}); give the path of a maps file") from error
    except SafetensorError as error:
        why = str(error).removeprefix("Error while deserializing header: ")
        raise MapsFileError(
            f"{_name(path)} is not a whole safetensors file ({why:.60}): another kind of file, or a truncated one; choose "
            f"a maps file, or save it again"
        ) from error


def _facts(path: Path, file: Any) -> Facts:
    """The facts in the header, checked against each other and against the tensors."""
    try:
        return _described(path, file)
    except MapsFileError:
        raise
    except ValueError as error:
        raise _damaged(path, error) from error


def _described(path: Path, file: Any) -> Facts:
    try:
        from .schema import facts_of, parsed, seen
    except ImportError as error:  # the host brings pydantic, and may be old; all but files works without
        raise MapsFileError(f"maps files need pydantic 2.8 or newer ({error!s:.80}): pip install -U pydantic") from error
    about = parsed((file.metadata() or {}).get("i2am", "null"))
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise MapsFileError(
            f"{_name(path)} is a safetensors file, but not of I2AM maps (no '{FORMAT}' in its metadata); choose "
            f"one that I²AM Save Maps or python -m i2am wrote"
        )
    version = about.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise MapsFileError(
            f"{_name(path)} has version {seen(version)} of the maps format, this I2AM reads versions 1 to {VERSION}; "
            f"update I2AM"
        )
    facts = facts_of(about)
    if version == 1:
        facts = from_version_1(facts)
    check_tensors(facts, list(file.keys()), lambda name: _shape(file, name))
    return facts


def _shape(file: Any, name: str) -> Shape:
    about = file.get_slice(name)
    dtype = str(about.get_dtype())
    return Shape(_DTYPES.get(dtype, dtype), tuple(about.get_shape()))


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        # a finite sum has finite parts, and needs no memory; an infinite one may come from finite values that overflow
        if not tensor.is_floating_point() or bool(torch.isfinite(tensor.sum())):
            continue
        if not all(bool(torch.isfinite(part).all()) for part in tensor.flatten().split(1 << 20)):
            raise ValueError(f"the tensor {name!r:.60} holds NaN or infinity")


def _damaged(path: Path, error: ValueError) -> MapsFileError:
    return MapsFileError(
        f"{_name(path)} holds I2AM maps, but their description is damaged ({shown(error, 170)}); save them again"
    )


def _name(path: Path) -> str:
    """A path as error messages show it: of a long one only the end."""
    text = shown(path)
    return text if len(text) <= 150 else f"…{text[-140:]}"
