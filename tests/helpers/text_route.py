"""The route via text in float64 from the logits of every token; and runs in which it was planted, or is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import statement
import torch
from blocks import kept_tokens, tokens_per_block
from joint_run import PICTURE, flux_like
from torch import Tensor

from i2am.geometry.layout import TokenGrid
from i2am.geometry.sequence import Sequence, generated, reference, text
from i2am.hosts.attention import Attention
from i2am.maps.value import AttributionMaps
from i2am.recording.recorder import Recorder


def mean_over(block: Tensor, weights: Tensor) -> Tensor:
    """(..., n, T) to (..., T)."""
    return (block * weights[:, None]).sum(-2) / weights.sum()


def stated(sequence: Sequence, l_all: Tensor, stride: int = 1) -> dict[str, Any]:
    """Everything of the route from L of every token with every key, (B, H, S, S) float64, in the sequence's own order."""
    grid = sequence.generated.grid
    a = statement.real_attention(l_all)
    texts = torch.cat([span.positions() for span in sequence.rest if span.role == "text"])
    patches = a[:, :, sequence.generated.positions()[kept_tokens(grid, stride)]]
    reads = a[:, :, texts].mean(1)  # (B, T, S): what stands in a token's stream was read with any of its heads
    stands, to_text = tokens_per_block(grid, stride), patches[..., texts]
    found: dict[str, Any] = {"direct": [], "via": [], "on_reference": [], "handed_on": []}
    for span in sequence.references:
        mass = reads[..., span.positions()].sum(-1)
        found["direct"].append(patches[..., span.positions()].sum(-1))
        found["via"].append(torch.einsum("bhnt,bt->bhn", to_text, mass))
        column = mean_over(to_text.mean(1), stands)
        found["handed_on"].append(column * mass)
        found["on_reference"].append(torch.einsum("bt,bts->bs", column, reads[..., span.positions()]))
    whole = to_text.mean(1)
    found["words"] = mean_over(whole, stands)
    found["spread"] = mean_over((whole - found["words"][:, None]) ** 2, stands).sqrt()
    found["text"] = to_text.sum(-1)
    return found


WIDE = 40.0
"""So much larger is a planted logit than the others that nothing else is looked at."""


def planted(ways: dict[str, str], tokens: int = 3, heads: int = 2, **options: Any) -> AttributionMaps:
    """A run in which all tokens of a role look at those of another alone, such as {"generated": "text", "text": "shirt"}."""
    sequence = Sequence.of(
        text(tokens), generated(TokenGrid(3, 3)), reference(TokenGrid(2, 3), "shirt"), reference(TokenGrid(1, 2), "shoes")
    )
    names = [span.name for span in sequence.spans]
    k, q = torch.zeros(1, heads, sequence.keys, len(names)), torch.zeros(1, heads, sequence.keys, len(names))
    for i, span in enumerate(sequence.spans):
        k[:, :, span.positions(), i] = 1
        if span.name in ways:
            q[:, :, span.positions(), names.index(ways[span.name])] = WIDE
    recorder = Recorder(None, **{"steps": 1, "stride": 1, "cells": 0, **options})
    Attention.joint("only", sequence, "cond", q, k, None, scale=1.0).record(recorder, 0)
    recorder.end_step(0)
    return recorder.finish()


def lacking(sequences: list[Sequence], **options: Any) -> AttributionMaps:
    """A run of a step for each sequence."""
    recorder = Recorder(None, steps=len(sequences), stride=1, cells=0, **options)
    for step, sequence in enumerate(sequences):
        q, k = torch.randn(1, 2, sequence.keys, 4), torch.randn(1, 2, sequence.keys, 4)
        asked = torch.cat([q[:, :, a:b] for a, b in sequence.queries or ((0, sequence.keys),)], 2)
        Attention.joint("only", sequence, "cond", asked, k, None, scale=1.0).record(recorder, step)
        recorder.end_step(step)
    return recorder.finish()


WHOLE = flux_like(3)
PICTURE_ALONE = replace(WHOLE, queries=((3, 3 + PICTURE.placed),))
