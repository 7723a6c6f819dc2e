"""Memory in the benchmark: a peak meter, and proofs that recording stays small (DESIGN 4, 5)."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..geometry.layout import Layout, TokenGrid
from ..maps.value import AttributionMaps
from ..recording.recorder import BUDGET, Recorder
from ..recording.reduce import CHUNK_BYTES


class PeakMemory:
    """Peak number of bytes held by tensors made inside `watch`, over all its blocks.

    On the CPU it counts the storages that PyTorch's operations return, until they are freed. The process's resident
    size would also include what the allocator keeps of earlier work, and blame one mode for another's. Memory that an
    operation uses internally is not seen. On CUDA it is the allocator's own count of the device's memory.
    """

    def __init__(self, device: torch.device) -> None:
        self.bytes = 0
        self._device = device
        self._storages = _Storages()
        self._held = 0

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Count what the block allocates."""
        if self._device.type != "cuda":
            with self._storages:
                yield
            self.bytes = self._storages.peak
            return
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        yield
        torch.cuda.synchronize(self._device)
        self.bytes = max(self.bytes, self._held + torch.cuda.max_memory_allocated(self._device) - before)
        self._held += torch.cuda.memory_allocated(self._device) - before


class _Storages(TorchDispatchMode):
    """Follows every new storage that an operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in tree_leaves((args, kwargs)):
            self._follow(leaf, counted=False)
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            self._follow(leaf, counted=True)
        return out

    def _follow(self, leaf: Any, counted: bool) -> None:
        if not isinstance(leaf, Tensor):
            return
        storage = leaf.untyped_storage()
        key = storage._cdata  # noqa: SLF001 -- torch has no public name for the memory itself
        if key in self._known:
            return
        self._known[key] = storage.nbytes() if counted else 0
        self.now += self._known[key]
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._known.pop(key, 0)


def room_for(budget: int, chunk_bytes: int) -> int:
    """Most bytes that a recording may take while it runs: the budget, as much again for a step's maps, and the chunks."""
    return 2 * budget + 2 * chunk_bytes


def prove_budget(
    run: Callable[..., AttributionMaps | None],
    device: torch.device,
    *,
    steps: int,
    chunk_bytes: int,
    shares: tuple[float, ...] = (0.25, 0.1),
) -> list[dict[str, Any]]:
    """Record ``steps`` steps per head at the default budget, then with ``shares`` of what that took as the budget.

    The proof holds if the recording stays within its budget, and the peak that it added to the run within `room_for`.

    Args:
        run: runs a model for ``steps`` and returns the maps recorded with ``pairwise`` and ``budget``; with
            ``budget`` None it records nothing.
        device: of the model.
        steps: T.
        chunk_bytes: what the runs record with.
        shares: above 0, below 1.
    """
    plain = PeakMemory(device)
    with plain.watch():
        run(steps=1, pairwise=None, budget=None)
    proofs: list[dict[str, Any]] = []
    budgets = [BUDGET]
    while budgets:
        budget = budgets.pop(0)
        meter = PeakMemory(device)
        with meter.watch():
            maps = run(steps=steps, pairwise="heads", budget=budget)
        assert maps is not None
        if not proofs:
            budgets = [int(maps.nbytes * share) for share in shares]
        proofs.append(
            {
                "steps": len(maps.recorded),
                "budget_bytes": budget,
                "recording_bytes": maps.nbytes,
                "added_bytes": meter.bytes - plain.bytes,
                "pairwise": maps.pairwise_heads,
                "bins": len(maps.bins),
                "notes": list(maps.notes),
                "held": maps.nbytes <= budget and meter.bytes - plain.bytes <= room_for(budget, chunk_bytes),
            }
        )
    return proofs


def prove_layer(
    device: torch.device,
    grid: tuple[int, int],
    reference: tuple[int, int],
    *,
    heads: int = 8,
    width: int = 40,
    pairwise: str | None = None,
    budget: int = BUDGET,
    chunk_bytes: int = CHUNK_BYTES,
) -> dict[str, Any]:
    """Record two steps of one cross-attention layer; its N x S x heads block must never exist at once.

    The proof holds if the peak is below half of that block, and within `room_for`.

    Args:
        device: where q and k are.
        grid: rows and columns of the generated tokens.
        reference: rows and columns of the reference tokens.
        heads: of the layer.
        width: channels of a head.
        pairwise: see `Recorder`; "heads" must not fit into ``budget``.
        budget: see `Recorder`.
        chunk_bytes: see `Recorder`.
    """
    n, s = grid[0] * grid[1], reference[0] * reference[1]
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, tokens, width, generator=generator).to(device) for tokens in (n, s, s))
    meter = PeakMemory(device)
    layout = Layout.of(TokenGrid(*reference))
    with meter.watch():
        size = (grid[0] * 8, grid[1] * 8)
        options: dict[str, Any] = {"pairwise": pairwise, "budget": budget, "chunk_bytes": chunk_bytes}
        recorder = Recorder(layout, steps=2, generated_size=size, **options)
        for step in range(2):
            recorder.observe("layer", grid, step, "cond", q, k, v, scale=width**-0.5)
            recorder.end_step(step)
        maps = recorder.finish()
    block = n * s * heads * 4
    return {
        "queries": n,
        "keys": s,
        "heads": heads,
        "pairwise": pairwise,
        "kept": maps.pairwise_heads,
        "budget_bytes": budget,
        "block_bytes": block,
        "added_bytes": meter.bytes,
        "recording_bytes": maps.nbytes,
        "notes": list(maps.notes),
        "held": meter.bytes < block / 2 and meter.bytes <= room_for(budget, chunk_bytes),
    }
