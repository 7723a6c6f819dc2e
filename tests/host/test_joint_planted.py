"""Attention that is planted in the host's own FLUX is recovered: for each step, block, head, branch, image and reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests import joint_case, tiny_joint
from torch import Tensor, nn

SIZES = ((4, 4), (5, 7))
TEXT, IMAGES, STEPS, WIDTH = 7, 2, 2, 16
LAYERS = tiny_joint.FAMILIES["kontext"].layers
ROWS = [(branch, image) for branch in ("uncond", "cond") for image in range(IMAGES)]  # as the host orders them
GENERATED, *REFERENCES = tiny_joint.spans("kontext", TEXT, SIZES)
TOKENS = REFERENCES[-1].stop
HIGH = 160.0


def target(step: int, layer: str, head: int, branch: str, image: int) -> tuple[int, Tensor]:
    """The reference that a head looks at, and which of its tokens each generated token takes."""
    place = LAYERS.index(layer)
    reference = (step + head + place + image + (branch == "cond")) % 2
    count = REFERENCES[reference].stop - REFERENCES[reference].start
    shift = 1 + 5 * step + 3 * place + 2 * head + 7 * image + 11 * (branch == "cond")
    return reference, (3 * torch.arange(GENERATED.stop - GENERATED.start) + shift) % count


def planted(step: int, layer: str) -> tuple[Tensor, Tensor]:
    """q and k, (rows, heads, tokens, width): each key has a code of its own, and each generated query that of its target."""
    source = torch.Generator().manual_seed(1)
    codes = torch.nn.functional.normalize(torch.randn(TOKENS, WIDTH, generator=source), dim=-1)
    q = torch.zeros(len(ROWS), 2, TOKENS, WIDTH)
    for row, (branch, image) in enumerate(ROWS):
        for head in range(2):
            reference, token = target(step, layer, head, branch, image)
            q[row, head, GENERATED] = HIGH * codes[REFERENCES[reference].start + token]
    return q, codes.expand(len(ROWS), 2, -1, -1)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A model whose blocks get planted queries and keys where theirs were normalised, and no rotary embedding after that."""
    made = tiny_joint.model("kontext")
    network, calls, hooks = made.model.diffusion_model, Counter[nn.Module](), []

    def plant(module: nn.Module, layer: str, part: slice) -> None:
        def replace(module: nn.Module, _given: Any, _out: Any) -> tuple[Tensor, Tensor]:
            q, k = planted(calls[module], layer)
            calls[module] += 1
            return q[:, :, part], k[:, :, part]

        hooks.append(module.register_forward_hook(replace))

    for i, block in enumerate(network.double_blocks):
        plant(block.txt_attn.norm, f"double.{i}", slice(0, TEXT))
        plant(block.img_attn.norm, f"double.{i}", slice(TEXT, None))
    for i, block in enumerate(network.single_blocks):
        plant(block.norm, f"single.{i}", slice(None))
    monkeypatch.setattr(network.pe_embedder, "forward", lambda _ids: None)
    yield made
    for hook in hooks:
        hook.remove()


def test_it_is_recovered(pack: ModuleType, model: Any) -> None:
    lib = joint_case.Lib(pack)
    options = lib.record.Options(pairwise="heads", groups=STEPS, branches=("cond", "uncond"), stride=1, cells=0)
    recorded, recording = lib.record.attach(model, options)
    positive, negative = (tiny_joint.conditioning("kontext", *SIZES, seed=seed) for seed in (10, 20))
    maps = recording.maps_of(tiny_joint.sample("kontext", recorded, positive, negative, batch=IMAGES, steps=STEPS))
    for step in range(STEPS):
        for layer in LAYERS:
            for branch, image in ROWS:
                for head in range(2):
                    reference, token = target(step, layer, head, branch, image)
                    own, other = (maps.pairwise(layer, branch, r)[image, step, head] for r in (reference, 1 - reference))
                    assert torch.equal(own.argmax(1), token), (step, layer, branch, image, head)
                    assert float(own.sum(1).min()) > 0.9
                    assert float(other.sum(1).max()) < 0.1
