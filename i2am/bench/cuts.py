"""What cutting joint attention costs, on a block of FLUX's shape with random weights: `i2am bench --cuts`.

As in `joint`, the model's own work and the cuts take turns in each round, and ratios are to it in the same round.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ..geometry.sequence import Sequence
from ..interventions.attend import attend_groups
from ..interventions.plan import Cut
from ..interventions.removal import groups, of_sequence
from .joint import FLUX, TINY, WARM_UP, Block, Linears
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


def run_cuts(device: torch.device, *, rounds: int, tiny: bool, threads: int | None, file: Path | None) -> str:
    """Measure, and write the JSON file if asked for; returns the figures as text."""
    if device.type == "cpu":
        torch.set_num_threads(threads or 1)
    block = replace(TINY, heads=4, measured=4) if tiny else FLUX  # cuts by head need several
    cuts = measure_cuts(block, device, rounds)
    setup = {
        **asdict(block),
        "queries": block.sequence().generated.grid.placed,
        "keys": block.sequence().keys,
        "rounds": rounds,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"cuts": cuts, "targets": TARGETS, "setup": setup}, indent=2) + "\n", encoding="utf-8")
    lines = [f"{'cut':20} {'of attention':>14} {'of a double block':>20}"]
    for name, found in cuts.items():
        lines.append(f"{name:20} {found['of_attention']:>14.3f} {found['of_block']:>11.3f} (≤ {TARGETS[name]:.2f})")
    return "\n".join(lines) + "\n"


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
        for turn in tqdm(range(WARM_UP + rounds), unit="round", leave=False):
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
