"""What cutting joint attention costs, on a block of FLUX's shape with random weights.

As in `joint`, the model's own work and the cuts take turns in each round, and ratios are to it in the same round.
"""

from __future__ import annotations

import statistics

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry.sequence import Sequence
from ..interventions.attend import attend_groups
from ..interventions.plan import Cut
from ..interventions.removal import groups, of_sequence
from .joint import WARM_UP, Block, Linears
from .modes import Clock

CUTS = {
    "a reference": Cut(),
    "by route": Cut(route="generated"),
    "by way of the text": Cut(route="text"),
    "by head": Cut(heads=(0, 2)),
    "by place": Cut(route="generated", where=torch.tensor([[1.0, 0.0], [0.0, 1.0]])),
}
"""What is measured."""
TARGETS = {name: 1.05 if name == "a reference" else 1.15 for name in CUTS}
"""Highest ratios to an uncut block."""


def measure_cuts(block: Block, device: torch.device, rounds: int) -> dict[str, dict[str, float]]:
    """By cut: its ratios to the uncut attention, ``of_attention``, and to the uncut block, ``of_block``; medians."""
    q, k, v = block.tensors(block.measured, device)
    sequence, clock = block.sequence(), Clock(device)
    linears = Linears(block).to(device, q.dtype).eval()
    tokens = torch.randn(1, -(-sequence.keys // block.tokens_in), block.heads * block.width).to(device, q.dtype)
    scale = sequence.keys / tokens.shape[1] * block.measured / block.heads
    ratios: dict[str, list[tuple[float, float]]] = {name: [] for name in CUTS}

    def seconds(cut: Cut | None) -> float:
        clock.take()
        clock.timed(lambda: attend(q, k, v, sequence, cut))()
        return clock.take()

    with torch.no_grad():
        for turn in range(WARM_UP + rounds):
            clock.take()
            clock.timed(lambda: linears(tokens))()
            beside, whole = clock.take() * scale, seconds(None)
            for name, cut in CUTS.items():
                taken = seconds(cut)
                if turn >= WARM_UP:
                    ratios[name].append((taken / whole, (taken + beside) / (whole + beside)))
    return {
        name: {key: statistics.median(column) for key, column in zip(("of_attention", "of_block"), zip(*found))}
        for name, found in ratios.items()
    }


def attend(q: Tensor, k: Tensor, v: Tensor, sequence: Sequence, cut: Cut | None) -> Tensor:
    """One call as a host makes it, with what it has to find out each time."""
    if cut is None:
        return F.scaled_dot_product_attention(q, k, v)
    removal = of_sequence(cut, sequence)
    assert removal is not None
    found = groups((removal,), q.shape[2], q.shape[1], k.shape[2])
    return attend_groups(found, _plain, q, k, v, None)


def _plain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
