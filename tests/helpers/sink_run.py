"""A run in which all patches, or some of them, look at chosen tokens: sinks, and what is none."""

from __future__ import annotations

import torch

from i2am.geometry.layout import TokenGrid
from i2am.geometry.sequence import Sequence, generated, reference, text
from i2am.hosts.attention import Attention
from i2am.maps.value import AttributionMaps
from i2am.recording.recorder import Recorder

PICTURE, SHIRT = TokenGrid(8, 8), TokenGrid(8, 6, 1)
SEQUENCE = Sequence.of(text(4), generated(PICTURE), reference(SHIRT, "shirt"))
WIDTH = 80


def record(favour: dict[int, float], follows: dict[int, float] | None = None, **options: object) -> AttributionMaps:
    """A run whose patches all add ``favour`` to the logit of a key, and ``follows`` to it in the picture's upper half alone."""
    generator = torch.Generator().manual_seed(0)
    size = (1, 2, SEQUENCE.keys, WIDTH)
    q, k = (torch.randn(size, generator=generator) * 0.1 for _ in range(2))
    q[..., -1], q[..., -2] = 1.0, 0.0
    q[:, :, 4 : 4 + PICTURE.placed // 2, -2] = 1.0
    k[..., -2:] = 0
    for key, more in favour.items():
        k[:, :, key, -1] = more
    for key, more in (follows or {}).items():
        k[:, :, key, -2] = more
    recorder = Recorder(None, **{"steps": 1, "stride": 1, "cells": 0, **options})  # type: ignore[arg-type]
    Attention.joint("only", SEQUENCE, "cond", q, k, None, scale=1.0).record(recorder, 0)
    recorder.end_step(0)
    return recorder.finish()


FIRST = 4 + PICTURE.placed
"""The shirt's first key, which has no place."""
