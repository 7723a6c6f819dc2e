"""The peak memory of a process that records joint calls, above that of one that only holds a call: a process for each mode."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..recording.recorder import BUDGET, Recorder
from .joint import BLOCKS, RECORDED, STEPS, Block, keep_all, observe

COMPUTED = 2
"""Steps of a whole run that its proof computes: what is kept grows with the first one alone."""


def peaks(block: Block, device: torch.device) -> dict[str, int]:
    """Bytes that each mode adds with all of a block's heads; "keep_all" is measured on some and scaled up."""
    found = _of_each(("unwatched", *RECORDED, "unwatched, few heads", "keep_all"), block, device)
    added = {name: max(0, found[name] - found["unwatched"]) for name in RECORDED}
    few = max(0, found["keep_all"] - found["unwatched, few heads"])
    return {**added, "keep_all": few * block.heads // block.measured}


def prove_run(block: Block, device: torch.device) -> dict[str, Any]:
    """Record all blocks of a run in its first steps, as by default; held if that adds no more than the budget to a process."""
    found = _of_each(("unwatched", "run"), block, device)
    added = max(0, found["run"] - found["unwatched"])
    return {
        "blocks": BLOCKS,
        "steps": STEPS,
        "computed_steps": COMPUTED,
        "budget_bytes": BUDGET,
        "added_bytes": added,
        "held": added <= BUDGET,
    }


def _of_each(names: tuple[str, ...], block: Block, device: torch.device) -> dict[str, int]:
    """The peak of a new process for each name."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return {name: pool.apply(_peak, (name, block, str(device), torch.get_num_threads())) for name in names}


def _peak(name: str, block: Block, device: str, threads: int) -> int:
    """The peak of this process after one call of a mode."""
    torch.set_num_threads(threads)
    where = torch.device(device)
    q, k, v = block.tensors(block.heads if name in ("unwatched", "run", *RECORDED) else block.measured, where)
    with torch.no_grad():
        out = torch.empty_like(q)  # as large as the model's own result
        out[:, :1] = F.scaled_dot_product_attention(q[:, :1], k[:, :1], v[:, :1])
        if name in RECORDED:
            recorder = Recorder(None, steps=1, **RECORDED[name])
            observe(recorder, block.sequence(), q, k, 0)
            recorder.end_step(0)
            recorder.finish()
        elif name == "run":
            _record_run(block, q, k)
        elif name == "keep_all":
            keep_all(block.sequence(), q, k)
    return torch.cuda.max_memory_allocated(where) if where.type == "cuda" else _resident()


def _record_run(block: Block, q: Tensor, k: Tensor) -> None:
    recorder, sequence = Recorder(None, steps=STEPS), block.sequence()
    for step in range(COMPUTED):
        for number in range(BLOCKS):
            observe(recorder, sequence, q, k, step, f"block {number}")
        recorder.end_step(step)
    recorder.finish()


def _resident() -> int:
    """The most memory that this process ever had, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # the other way counts also what the process was forked from
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource  # not on Windows

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
