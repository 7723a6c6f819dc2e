"""What the viewer shows: maps as quantised arrays, pictures as files, notes and facts, all plain values and bytes."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import I2AMError, UnavailableError
from ..geometry.layout import TokenGrid
from ..geometry.resample import area
from ..geometry.shapes import check_shape
from ..levels.available import SINGLE, is_single
from ..levels.grids import common_grid, reference_grid
from ..levels.patch import DIFFUSE
from ..levels.presets import THRESHOLD
from ..maps.facts import LayerInfo
from ..maps.given import check_maps
from ..maps.kinds import Shown, all_shown, shown_as
from ..maps.value import AttributionMaps
from ..pictures.parts import colour_of_reference, colours_run_out
from .embedded import FINE, MOST, Embedded, sentence
from .second import SecondRun, check_second, run_names
from .viewer_file import VERSION

MOST_OF_PICTURE = 1_200_000
"""Bytes of a picture that is kept as it is."""
LONGEST = 1536
"""Pixels of the longer side of others."""
NOTES = (
    "The maps say where the model looked. Attended is not caused: only an intervention, such as an edited reference "
    "with the same noise, shows causes.",
    "R2G compares generated patches with each other, which the model never does: comparative, not causal. "
    "R2G-balanced and mass stay the same when one vector is added to every key; R2G does not.",
    "Every map is stretched to its own range, so a diffuse one looks concentrated too: check its peak and entropy.",
)


def viewer_data(
    maps: AttributionMaps,
    generated: Image.Image,
    references: Sequence[Image.Image],
    *,
    scores: Mapping[str, Any] | None = None,
    title: str = "I²AM report",
    images: Mapping[str, Image.Image] | None = None,
    truth: Tensor | None = None,
    reference_mask: Tensor | None = None,
    branch: str = "cond",
    image: int = 0,
    second: SecondRun | None = None,
    fine: int = FINE,
    most: int = MOST,
) -> dict[str, Any]:
    """What web/viewer/viewer.js shows, as plain values and bytes (its form is described there), for `viewer_file`.

    Args:
        reference_mask: (H, W), 1 = the object on the first reference: the page then opens with where it went.
        second: a run to compare with, of which the same branch and image are shown; the two share ``fine`` and ``most``.
        fine: patch maps keep 16 bits up to this many bytes.
        most: patch maps that would take more bytes with 8 bits are coarsened, with a note; so are other maps that would take
            more than a third of it.

    Raises:
        I2AMError: the number of reference pictures is not that of the recording, one is of another shape than was recorded, or
            nothing can be shown; or the second run cannot be compared, see `SecondRun.checked`.
        UnavailableError: the branch was not recorded, or there is no such image.
    """
    if second is not None:
        check_maps(maps, "what to show")
        check_second(second)
        second.checked(maps)
        fine, most = fine // 2, most // 2
    check_recorded(maps, branch, image)
    if len(references) != len(maps.references):
        raise I2AMError(f"the recording has {len(maps.references)} reference(s), but {len(references)} picture(s) were given")
    _check_shapes(maps, generated, references)
    embedded = Embedded(maps, branch, image, fine, most)
    common = common_grid(maps, "generated")
    grids = [reference_grid(maps, i) for i in range(len(references))]
    objects = [embedded.object_under(reference_mask, grids[0]), *[None] * (len(references) - 1)]
    data = {
        "format": "i2am-viewer",
        "version": VERSION,
        "title": title,
        "threshold": THRESHOLD,
        "diffuse": DIFFUSE,
        "kinds": [
            *(_kind(shown) for kind, shown in all_shown() if embedded.has(kind)),
            *_shares(maps, embedded),
            *embedded.words.kinds,
        ],
        "generated": _picture(generated) | _grid(common) | {"edge": list(common.edge)},
        "references": [
            _picture(picture)
            | _grid(grid)
            | {
                "name": reference.name,
                "colour": "#{:02x}{:02x}{:02x}".format(*colour_of_reference(i)),
                "leading": grid.leading,
                "steps": [maps.steps_seen(maps.groups[group], i) for group in embedded.shown],
                "object": objects[i],
                "unavailable": embedded.unavailable[i],
                "remarks": embedded.remarks[i],
            }
            for i, (picture, reference, grid) in enumerate(zip(references, maps.references, grids, strict=True))
        ],
        "layers": [_layer(x) | {"default": x in maps.default_layers} for x in maps.layers],
        "rest": embedded.rest,
        "words": embedded.words.words,
        "groups": embedded.groups(),
        "marginals": embedded.marginals,
        "pairwise": embedded.pairwise,
        "truth": None if truth is None else _truth(truth, common, references[0].size),
        "scores": _plain(scores),
        "pictures": [{"name": name} | _picture(picture) for name, picture in (images or {}).items()],
        "run": _run(maps, branch, image),
        "notes": [*NOTES, *_layer_notes(maps, common), *map(sentence, [*_colour_notes(maps), *maps.notes]), *embedded.notes],
        "quantisation": embedded.quantisation,
        "name": "",
        "second": None,
    }
    if second is None:
        return data
    own = {"reference_mask": reference_mask, "branch": branch, "image": image, "fine": fine, "most": most}
    return data | _with_second(data, maps, references, generated, second, own)


OF_SECOND = ("generated", "references", "layers", "rest", "words", "groups", "marginals", "pairwise", "run")
"""What of a second run's data stands in the block of its own; all else is the first's, or of both."""


def _with_second(
    data: Mapping[str, Any],
    maps: AttributionMaps,
    references: Sequence[Image.Image],
    generated: Image.Image,
    second: SecondRun,
    chosen: Mapping[str, Any],
) -> dict[str, Any]:
    """What changes in the data of a run where a second one is beside it."""
    try:
        found = viewer_data(second.maps, second.generated, second.pictures(maps, references), **chosen)
    except UnavailableError as error:
        raise UnavailableError(f"in the second run: {error}") from error
    names, notes = run_names(maps, second.maps), [f"Second run: {note}" for note in found["notes"] if note not in data["notes"]]
    if found["quantisation"] != data["quantisation"]:
        notes.append(f"Second run: {found['quantisation']}")
    return {
        "name": names[0],
        "notes": [*data["notes"], *map(sentence, second.notes(maps, generated)), *notes],
        "second": {key: found[key] for key in OF_SECOND} | {"name": names[1]},
    }


def check_recorded(maps: AttributionMaps, branch: str, image: int) -> None:
    """Refuse what is no recording, and a branch or image that it does not have.

    Raises:
        I2AMError: ``maps`` are none.
        UnavailableError: names what there is.
    """
    check_maps(maps, "what to show")
    if branch not in maps.branches:
        raise UnavailableError(f"branch {branch!r} was not recorded; recorded: {', '.join(maps.branches)}")
    if not isinstance(image, int) or not 0 <= image < maps.images:
        raise UnavailableError(f"image {image} does not exist; the run had {maps.images}, counted from 0")


def _check_shapes(maps: AttributionMaps, generated: Image.Image, references: Sequence[Image.Image]) -> None:
    check_shape("picture", (generated.height, generated.width), maps.generated_size, "recorded generated image")
    for i, (picture, reference) in enumerate(zip(references, maps.references, strict=True), 1):
        known = reference.grid.picture or (0, 0)
        check_shape(f"picture of reference {i}", (picture.height, picture.width), known, f"recorded reference {i}")


def _kind(shown: Shown) -> dict[str, Any]:
    """What the viewer needs to know of a kind of map."""
    return {
        "side": shown.side,
        "title": shown.named,
        "picture": shown.picture,
        "asked": shown.asked,
        "sentence": shown.sentence,
        "unit": shown.unit,
        "scaled": shown.scaled,
        "resize": shown.resize,
        "rank": shown.rank,
    }


def _shares(maps: AttributionMaps, embedded: Embedded) -> list[dict[str, Any]]:
    """The map of which reference was taken from, where there are several and their shares are known; the page opens with it."""
    _, shown = shown_as("which reference")
    return [_kind(shown) | {"rank": 0.5}] if embedded.rest and len(maps.references) > 1 else []


def _grid(grid: TokenGrid) -> dict[str, Any]:
    return {"grid": [grid.rows, grid.columns], "rect": None if grid.rect is None else list(grid.rect)}


def _layer(layer: LayerInfo) -> dict[str, Any]:
    return {
        "name": layer.name,
        "grid": [layer.grid.rows, layer.grid.columns],
        "heads": layer.heads,
        "middle": layer.middle,
        "references": [{"grid": [r.grid.rows, r.grid.columns], "leading": r.grid.leading} for r in layer.references],
    }


def _layer_notes(maps: AttributionMaps, common: TokenGrid) -> list[str]:
    notes = []
    coarser = {(x.grid.rows, x.grid.columns) for x in maps.layers} - {(common.rows, common.columns)}
    if coarser:
        sizes = ", ".join(f"{r}×{c}" for r, c in sorted(coarser))
        notes.append(
            f"Layers of {sizes} patches are resized to the common grid of {common.rows}×{common.columns}; "
            f"a patch of it mixes several of their rows."
        )
    if any(is_single(x, i) for x in maps.layers for i in range(len(maps.references))):
        notes.append(f"Some layers see a {SINGLE}.")
    return notes


def _colour_notes(maps: AttributionMaps) -> list[str]:
    return [note] if (note := colours_run_out(len(maps.references))) else []


def _truth(truth: Tensor, grid: TokenGrid, size: tuple[int, int]) -> list[list[float] | None]:
    """Mean true place of each cell as fractions of the reference picture; None where less than half of the cell has one."""
    if truth.ndim != 3 or len(truth) != 2:
        raise I2AMError(f"truth is (2, H, W) with x and y in reference pixels, got {tuple(truth.shape)}")
    known = torch.isfinite(truth).all(0, keepdim=True)
    share = area(known.float(), (grid.rows, grid.columns))
    mean = area(torch.where(known, truth.float(), 0.0), (grid.rows, grid.columns)) / share.clamp_min(1e-6)
    x, y = mean[0].flatten() / size[0], mean[1].flatten() / size[1]
    rows = zip(x.tolist(), y.tolist(), share.flatten().tolist(), strict=True)
    return [[round(a, 4), round(b, 4)] if c >= 0.5 else None for a, b, c in rows]


def _run(maps: AttributionMaps, branch: str, image: int) -> dict[str, Any]:
    run = maps.run
    facts = {
        "model": run.model,
        "host": run.host,
        "sampler": run.sampler,
        "steps": run.steps,
        "cfg": run.cfg,
        "seed": run.seed,
        "branch": branch,
        "image": f"{image + 1} of {maps.images}" if maps.images > 1 else None,
        "size of the picture": f"{maps.generated_size[1]} × {maps.generated_size[0]}",
        "recording_bytes": maps.nbytes,
    }
    others = {k: v for k, v in run.extra.items() if k not in facts}
    return {k: _plain(v) for k, v in {**facts, **others}.items() if v is not None and v != ""}


def _plain(value: Any) -> Any:
    """A value as JSON can hold it; numbers that are not finite become None, very large integers text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, int | float):
        return _number(value)
    return value if value is None or isinstance(value, str) else str(value)


def _number(value: float) -> float | str | None:
    """A number as JavaScript can hold it.

    >>> _number(0.5), _number(2**60), _number(math.nan)
    (0.5, '1152921504606846976', None)
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if abs(value) <= 2**53:
        return value
    return str(value) if value.bit_length() <= 64 else f"an integer of {value.bit_length()} bits"


def _picture(picture: Image.Image) -> dict[str, Any]:
    """A picture as PNG; a large one as JPEG, no longer than `LONGEST` pixels. Width and height are the picture's own."""
    file, kind = io.BytesIO(), "png"
    shown = picture.convert("RGB")
    shown.save(file, "PNG", optimize=True)
    if file.tell() > MOST_OF_PICTURE:
        file, kind = io.BytesIO(), "jpeg"
        shown.thumbnail((LONGEST, LONGEST))
        shown.save(file, "JPEG", quality=92, subsampling=0)
    return {"src": file.getvalue(), "type": f"image/{kind}", "width": picture.width, "height": picture.height}
