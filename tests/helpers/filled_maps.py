"""A recording of random calls that has everything a recording can have, and what was handed in for it."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from i2am.geometry.layout import Layout, Reference, TokenGrid
from i2am.maps.facts import RunInfo
from i2am.maps.value import AttributionMaps
from i2am.recording.recorder import Recorder

SHIRT = Reference(TokenGrid(4, 3, 1, picture=(64, 48), rect=(0.0, 0.125, 1.0, 0.875)), 2, "shirt, left: “ü”")
SHOES = Reference(TokenGrid(2, 5, picture=(32, 80), rect=None), 16, "shoes")
LAYERS = {"down.0": ((6, 4), 2, Layout((SHIRT, SHOES), keys=27)), "mid|dle": ((3, 2), 4, Layout((SHIRT, SHOES), keys=30))}
INFO = {
    "seed": 2**53 + 1,
    "sampler": "DDIM",
    "cfg": 7.5,
    "timesteps": (981.0, 501.0, 21.0),
    "sigmas": (14.6146, 0.1 + 0.2, 1e-7),
    "model": "tiny",
    "host": "test",
    "extra": {"hash": "ab12", "sizes": [64, 48], "nested": {"on": True, "none": None, "name": "ü"}},
}


FIELDS = (
    *("layers", "references", "branches", "images", "run", "bins", "groups", "recorded", "generated_size", "notes"),
    "null_branches",
)


def recording(
    names: tuple[str, ...] = ("down.0",), pairwise: str | None = "heads", masked: bool = True, **info: Any
) -> tuple[AttributionMaps, dict[str, Any]]:
    """A recording of random calls, and the objects that were handed in for it."""
    mask = torch.zeros(2, 12, 8)
    mask[0, 2:9, 1:6] = 1
    mask[1, 4:5] = 0.5
    given = {
        "mask": mask,
        "thumbnails": {
            "garment | left": torch.arange(60, dtype=torch.uint8).view(4, 5, 3),
            "person": torch.ones(2, 2, 3).byte(),
        },
        "info": {**INFO, **info},
    }
    recorder = Recorder(
        lambda name: LAYERS[name][2],
        steps=3,
        images=2,
        branches=("uncond", "cond"),
        pairwise=pairwise,
        groups=2,
        inpaint_mask=mask if masked else None,
        generated_size=(96, 64),
        budget=72_000 if len(names) == 1 and pairwise == "heads" else 10**9,  # a little short: that leaves a note
    )
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 3):
        for branch in ("uncond", "cond"):
            for name in names:
                grid, heads, layout = LAYERS[name]
                n, s = grid[0] * grid[1], layout.key_count
                q, k, v = (torch.randn(2, heads, count, 4, generator=generator) for count in (n, s, s))
                recorder.observe(name, grid, step, branch, q, k, v, scale=0.5, middle=name.startswith("mid"))
        recorder.end_step(step)
    run = RunInfo(steps=3, **given["info"])
    return recorder.finish(run, given["thumbnails"] if masked else None), given


@cache
def example() -> AttributionMaps:
    return recording()[0]


def described(maps: AttributionMaps) -> dict[str, Any]:
    """All that maps say of themselves, but for their tensors."""
    return {name: getattr(maps, name) for name in (*FIELDS, "nbytes", "pairwise_heads")}


def assert_equal(a: AttributionMaps, b: AttributionMaps) -> None:
    """Both say the same and hold the same, of the same types."""
    assert described(a) == described(b)
    assert type(a.run.timesteps) is type(b.run.timesteps) is tuple
    assert a._tensors.keys() == b._tensors.keys()
    for key, tensor in a._tensors.items():
        assert tensor.dtype == b._tensors[key].dtype
        assert torch.equal(tensor, b._tensors[key]), key
    assert (a.inpaint_mask is None) == (b.inpaint_mask is None)
    if a.inpaint_mask is not None:
        assert torch.equal(a.inpaint_mask, b.inpaint_mask)
    assert a.thumbnails.keys() == b.thumbnails.keys()
    for name, picture in a.thumbnails.items():
        assert b.thumbnails[name].dtype == torch.uint8
        assert torch.equal(picture, b.thumbnails[name])
