"""A short guided denoising of a tiny U-Net, its recording, and what the plain statement says of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import statement
import torch
from diffusers import UNet2DConditionModel
from planted import CONTEXT, HEADS, LATENT, LAYERS, attention_of, tiny_unet
from torch import Tensor, nn

from i2am.geometry.layout import Layout, Reference, TokenGrid
from i2am.hosts.diffusers.record import record
from i2am.maps.value import AttributionMaps

# a key of nobody, a reference of 4 x 3 after a leading token, two keys of nobody, a reference of 2 x 5
LAYOUT = Layout((Reference(TokenGrid(4, 3, 1), 1, "shirt"), Reference(TokenGrid(2, 5), 16, "shoes")), keys=26)
TIMES = (901.0, 601.0, 301.0)
KINDS = ("r2g", "r2g_placed", "balanced", "balanced_placed", "mass", "mass_placed", "g2r")
MODES = [("batch", 1), ("batch", 2), ("calls", 2), ("none", 2)]


class Broken(RuntimeError):
    pass


_unet = cache(tiny_unet)


@pytest.fixture(name="unet")
def unet_fixture() -> UNet2DConditionModel:
    return copy.deepcopy(_unet())


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def branches_of(mode: str) -> tuple[str, ...]:
    return ("cond",) if mode == "none" else ("uncond", "cond")


@dataclass
class Run:
    """A short guided denoising; ``reference`` seeds what the keys hold."""

    mode: str = "batch"
    images: int = 1
    reference: int = 1
    times: tuple[float, ...] = TIMES
    latent: tuple[int, int] = LATENT
    dtype: torch.dtype = torch.float32
    each_step: Callable[[int], None] | None = None

    def context(self) -> dict[str, Tensor]:
        """(images, keys, CONTEXT) by branch."""
        keys = LAYOUT.key_count
        cond = normal(self.reference, self.images, keys, CONTEXT).to(self.dtype)
        return {"uncond": normal(0, 1, keys, CONTEXT).to(self.dtype).expand_as(cond), "cond": cond}

    def __call__(self, unet: UNet2DConditionModel, **kwargs: Any) -> Tensor:
        x = normal(99, self.images, 4, *self.latent).to(self.dtype)
        context = self.context()
        with torch.inference_mode():
            for step, time in enumerate(self.times):
                if self.mode == "batch":
                    both = torch.cat([context["uncond"], context["cond"]])
                    uncond, cond = unet(torch.cat([x, x]), time, encoder_hidden_states=both, **kwargs).sample.chunk(2)
                elif self.mode == "calls":
                    uncond, cond = (unet(x, time, context[b], **kwargs).sample for b in ("uncond", "cond"))
                else:
                    uncond = cond = unet(x, torch.tensor([time] * self.images), context["cond"], **kwargs).sample
                x = x - 0.3 * (uncond + 3 * (cond - uncond))
                if self.each_step:
                    self.each_step(step)
        return x


def recording_of(model: Any, run: Run, **options: Any) -> Any:
    branches = options.pop("branches", branches_of(run.mode))
    options = {"steps": len(run.times), "images": run.images, "keep": branches, "pairwise": "heads", "groups": 3, **options}
    return record(model, options.pop("layout", LAYOUT), branches=branches, **options)


def recorded(
    unet: UNet2DConditionModel, run: Run, kwargs: dict | None = None, **options: Any
) -> tuple[Tensor, AttributionMaps]:
    recording = recording_of(unet, run, **options)
    with recording:
        out = run(unet, **(kwargs or {}))
    return out, recording.maps


def traces(unet: UNet2DConditionModel) -> dict[str, Any]:
    """All that a recording might leave in a U-Net; compared by identity where it holds objects."""
    processors = {name: id(m.processor) for name, m in unet.named_modules() if hasattr(m, "processor")}
    hooks = {n: (len(m._forward_hooks), len(m._forward_pre_hooks)) for n, m in unet.named_modules()}
    own = {name: sorted(k for k in vars(m) if not k.startswith("_")) for name, m in unet.named_modules()}
    return {"processors": processors, "hooks": hooks, "own": own, "state": list(unet.state_dict())}


class Seen:
    """Watches q, k and v of every cross-attention call by its own hooks, beside the host."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self.calls: dict[str, list[dict[str, Tensor]]] = {name: [] for name in LAYERS}
        self.unet = unet

    def __enter__(self) -> Seen:
        self.handles = []
        for name in LAYERS:
            attn = attention_of(self.unet, name)
            for part in ("to_q", "to_k", "to_v"):
                self.handles.append(getattr(attn, part).register_forward_hook(self._hook(name, part)))
        return self

    def _hook(self, name: str, part: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, out: Tensor) -> None:
            if part == "to_q":
                self.calls[name].append({})
            self.calls[name][-1][part] = out.unflatten(2, (HEADS, -1)).transpose(1, 2).clone()

        return hook

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def rows(self, layer: str, step: int, branch: str, run: Run) -> dict[str, Tensor]:
        """q, k, v of one step and branch, (images, heads, ..., d)."""
        n, i = run.images, branches_of(run.mode).index(branch)
        if run.mode == "calls":
            return self.calls[layer][2 * step + i]
        return {part: t[i * n : (i + 1) * n] for part, t in self.calls[layer][step].items()}


def assert_states(maps: AttributionMaps, seen: Seen, run: Run, mask: Tensor | None = None, relative: float = 1e-4) -> None:
    """Every map equals the plain statement of it; ``mask`` is additive, (rows, keys)."""
    n = run.images
    for layer in maps.layers:
        for branch in maps.branches:
            rows = slice(branches_of(run.mode).index(branch) * n, (branches_of(run.mode).index(branch) + 1) * n)
            for step in range(len(run.times)):
                part = seen.rows(layer.name, step, branch, run)
                for i, reference in enumerate(LAYOUT.references):
                    stated = statement.call_maps(
                        part["to_q"],
                        part["to_k"],
                        part["to_v"],
                        (reference.start, reference.grid.leading, reference.grid.placed),
                        scale=part["to_q"].shape[-1] ** -0.5,
                        mask=None if mask is None else mask[rows, None, None],
                    )
                    found = {kind: maps.marginal(kind, layer.name, branch, i)[:, step] for kind in KINDS if kind in stated}
                    found["pairwise"] = maps.pairwise(layer.name, branch, i)[:, step]
                    for kind in ("entropy", "norm"):
                        found[kind] = maps.grouped(kind, layer.name, branch, i)[:, step]
                    for kind, value in found.items():
                        assert_close(value.double(), stated[kind], relative, f"{kind} of {layer.name}, {branch}, {step}, {i}")


def assert_close(seen: Tensor, expected: Tensor, relative: float, what: str) -> None:
    torch.testing.assert_close(seen, expected, rtol=relative, atol=1e-6, msg=lambda text: f"{what}: {text}")
