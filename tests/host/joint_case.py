"""Recorded runs of tiny joint models, with what a spy saw of them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import torch
from host_tests import tiny_joint
from host_tests.joint_spy import JointSpy, Seen
from torch import Tensor

MODULES = {
    "record": "hosts.comfy.record",
    "sequence": "hosts.comfy.joint_sequence",
    "parts": "geometry.parts",
    "kinds": "hosts.comfy.kinds",
    "errors": "errors",
    "choice": "levels.choice",
    "share": "levels.share",
}
FULL = {"stride": 1, "cells": 0}
"""All queries, and each pair of tokens."""
Key = tuple[int, str, str]
"""(step, layer, branch)"""


class Lib:
    """The modules of the library that these tests use, as the pack has them."""

    def __init__(self, pack: ModuleType) -> None:
        for name, module in MODULES.items():
            setattr(self, name, importlib.import_module(f"{pack.__name__}.i2am.{module}"))


@dataclass
class Run:
    """One recorded run.

    Attributes:
        name: the family.
        maps: what was recorded.
        calls: what the spy saw.
        text: tokens of each branch's text.
        sizes: (h, w) of the reference latents.
        size: (h, w) of the generated one.
    """

    name: str
    latent: Tensor
    maps: Any
    calls: list[Seen]
    text: dict[str, int]
    sizes: tuple[tuple[int, int], ...]
    size: tuple[int, int] = tiny_joint.SIZE

    @cached_property
    def truth(self) -> dict[Key, Tensor]:
        """A^r of the generated tokens over all keys in float64, (images, heads, N, S)."""
        found: dict[Key, Tensor] = {}
        counts: dict[tuple[str, str], int] = {}
        for call in self.calls:
            names = ("uncond", "cond") if len(call.conditionings) == 2 else (self._branch_of(call),)
            for branch, weights in zip(names, call.weights().chunk(len(names)), strict=True):
                step = counts.setdefault((call.layer, branch), 0)
                counts[call.layer, branch] += 1
                found[step, call.layer, branch] = weights[:, :, self.spans(branch)[0]]
        return found

    @cached_property
    def through(self) -> dict[tuple[int, str, str, int], Tensor]:
        """What goes to each reference via text in float64, (images, heads, N), by step, layer, branch and reference."""
        found: dict[tuple[int, str, str, int], Tensor] = {}
        counts: dict[tuple[str, str], int] = {}
        for call in self.calls:
            names = ("uncond", "cond") if len(call.conditionings) == 2 else (self._branch_of(call),)
            for branch, weights in zip(names, call.weights().chunk(len(names)), strict=True):
                step = counts.setdefault((call.layer, branch), 0)
                counts[call.layer, branch] += 1
                generated, *references = self.spans(branch)
                words = self.arranged(branch).texts
                reads, to_text = weights[:, :, words].mean(1), weights[:, :, generated, words]
                for r, span in enumerate(references):
                    mass = reads[..., span].sum(-1)
                    found[step, call.layer, branch, r] = torch.einsum("bhnt,bt->bhn", to_text, mass)
        return found

    def _branch_of(self, call: Seen) -> str:
        """The branch of a call of one conditioning: its number of keys tells."""
        return next(b for b in self.text if self.arranged(b).keys == call.k.shape[2])

    def arranged(self, branch: str) -> tiny_joint.Arranged:
        """Where a branch's tokens are."""
        return tiny_joint.arranged(self.name, self.text[branch], self.sizes, self.size)

    def spans(self, branch: str) -> list[slice]:
        """Generated tokens and those of each reference among a branch's keys."""
        return tiny_joint.spans(self.name, self.text[branch], self.sizes, self.size)

    def check(self, steps: dict[int, int] | None = None, branches: tuple[str, ...] = ("cond",)) -> None:
        """The recorded pairwise maps are the true ones; ``steps``: which evaluation was that of each recorded step."""
        maps, seen = self.maps, steps or {s: s for s in self.maps.recorded}
        assert maps.branches == branches
        assert maps.recorded == tuple(seen)
        assert [x.name for x in maps.layers] == list(tiny_joint.FAMILIES[self.name].layers)
        for branch in branches:
            for layer in maps.layers:
                for r, span in enumerate(self.spans(branch)[1:]):
                    got = maps.pairwise(layer.name, branch, r).double()
                    groups = [i for i, (a, b) in enumerate(maps.groups) for s in range(a, b) if s in seen]
                    for group, evaluation in zip(groups, seen.values(), strict=True):
                        want = self.truth[evaluation, layer.name, branch][..., span]
                        assert torch.allclose(got[:, group], want, atol=3e-6), (layer.name, branch, r, evaluation)
                    if seen == {s: s for s in maps.recorded} and len(maps.bins) == maps.run.steps:
                        via = maps.marginal("via_text", layer.name, branch, r).double()
                        for step in seen:
                            want = self.through[step, layer.name, branch, r]
                            assert torch.allclose(via[:, step], want, atol=3e-6), (layer.name, branch, r, step)


def run(
    lib: Any,
    name: str,
    positive: Any,
    negative: Any = None,
    model: Any = None,
    spied_last: bool = False,
    options: dict[str, Any] | None = None,
    **sampling: Any,
) -> Run:
    """A run that is the same, to the last bit, as the one that is not recorded.

    ``model`` is that of another pack; ``spied_last`` puts the spy's override over the recording rather than under it.
    """
    used = model or tiny_joint.model(name)
    plain = tiny_joint.sample(name, used, positive, negative, **sampling)
    spy = JointSpy()
    given = lib.record.Options(**FULL | {"pairwise": "heads", "groups": 50} | (options or {}))
    recorded, recording = lib.record.attach(used if spied_last else spy.attach(used), given)
    latent = tiny_joint.sample(name, spy.attach(recorded) if spied_last else recorded, positive, negative, **sampling)
    assert torch.equal(latent, plain)
    conditionings = {"cond": positive, **({} if negative is None else {"uncond": negative})}
    text = {branch: each[0][0].shape[1] for branch, each in conditionings.items()}
    first = next(about for _, about in positive if "reference_latents" in about)
    sizes = tuple(tuple(r.shape[-2:]) for r in first["reference_latents"])
    size = sampling.get("size", tiny_joint.SIZE)
    return Run(name, latent, recording.maps_of(latent), spy.calls, text, sizes, size)
