"""A recording whose grids all differ, pictures for it, and reading back the page that is written of it."""

from __future__ import annotations

import base64
import html.parser
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from i2am.geometry.layout import Layout, Reference, TokenGrid
from i2am.maps.facts import RunInfo
from i2am.maps.value import AttributionMaps
from i2am.recording.recorder import Recorder

LAYERS = {"in.0": ((8, 6), 2), "mid.0": ((4, 3), 3), "out.0": ((5, 7), 2)}
"""Grid and heads; "mid.0" sees its own, coarser first reference."""
STEPS = 7
SHIRT, SHIRT_COARSE, SHOE = TokenGrid(5, 4, leading=1), TokenGrid(3, 2, leading=1), TokenGrid(3, 6)
UNEVEN = {"in.0": ((9, 13), 2), "mid.0": ((5, 7), 3), "tall.0": ((3, 13), 2), "out.0": ((4, 26), 1)}
"""Ratios of the query grids are not whole, up and down; "tall.0" sees a first reference of more rows, but fewer columns."""
SHIRTS = {"mid.0": SHIRT_COARSE, "tall.0": TokenGrid(7, 2, leading=1)}


def layout_of(layer: str) -> Layout:
    """Two references and two more keys, as where text tokens follow."""
    shirt = SHIRTS.get(layer, SHIRT)
    shoe = Reference(SHOE, shirt.tokens, "shoe")
    return Layout((Reference(shirt, 0, "shirt"), shoe), keys=shoe.stop + 2)


def record(
    pairwise: str | None = "mean",
    *,
    first: int = 0,
    budget: int = 300_000_000,
    images: int = 1,
    layers: dict[str, tuple[tuple[int, int], int]] = LAYERS,
) -> AttributionMaps:
    """A recording of random queries and keys, sharp enough that no two patches look alike."""
    random = torch.Generator().manual_seed(3)
    recorder = Recorder(
        layout_of, steps=STEPS, groups=3, pairwise=pairwise, budget=budget, images=images, generated_size=(64, 48)
    )
    for step in range(first, STEPS):
        for layer, ((rows, columns), heads) in layers.items():
            q = torch.randn(images, heads, rows * columns, 8, generator=random)
            k = torch.randn(images, heads, layout_of(layer).key_count, 8, generator=random)
            recorder.observe(layer, (rows, columns), step, "cond", q, k, None, scale=0.7, middle=layer == "mid.0")
        recorder.end_step(step)
    return recorder.finish(RunInfo(steps=STEPS, sigmas=tuple(14.0 - 2 * s for s in range(STEPS)), seed=5, model="planted"))


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


PICTURES = (picture(48, 64), [picture(40, 50, 1), picture(60, 30, 2)])


class Scripts(html.parser.HTMLParser):
    """Script elements by id or type, and every attribute that could load something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: dict[str, str] = {}
        self.loads: list[str] = []
        self._open: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.loads += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "action", "data")]
        if tag == "script":
            self._open = given.get("id") or given.get("type") or ""

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.scripts[self._open] = self.scripts.get(self._open, "") + data

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._open = None


def read(path: Path) -> Scripts:
    return Scripts(path.read_text(encoding="utf-8"))


def data_of(path: Path) -> dict[str, Any]:
    """The data in a page, with bytes where its header points into the body."""
    return read_file(base64.b64decode(read(path).scripts["data"]))


def read_file(raw: bytes) -> dict[str, Any]:
    """The data in a viewer's file."""
    assert raw[:8] == b"I2AMVIEW"
    version, length = struct.unpack("<II", raw[8:16])
    assert version == 4
    body = raw[16 + length :]

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        if set(value) == {"at", "bytes"}:
            return body[value["at"] :][: value["bytes"]]
        return {key: filled(inner) for key, inner in value.items()}

    return filled(json.loads(raw[16 : 16 + length].decode("ascii")))


def unpack(packed: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The values of a packed array, and how far each may be off."""
    whole = np.frombuffer(zlib.decompress(packed["data"]), "<u1" if packed["dtype"] == "uint8" else "<u2")
    leading, last = packed["leading"], packed["shape"][-1]
    scales = np.frombuffer(packed["scales"], "<f4").reshape(*packed["shape"][:-1], 2 if leading else 1)
    scales = np.repeat(scales, [leading, last - leading] if leading else [last], -1)
    return whole.reshape(packed["shape"]) * scales.astype(np.float64), scales * 0.51  # fp32 adds a hundredth
