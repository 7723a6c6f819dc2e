"""Maps with planted attention, made by the loaded pack's own library: every answer is known beforehand.

Two images, two layers, two heads, four steps, one reference of 5 x 4 patches after a leading token. Generated cell (a, b)
of the 10 x 8 grid looks at reference cell (a // 2, b // 2); in image 1 at its mirror image, (a // 2, 3 - b // 2). The
right half of the generated image also looks at a key of no reference, so that its mass is less.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import torch

GENERATED, REFERENCE = (80, 64), (100, 80)
LAYERS = {"input.1": (10, 8), "output.1": (5, 4)}
TOKENS = 21


def library(pack: ModuleType, name: str) -> Any:
    """A module of the pack's own copy of i2am."""
    return importlib.import_module(f"{pack.__name__}.i2am.{name}")


def planted(pack: ModuleType, *, pairwise: str | None = "heads", mask: Any = None, images: int = 2) -> Any:
    """The AttributionMaps of the run described above."""
    layout = library(pack, "geometry.layout")
    grid = layout.TokenGrid(5, 4, 1, picture=REFERENCE)
    recorder = library(pack, "recording.recorder").Recorder(
        layout.Layout((layout.Reference(grid, 0),), keys=TOKENS + 1),  # one key more, of no reference
        steps=4,
        images=images,
        pairwise=pairwise,
        groups=2,
        generated_size=GENERATED,
        inpaint_mask=mask,
    )
    for step in range(4):
        for name, (rows, columns) in LAYERS.items():
            q = torch.zeros(images, 2, rows * columns, TOKENS + 1)
            for image in range(images):
                for a in range(rows):
                    for b in range(columns):
                        row, column = a * 5 // rows, b * 4 // columns
                        query = q[image, :, a * columns + b]
                        query[:, 1 + row * 4 + (3 - column if image else column)] = 6.0 + step
                        query[:, TOKENS] = 6.0 if b >= columns // 2 else 0.0
            k = torch.eye(TOKENS + 1).expand(images, 2, -1, -1)
            recorder.observe(name, (rows, columns), step, "cond", q, k, k, scale=1.0)
        recorder.end_step(step)
    return recorder.finish()


def picture(size: tuple[int, int], count: int = 1) -> torch.Tensor:
    """An IMAGE, (count, H, W, 3), of soft noise; every picture differs."""
    noise = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(count))
    return torch.nn.functional.interpolate(noise, size, mode="bilinear").movedim(1, -1).contiguous()


def box(size: tuple[int, int], top: float, left: float, bottom: float, right: float) -> torch.Tensor:
    """A MASK, (1, H, W), that is 1 in a box given as parts of the picture."""
    mask = torch.zeros(1, *size)
    mask[0, round(top * size[0]) : round(bottom * size[0]), round(left * size[1]) : round(right * size[1])] = 1
    return mask


def defaults(node: Any) -> dict[str, Any]:
    """The widgets of a node as they stand when it is put into a graph."""
    types = node.INPUT_TYPES()
    found = {}
    for name, (kind, *about) in {**types.get("required", {}), **types.get("optional", {})}.items():
        said = about[0] if about else {}
        if "default" in said:
            found[name] = said["default"]
        elif kind == "COMBO" and said.get("options"):
            found[name] = said["options"][0]
    return found
