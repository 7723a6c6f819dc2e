"""What the viewer shows, as plain JSON values: maps as quantised arrays, pictures as PNG, notes and facts."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..errors import I2AMError, MaskError, UnavailableError
from ..geometry.cells import cells_under
from ..geometry.layout import TokenGrid
from ..geometry.resample import area
from ..levels.available import SINGLE, is_single
from ..levels.grids import common_grid, reference_grid
from ..levels.heat import THRESHOLD
from ..levels.marginal import ulam
from ..levels.patch import DIFFUSE, sram
from ..levels.steps import steps_label
from ..maps.facts import LayerInfo
from ..maps.value import AttributionMaps

SIDES = {"R2G-balanced": "balanced", "R2G": "r2g", "mass": "mass", "G2R": "g2r"}
"""Sides that the viewer shows, and the marginal each is made of."""
FINE = 8_000_000
"""Patch maps are embedded with 16 bits up to this many bytes, else with 8."""
MOST = 48_000_000
"""Patch maps that would take more bytes are coarsened, which the page then says."""

NOTES = (
    "The maps say where the model looked. Attended is not caused: only an intervention, such as an edited reference "
    "with the same noise, shows causes.",
    "R2G compares generated patches with each other, which the model never does: comparative, not causal. "
    "R2G-balanced and mass stay the same when one vector is added to every key; R2G does not.",
    "Every map is stretched to its own range, so a diffuse one looks sure too: read its peak and its entropy beside it.",
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
    fine: int = FINE,
    most: int = MOST,
) -> dict[str, Any]:
    """What web/viewer/viewer.js shows, as plain JSON values (its form is described there).

    Args:
        reference_mask: (H, W), 1 = the object on the first reference: the page then starts with where it went.
        fine: patch maps keep 16 bits up to this many bytes.
        most: patch maps that would take more bytes with 8 bits are coarsened, with a note.

    Raises:
        I2AMError: the number of reference pictures is not that of the recording, or nothing can be shown.
    """
    if len(references) != len(maps.references):
        raise I2AMError(f"the recording has {len(maps.references)} reference(s), but {len(references)} picture(s) were given")
    embedded = _Embedded(maps, branch, image, fine, most)
    ours = common_grid(maps, "generated")
    theirs = [reference_grid(maps, i) for i in range(len(references))]
    objects = [embedded.object_under(reference_mask, theirs[0]), *[None] * (len(references) - 1)]
    return {
        "format": "i2am-viewer",
        "version": 1,
        "title": title,
        "threshold": THRESHOLD,
        "diffuse": DIFFUSE,
        "generated": _picture(generated) | _grid(ours),
        "references": [
            _picture(picture)
            | _grid(grid)
            | {
                "name": reference.name,
                "leading": grid.leading,
                "steps": [maps.steps_seen(maps.groups[group], i) for group in embedded.shown],
                "object": objects[i],
                "unavailable": embedded.unavailable[i],
                "remarks": embedded.remarks[i],
            }
            for i, (picture, reference, grid) in enumerate(zip(references, maps.references, theirs, strict=True))
        ],
        "layers": [_layer(x) for x in maps.layers],
        "groups": embedded.groups(),
        "marginals": embedded.marginals,
        "pairwise": embedded.pairwise,
        "truth": None if truth is None else _truth(truth, ours, references[0].size),
        "scores": _plain(scores),
        "pictures": [{"name": name} | _picture(picture) for name, picture in (images or {}).items()],
        "run": _run(maps, branch, image),
        "notes": [*NOTES, *_layer_notes(maps, ours), *map(_sentence, maps.notes), *embedded.notes],
        "quantisation": embedded.quantisation,
    }


def pack(values: NDArray[np.floating[Any]], bits: int, leading: int = 0) -> dict[str, Any]:
    """Values >= 0 of any shape as whole numbers of 8 or 16 bits with float32 scales for each row (the last axis).

    The first ``leading`` values of each row have a scale of their own: a token without a place may hold most of a row, and
    must not make the others coarse. The numbers are little-endian, row-major, deflated and in base64; the scales are in
    base64, for each row that of the leading values, where there are any, then that of the others. A value read back is off by
    at most half its scale: the highest value with the same scale / (2 ** bits - 1) / 2.
    """
    top = 2**bits - 1
    values = np.maximum(values, 0, dtype=np.float32)
    parts = [part for part in np.split(values, [leading], -1) if part.shape[-1]]
    scales = np.stack([(part.max(-1) / top).astype("<f4") for part in parts], -1)
    each = np.repeat(scales, [part.shape[-1] for part in parts], -1)
    steps = np.rint(values / np.where(each > 0, each, 1)).clip(0, top)
    return {
        "shape": list(values.shape),
        "leading": leading if len(parts) > 1 else 0,
        "dtype": f"uint{bits}",
        "scales": _base64(scales.tobytes()),
        "data": _base64(zlib.compress(steps.astype(f"<u{bits // 8}").tobytes())),
    }


class _Embedded:
    """The arrays that the page holds, with what could not be had and what had to be coarsened."""

    def __init__(self, maps: AttributionMaps, branch: str, image: int, fine: int, most: int) -> None:
        self.maps, self.branch, self.image = maps, branch, image
        self.notes: list[str] = []
        self.unavailable: list[dict[str, str]] = []
        self.remarks: list[dict[str, str]] = []
        self.marginals: list[dict[str, Any]] = []
        self.pairwise: list[dict[str, Any]] = []
        self.shown = [i for i, group in enumerate(maps.groups) if maps.steps_seen(group)]
        self.steps = [maps.steps_seen(maps.groups[i]) for i in self.shown]
        for reference in range(len(maps.references)):
            self._embed_marginals(reference)
        bits = self._embed_pairwise(fine, most)
        self.quantisation = (
            "The numbers in this page are rounded: each row of a map is stored as whole numbers with a scale of its own, "
            f"16 bits for maps over steps, heads and layers, {bits} bits for patch maps. A patch map's value is off by at "
            f"most {100 / (2**bits - 1) / 2:.2g} % of its row's highest, tokens without a place not counted."
        )

    def groups(self) -> list[dict[str, Any]]:
        """The time groups with recorded steps, labelled with their steps and noise levels."""
        ranges = [self.maps.groups[i] for i in self.shown]
        return [
            {"start": start, "stop": stop, "steps": steps, "label": steps_label(self.maps, (start, stop))}
            for (start, stop), steps in zip(ranges, self.steps, strict=True)
        ]

    def object_under(self, mask: Tensor | None, grid: TokenGrid) -> list[int] | None:
        """The cells under the mask of the first reference, if their mirror can be had; notes why a mask gives none."""
        if mask is None or "mirror" in self.unavailable[0]:
            return None
        try:
            return [row * grid.columns + column for row, column in cells_under(mask, grid, "reference mask")]
        except MaskError as error:
            self.notes.append(_sentence(f"where the object went is not shown: {error}"))
            return None

    def _embed_marginals(self, reference: int) -> None:
        """Embed the maps of one reference, and note why a side is missing."""
        missing, remarks = {}, {}
        for side, kind in SIDES.items():
            try:
                placed_only = self._placed_only(side, reference)
            except UnavailableError as error:
                missing[side] = _sentence(error)
                continue
            if placed_only:
                kind += "_placed"
                remarks[side] = "Tokens without a place are left out: they are the rest of what is looked at."
            for index, layer in enumerate(self.maps.layers):
                single = is_single(layer, reference) and side != "R2G"
                if single or not self.maps.has(kind, layer.name, self.branch, reference):
                    continue
                kept = self.maps.marginal(kind, layer.name, self.branch, reference)[self.image].numpy()
                entry = {
                    "side": side,
                    "reference": reference,
                    "layer": index,
                    "values": pack(self._grouped(kept, reference), 16, self._leading(layer, reference) if side == "G2R" else 0),
                }
                self.marginals.append(entry)
        try:
            sram(self.maps, (0, 0), branch=self.branch, reference=reference, image=self.image)
        except UnavailableError as error:
            missing["SRAM"] = missing["mirror"] = _sentence(error)
        self.unavailable.append(missing)
        self.remarks.append(remarks)

    def _leading(self, layer: LayerInfo, reference: int) -> int:
        return layer.references[reference].grid.leading

    def _placed_only(self, side: str, reference: int) -> bool:
        """Whether a side must be had over placed tokens only: mass, where the reference's tokens are all keys."""
        choice: dict[str, Any] = {"branch": self.branch, "reference": reference, "image": self.image}
        try:
            ulam(self.maps, side, **choice)
        except UnavailableError:
            if side != "mass":
                raise
            ulam(self.maps, side, placed_only=True, **choice)
            return True
        return False

    def _grouped(self, values: NDArray[np.float32], reference: int) -> NDArray[np.float32]:
        """(bins, heads, length) to its mean per group, or to (1, heads, length) where bins lie across groups."""
        seen = np.asarray([self.maps.steps_seen(b, reference) for b in self.maps.bins], np.float32)
        groups = [self.maps.groups[i] for i in self.shown]
        if not all(any(start <= a and b <= stop for start, stop in self.maps.groups) for a, b in self.maps.bins):
            groups = [(0, self.maps.run.steps)]
        out = []
        for start, stop in groups:
            inside = [i for i, (a, b) in enumerate(self.maps.bins) if start <= a and b <= stop]
            out.append(np.tensordot(seen[inside], values[inside], 1) / max(seen[inside].sum(), 1))
        return np.stack(out)

    def _embed_pairwise(self, fine: int, most: int) -> int:
        """Embed the patch maps, as finely as ``fine`` and ``most`` bytes allow; returns the bits of a value."""
        found = [
            (reference, index, layer)
            for reference, missing in enumerate(self.unavailable)
            for index, layer in enumerate(self.maps.layers)
            if "SRAM" not in missing
            and not is_single(layer, reference)
            and layer.name in self.maps.pairwise_layers(self.branch, reference)
        ]
        heads, groups = self.maps.pairwise_heads == "heads", len(self.shown) > 1
        bits = 16
        while not self._packed_within(found, bits, heads, groups, fine if bits == 16 else most):
            if bits == 16:
                bits = 8
            elif heads:
                heads = False
                self.notes.append("To keep this page small, patch maps are embedded as their mean over heads.")
            elif groups:
                groups = False
                self.notes.append("To keep this page small, patch maps are embedded as their mean over all steps.")
            else:
                largest = max(found, key=lambda x: x[2].grid.placed * x[2].references[x[0]].grid.tokens)
                found.remove(largest)
                self.notes.append(f"To keep this page small, patch maps of layer {largest[2].name} are left out.")
        return bits

    def _packed_within(self, found: list[tuple[int, int, LayerInfo]], bits: int, heads: bool, groups: bool, limit: int) -> bool:
        """Embed the patch maps in one way; gives up, with False, where they take more than ``limit`` bytes."""
        self.pairwise, size = [], 0
        for reference, index, layer in found:
            values = self.maps.pairwise(layer.name, self.branch, reference)[self.image, self.shown].numpy()
            if not heads:
                values = values.mean(1, keepdims=True)
            if not groups:
                steps = [self.maps.steps_seen(self.maps.groups[i], reference) for i in self.shown]
                values = np.average(values, 0, steps)[None].astype(np.float32)
            packed = pack(values, bits, self._leading(layer, reference))
            self.pairwise.append({"reference": reference, "layer": index, "values": packed})
            size += len(packed["data"]) + len(packed["scales"])
            if size > limit:
                return False
        return True


def _sentence(error: Exception | str) -> str:
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


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
    return {k: _plain(v) for k, v in {**facts, **run.extra}.items() if v is not None and v != ""}


def _plain(value: Any) -> Any:
    """A value as JSON can hold it; numbers that are not finite become None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _picture(picture: Image.Image) -> dict[str, Any]:
    file = io.BytesIO()
    picture.convert("RGB").save(file, "PNG", optimize=True)
    return {
        "src": f"data:image/png;base64,{_base64(file.getvalue())}",
        "width": picture.width,
        "height": picture.height,
    }
