"""Maps of the size that the viewer in a graph promises to show."""

from __future__ import annotations

import torch

from i2am.geometry.layout import Layout, TokenGrid
from i2am.maps.value import AttributionMaps
from i2am.recording.recorder import Recorder


def large(groups: int) -> AttributionMaps:
    """A layer of 64 x 48 patches that looks at two references of 32 x 32 of noise, which is hard to deflate."""
    grid = TokenGrid(32, 32)
    recorder = Recorder(Layout.of(grid, grid), steps=groups, groups=groups, pairwise="mean", generated_size=(512, 384))
    random = torch.Generator().manual_seed(0)
    for step in range(groups):
        q, k = (torch.randn(1, 1, n, 8, generator=random) for n in (64 * 48, 2048))
        recorder.observe("layer", (64, 48), step, "cond", q, k, None, scale=0.35)
        recorder.end_step(step)
    return recorder.finish()
