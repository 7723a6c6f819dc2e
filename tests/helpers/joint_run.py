"""A run of joint attention calls with random q and k, kept as they were, so that every map can be stated from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import statement
import torch
from torch import Tensor

from i2am.geometry.layout import TokenGrid
from i2am.geometry.sequence import Sequence, generated, reference, text
from i2am.hosts.attention import Attention
from i2am.maps.value import AttributionMaps
from i2am.recording.recorder import Recorder

PICTURE = TokenGrid(6, 4)
SHIRT, SHOES = TokenGrid(5, 4, picture=(80, 64)), TokenGrid(2, 3, picture=(32, 48), rect=(0.0, 0.0, 1.0, 1.1))


def flux_like(tokens: int, picture: TokenGrid = PICTURE) -> Sequence:
    """Text, picture, two references of sizes of their own."""
    return Sequence.of(text(tokens), generated(picture), reference(SHIRT, "shirt"), reference(SHOES, "shoes"))


FULL: dict[str, Any] = {"stride": 1, "cells": 0}
"""All queries, all pairs."""


@dataclass
class JointRun:
    """What was recorded, with the calls that it was made from.

    Attributes:
        sequences: of each branch.
        layers: names.
        calls: (layer, branch, step) -> q and k of the whole sequence, (images, heads, S, d).
    """

    sequences: dict[str, Sequence]
    layers: tuple[str, ...] = ("double.0", "single.1")
    steps: int = 2
    images: int = 2
    heads: int = 3
    width: int = 4
    spread: float = 2.0
    scale: float = 0.5
    calls: dict[tuple[str, str, int], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def record(self, **options: Any) -> AttributionMaps:
        """The maps of the run."""
        generator = torch.Generator().manual_seed(5)
        common: dict[str, Any] = {"steps": self.steps, "images": self.images, "branches": tuple(self.sequences)}
        recorder = Recorder(None, **common | {"null_branches": (), "generated_size": (96, 64), "groups": 2} | FULL | options)
        for step in range(self.steps):
            for layer in self.layers:
                for branch, sequence in self.sequences.items():
                    q, k = (
                        torch.randn(self.images, self.heads, sequence.keys, self.width, generator=generator) for _ in range(2)
                    )
                    q = q * self.spread
                    self.calls[layer, branch, step] = q, k
                    given = torch.cat([q[:, :, a:b] for a, b in sequence.queries or ((0, sequence.keys),)], 2)
                    Attention.joint(layer, sequence, branch, given, k, None, scale=self.scale).record(recorder, step)
            recorder.end_step(step)
        return recorder.finish()

    def attention(self, layer: str, branch: str, step: int) -> Tensor:
        """(images, heads, N, S) float64: L of the generated queries with all keys, in the sequence's own order."""
        q, k = self.calls[layer, branch, step]
        return statement.logits(q[:, :, self.sequences[branch].generated.positions()], k, self.scale)

    def stated(self, layer: str, branch: str, index: int) -> dict[str, Tensor]:
        """The maps of one reference, (images, steps, heads, ...), from the definitions."""
        span = self.sequences[branch].references[index]
        found: list[dict[str, Tensor]] = []
        for step in range(self.steps):
            block = self.attention(layer, branch, step)
            own = [a[..., span.positions()] for a in _softmaxes(block)]
            a_r, a_g, balanced = own
            found.append(
                {
                    "mass": a_r.sum(-1),
                    "r2g": a_g.mean(-1),
                    "balanced": balanced.mean(-1),
                    "g2r": a_r.mean(-2),
                    "pairwise": a_r,
                }
            )
        return {name: torch.stack([maps[name] for maps in found], 1) for name in found[0]}


def _softmaxes(block: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return statement.real_attention(block), statement.compared_attention(block), statement.balanced_attention(block)
