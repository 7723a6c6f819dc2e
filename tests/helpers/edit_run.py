"""A recorded run of the edit model's network with random weights: references of any sizes in one sequence with the picture."""

from __future__ import annotations

from collections.abc import Sequence as Items
from typing import Any

import torch
from torch import Tensor, nn

from i2am.geometry.layout import TokenGrid
from i2am.geometry.sequence import Sequence, generated, reference, text
from i2am.hosts.attention import Attention
from i2am.maps.facts import RunInfo
from i2am.maps.value import AttributionMaps
from i2am.models.edit.family import CHANNELS, FACTOR, PATCH, SHAPE, TEXT, TEXT_WIDTH
from i2am.models.edit.network import EditNetwork
from i2am.models.edit.sampling import sigmas
from i2am.recording.recorder import Recorder

Size = tuple[int, int]
"""Rows and columns of tokens."""
SHAPES: tuple[Size, ...] = ((16, 12), (9, 13), (5, 11))
"""Unequal and odd."""
PICTURE: Size = (16, 12)


def _grid(size: Size) -> TokenGrid:
    return TokenGrid(*size, picture=(size[0] * FACTOR * PATCH, size[1] * FACTOR * PATCH))


def sequence_of(sizes: Items[Size], size: Size = PICTURE) -> Sequence:
    """Text, picture, references."""
    spans = [reference(_grid(each), f"reference {i}") for i, each in enumerate(sizes, 1)]
    return Sequence.of(text(TEXT), generated(_grid(size)), *spans)


@torch.no_grad()
def edit_run(
    sizes: Items[Size] = SHAPES[:2],
    images: int = 1,
    steps: int = 5,
    seed: int = 0,
    size: Size = PICTURE,
    default_layers: tuple[str, ...] = (),
    **given: Any,
) -> AttributionMaps:
    """The maps of such a run of Euler steps, its weights, latents and text random by the seed.

    All queries and pairs are kept, unless the recorder is ``given`` other options.
    """
    random = torch.Generator().manual_seed(seed)
    network = EditNetwork({**SHAPE, "hidden_size": 64, "num_heads": 2, "axes_dim": [4, 14, 14]}).eval()
    for name, weight in network.named_parameters():
        nn.init.normal_(weight, std=0.14, generator=random)
        if name.endswith("scale"):  # of the norms of q and k: sharp enough that no two patches look alike
            weight.add_(2.0)
    latents = [torch.randn(images, CHANNELS, PATCH * r, PATCH * c, generator=random) for r, c in (size, *sizes)]
    context = torch.randn(1, TEXT, TEXT_WIDTH, generator=random).expand(images, -1, -1)
    sequence, levels = sequence_of(sizes, size), sigmas(steps)
    options: dict[str, Any] = {
        "steps": steps,
        "images": images,
        "groups": min(steps, 5),
        "null_branches": (),
        "stride": 1,
        "cells": 0,
        **given,
    }
    recorder = Recorder(None, generated_size=(size[0] * FACTOR * PATCH, size[1] * FACTOR * PATCH), **options)

    def attend(layer: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        short = Sequence(sequence.spans, queries=((TEXT, TEXT + size[0] * size[1]),))  # the last block's queries
        called = sequence if q.shape[2] == k.shape[2] else short
        Attention.joint(layer, called, "cond", q, k, None, scale=q.shape[-1] ** -0.5).record(recorder, step)
        return nn.functional.scaled_dot_product_attention(q, k, v)

    x = latents[0]
    for step in range(steps):
        velocity = network(x, levels[step].expand(images), context, latents[1:], attend=attend)
        x = x + (levels[step + 1] - levels[step]) * velocity
        recorder.end_step(step)
    run = RunInfo(steps, sigmas=tuple(levels[:-1].tolist()), seed=seed, model="EditNetwork", default_layers=default_layers)
    return recorder.finish(run)
