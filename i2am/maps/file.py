"""Attribution maps as one safetensors file whose metadata is versioned JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import MapsFileError
from ..geometry.layout import Reference, TokenGrid

if TYPE_CHECKING:
    from .value import AttributionMaps

FORMAT = "i2am-maps"
VERSION = 1
_MASK, _THUMBNAIL = "inpaint_mask", "thumbnail|"


def save_maps(maps: AttributionMaps, path: str | Path) -> Path:
    """Write ``maps`` to ``path``; an existing file is replaced only once the new one is whole.

    Raises:
        MapsFileError: the file cannot be written, or `RunInfo.extra` holds what JSON cannot.
    """
    path = Path(path)
    tensors: dict[str, Tensor] = {"|".join(map(str, key)): t.contiguous() for key, t in maps._tensors.items()}
    if maps.inpaint_mask is not None:
        tensors[_MASK] = maps.inpaint_mask
    tensors |= {_THUMBNAIL + name: picture for name, picture in maps.thumbnails.items()}
    run = asdict(maps.run)
    about = {
        "format": FORMAT,
        "version": VERSION,
        "layers": [asdict(x) for x in maps.layers],
        "references": [asdict(x) for x in maps.references],
        "branches": maps.branches,
        "images": maps.images,
        "run": run,
        "bins": maps.bins,
        "groups": maps.groups,
        "recorded": maps.recorded,
        "active": maps.active,
        "generated_size": maps.generated_size,
        "notes": maps.notes,
        "null_branches": maps.null_branches,
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
    """Refuse a file of which the header alone says that `load_maps` cannot read it.

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


def load_maps(path: str | Path) -> AttributionMaps:
    """Read a file of `save_maps`.

    Raises:
        MapsFileError: the file is missing, truncated, foreign, newer, or its tensors do not fit its description.
    """
    from .facts import LayerInfo, RunInfo
    from .value import AttributionMaps

    path = Path(path)
    if not path.is_file():
        raise MapsFileError(f"there is no file {path}; give the path of a maps file written by I2AM")
    with _opened(path) as file:
        about = _described(path, file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    mask = tensors.pop(_MASK, None)
    thumbnails = {n[len(_THUMBNAIL) :]: tensors.pop(n) for n in list(tensors) if n.startswith(_THUMBNAIL)}
    try:
        keyed = {}
        for name, tensor in tensors.items():
            kind, rest = name.split("|", 1)
            layer, branch, reference = rest.rsplit("|", 2)
            keyed[kind, layer, branch, int(reference)] = tensor
        layers = tuple(
            LayerInfo(**{**x, "grid": _grid(x["grid"]), "references": tuple(map(_reference, x["references"]))})
            for x in about["layers"]
        )
        run: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in about["run"].items()}
        maps = AttributionMaps(
            keyed,
            layers=layers,
            references=tuple(map(_reference, about["references"])),
            branches=tuple(about["branches"]),
            images=int(about["images"]),
            run=RunInfo(**run),
            bins=_ranges(about["bins"]),
            groups=_ranges(about["groups"]),
            recorded=tuple(about["recorded"]),
            generated_size=_pair(about["generated_size"]),
            notes=tuple(about["notes"]),
            inpaint_mask=mask,
            thumbnails=thumbnails,
            null_branches=tuple(about["null_branches"]),
            active=tuple(map(tuple, about.get("active", ()))),
        )
        _check(maps)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise MapsFileError(f"{path} holds I2AM maps, but their description is damaged ({error!r}); save them again") from error
    return maps


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
    if about.get("version") != VERSION:
        raise MapsFileError(
            f"{path} has version {about.get('version')!r} of the maps format, this I2AM reads version {VERSION}; update I2AM"
        )
    return about


def _check(maps: AttributionMaps) -> None:
    """Refuse tensors other than those that the description promises.

    Raises:
        ValueError: something is missing, unknown or of another shape.
    """
    from .facts import GROUPED, MARGINALS, ON_REFERENCE

    for name in ("timesteps", "sigmas"):
        if not all(isinstance(x, (int, float)) for x in getattr(maps.run, name)):
            raise ValueError(f"{name} are numbers, got {getattr(maps.run, name)!r:.80}")
    for name, ranges in (("bins", maps.bins), ("groups", maps.groups)):
        if [a for a, _ in ranges] != [0, *(b for _, b in ranges[:-1])] or ranges[-1][1] != maps.run.steps:
            raise ValueError(f"{name} {ranges} do not fill {maps.run.steps} steps")
    if not set(maps.recorded) <= set(range(maps.run.steps)):
        raise ValueError(f"steps {maps.recorded} were recorded of {maps.run.steps}")
    if len(maps.active) != len(maps.references) or not all(set(steps) <= set(maps.recorded) for steps in maps.active):
        raise ValueError(f"references were attended to in steps {maps.active} of {maps.recorded}")
    layers = {x.name: x for x in maps.layers}
    cells = {(layer, branch, reference) for _, layer, branch, reference in maps._tensors}
    every = [(x, b, r) for x in layers for b in maps.branches for r in range(len(maps.references))]
    # an adapter need not be in all layers; what every layer attends to is
    slots = [s for s in every if s in cells or not maps.references[s[2]].softmax]
    missing = [(k, *s) for s in slots for k in MARGINALS if k != "g2r_masked" and (k, *s) not in maps._tensors]
    if missing or not slots:
        raise ValueError(f"there is no tensor for {missing[0] if missing else 'any layer'}")
    for (kind, name, branch, reference), tensor in maps._tensors.items():
        if (name, branch, reference) not in slots or kind not in (*MARGINALS, *GROUPED):
            raise ValueError(f"there is a tensor for {(kind, name, branch, reference)}, which is not described")
        n, s = layers[name].grid.placed, layers[name].references[reference].grid.tokens
        last = [n, s] if kind == "pairwise" else [s] if kind in ON_REFERENCE else [n]
        parts = len(maps.bins if kind in MARGINALS else maps.groups)
        if list(tensor.shape) not in [[maps.images, parts, heads, *last] for heads in (1, layers[name].heads)]:
            raise ValueError(f"the tensor for {(kind, name, branch, reference)} has shape {tuple(tensor.shape)}")


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
