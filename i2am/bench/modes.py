"""The ways of watching a U-Net that the benchmark compares: this library's, and two plain ones as baselines."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..geometry.layout import Layout
from ..hosts.diffusers.record import DiffusersRecording, record

RECORDED: dict[str, dict[str, Any]] = {
    "marginals": {"pairwise": None},
    "pairwise": {"pairwise": "mean"},
    "pairwise_per_head": {"pairwise": "heads"},
}
MODES = ("none", *RECORDED, "keep_all", "recompute_hook")


@dataclass(frozen=True)
class Run:
    """One sampling run of ``schedule`` steps: rows are [uncond, cond] of ``images`` images, with keys as in ``layout``."""

    layout: Layout
    schedule: int
    generated_size: tuple[int, int]
    images: int = 1


class Clock:
    """Adds up the time spent in its `timed` functions.

    On the CPU it counts seconds of processor time of the whole process, so that waiting for another program does not
    count; on CUDA, seconds between two events on the device's queue.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._cuda:
                first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                first.record()
                try:
                    return function(*args, **kwargs)
                finally:
                    last.record()
                    self._events.append((first, last))
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self._seconds += time.process_time() - start

        return call

    def time_hooks(self, recording: DiffusersRecording) -> None:
        """Count what a recording that has not been entered will do: at an evaluation of the network and at a layer."""
        for name in ("_before", "_observe"):
            setattr(recording, name, self.timed(getattr(recording, name)))

    def take(self) -> float:
        """Seconds since the last `take`."""
        if self._events:
            torch.cuda.synchronize()
            self._seconds += sum(first.elapsed_time(last) for first, last in self._events) / 1e3
        seconds, self._seconds = self._seconds, 0.0
        self._events.clear()
        return seconds


def shared_copy(model: nn.Module) -> nn.Module:
    """A copy of the model with its own hooks and processors but the same weights."""
    return copy.deepcopy(model, {id(t): t for t in (*model.parameters(), *model.buffers())})


class Mode:
    """One way of watching, over one run; the base class watches nothing.

    Attributes:
        model: its own copy of the model, sharing the weights.
        clock: the time spent watching; None where watching cannot be told from the model's own work.
    """

    def __init__(self, model: nn.Module, run: Run, device: torch.device) -> None:
        self.model = shared_copy(model)
        self.clock: Clock | None = Clock(device)
        self.run = run
        self._stack = ExitStack()

    def __enter__(self) -> Mode:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def stored_bytes(self, _steps: int) -> int:
        """Bytes that a whole run leaves, given that ``_steps`` of its steps ran; call it after leaving the mode."""
        return 0

    def notes(self) -> list[str]:
        """What a budget left out; call it after leaving the mode."""
        return []


class Recorded(Mode):
    """This library's recording, as a user of the diffusers host gets it."""

    def __init__(self, model: nn.Module, run: Run, device: torch.device, **options: Any) -> None:
        super().__init__(model, run, device)
        assert self.clock is not None
        self.recording: DiffusersRecording = record(
            self.model, run.layout, steps=run.schedule, images=run.images, generated_size=run.generated_size, **options
        )
        self.clock.time_hooks(self.recording)

    def __enter__(self) -> Recorded:
        self.recording.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.recording.__exit__(*error)

    def stored_bytes(self, _steps: int) -> int:
        """Bytes of the maps, which do not grow with the steps."""
        return self.recording.maps.nbytes

    def notes(self) -> list[str]:
        """What the recording left out."""
        return list(self.recording.maps.notes)


class KeepAll(Mode):
    """Baseline: explicit attention that keeps the conditional half's softmax of every cross-attention layer and step."""

    def __enter__(self) -> KeepAll:
        self.clock = None
        self.kept: list[Tensor] = []
        for _, attn in _attentions(self.model, "attn2"):
            attn.set_processor(_Explicit(self.kept))
        return self

    def stored_bytes(self, steps: int) -> int:
        """Bytes of the blocks kept, scaled up to a whole run."""
        return sum(t.numel() * t.element_size() for t in self.kept) * self.run.schedule // steps


class _Explicit:
    """An attention processor that makes the whole N x S x heads block and keeps the second half of its rows."""

    def __init__(self, kept: list[Tensor]) -> None:
        self._kept = kept

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        value = attn.head_to_batch_dim(attn.to_v(context))
        weights = _softmax(attn, hidden_states, context)
        self._kept.append(weights[len(weights) // 2 :].clone())
        out = attn.batch_to_head_dim(torch.bmm(weights, value))
        return attn.to_out[1](attn.to_out[0](out))  # type: ignore[no-any-return]


class RecomputeHook(Mode):
    """Baseline: a forward hook on every attention recomputes its softmax; those of cross-attention are summed and kept."""

    def __enter__(self) -> RecomputeHook:
        assert self.clock is not None
        self.sums: dict[str, Tensor] = {}
        for kind in ("attn1", "attn2"):
            for name, attn in _attentions(self.model, kind):
                hook = self.clock.timed(self._hook(name, kind == "attn2"))
                self._stack.callback(attn.register_forward_hook(hook, with_kwargs=True).remove)
        return self

    def _hook(self, name: str, cross: bool) -> Callable[..., None]:
        def hook(attn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], _out: Tensor) -> None:
            context = kwargs.get("encoder_hidden_states")
            weights = _softmax(attn, args[0], args[0] if context is None else context)
            if not cross:
                return
            mean = weights[len(weights) // 2 :].unflatten(0, (-1, attn.heads)).mean(1)
            if name in self.sums:
                self.sums[name] += mean
            else:
                self.sums[name] = mean

        return hook

    def stored_bytes(self, _steps: int) -> int:
        """Bytes of the sums, which do not grow with the steps."""
        return sum(t.numel() * t.element_size() for t in self.sums.values())


def _attentions(model: nn.Module, kind: str) -> list[tuple[str, Any]]:
    return [(name, module) for name, module in model.named_modules() if name.endswith("." + kind)]


def _softmax(attn: Any, hidden_states: Tensor, context: Tensor) -> Tensor:
    """(rows * heads, N, S), all at once."""
    query = attn.head_to_batch_dim(attn.to_q(hidden_states))
    key = attn.head_to_batch_dim(attn.to_k(context))
    return attn.get_attention_scores(query, key)  # type: ignore[no-any-return]


def make(name: str, model: nn.Module, run: Run, device: torch.device) -> AbstractContextManager[Mode]:
    """The mode called ``name``, one of `MODES`."""
    if name in RECORDED:
        return Recorded(model, run, device, **RECORDED[name])
    return {"none": Mode, "keep_all": KeepAll, "recompute_hook": RecomputeHook}[name](model, run, device)
