"""The viewer's own reading of pins, run by node alone: the patches that it means are the library's."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import product
from pathlib import Path

import pytest

from i2am.geometry.layout import TokenGrid
from i2am.geometry.pins import Pin, pins_of

NODE = shutil.which("node")
PINS_JS = Path(__file__).resolve().parents[2] / "web" / "viewer" / "pins.js"
PICTURES = [
    {"width": 96, "height": 128, "grid": [32, 24], "rect": [0, 0, 1, 1]},
    {"width": 113, "height": 77, "grid": [5, 7], "rect": None},
    {"width": 120, "height": 80, "grid": [4, 6], "rect": [0.25, 0, 0.75, 1]},
]
SCRIPT = """
import { newPin, parsePins, patchesOf, pixelsOf } from "PINS";
const asked = JSON.parse(process.argv[1]);
const out = asked.map(({ picture, patches }) => {
  const [pin] = parsePins(JSON.stringify([newPin([], { name: "reference", reference: 1, picture }, patches)]));
  return { pin, back: patchesOf(pin, picture) };
});
const typed = asked.map(({ picture, typed }) => patchesOf({ on: "generated", ...typed }, picture));
console.log(JSON.stringify({ out, typed }));
"""


@pytest.mark.skipif(NODE is None, reason="no node on PATH: pins in the viewer are not compared")
def test_the_viewer_and_the_library_mean_the_same_patches() -> None:
    asked = []
    for picture in PICTURES:
        rows, columns = picture["grid"]
        places = product((0, 1, rows - 1), (0, columns // 2, columns - 1), (1, 2), (1, 3))
        for row, column, down, across in places:
            if row + down <= rows and column + across <= columns:
                patches = {"row": row, "column": column, "rows": down, "columns": across}
                typed = {"x": 7 * column + 1.5, "y": 5 * row + 2.25, "width": 11 * across, "height": 13 * down}
                asked.append({"picture": picture, "patches": patches, "typed": typed})
    script = SCRIPT.replace("PINS", PINS_JS.as_uri())
    command = [NODE or "", "--input-type=module", "--eval", script, json.dumps(asked)]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    for one, made, typed in zip(asked, told["out"], told["typed"], strict=True):
        picture, patches = one["picture"], one["patches"]
        size, grid = (picture["height"], picture["width"]), TokenGrid(*picture["grid"], rect=picture["rect"])
        assert made["back"] == patches
        (pin,) = pins_of(json.dumps([made["pin"]]))
        assert pin.reference == 1
        assert pin.cells(size, grid) == cells(patches)
        try:
            own = Pin("typed", "#000000", **one["typed"]).cells(size, grid)
        except ValueError:
            assert typed is None
        else:
            assert own == cells(typed)


def cells(patches: dict[str, int]) -> list[tuple[int, int]]:
    first, left = patches["row"], patches["column"]
    return [(first + r, left + c) for r in range(patches["rows"]) for c in range(patches["columns"])]
