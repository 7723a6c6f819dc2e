"""A second kind of network is one class and one entry in a list: here a small one with joint attention, of this file alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from diffusers_run import normal
from torch import Tensor, nn

from i2am.errors import RecordingError
from i2am.geometry.layout import Layout, Reference, TokenGrid
from i2am.hosts.attention import Attention
from i2am.hosts.diffusers import kinds
from i2am.hosts.diffusers.network import Evaluation, Given, Observe
from i2am.hosts.diffusers.record import record

TEXT, REFERENCE, LATENT = 3, (2, 3), (4, 5)
HEADS, WIDTH = 2, 8
TIMES = (900.0, 500.0)


class Joint(nn.Module):
    """One block that attends to text, picture and reference in one sequence; ``seen`` holds its last q and k."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.seen: tuple[Tensor, Tensor] | None = None

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.seen = q, k
        return nn.functional.scaled_dot_product_attention(q, k, v)

    def forward(self, picture: Tensor, timestep: float, text: Tensor, reference: Tensor, _grid: tuple[int, int]) -> Tensor:
        sequence = torch.cat([text, picture, reference], 1)
        heads = (t.unflatten(2, (HEADS, -1)).transpose(1, 2) for t in self.qkv(sequence).chunk(3, -1))
        out = self.attend(*heads).transpose(1, 2).flatten(2)
        return (picture + timestep / 1000 * out[:, text.shape[1] : text.shape[1] + picture.shape[1]]) / 2


class JointKind:
    """What a recording needs to know of `Joint`."""

    takes: ClassVar[str] = "this test's model"

    def __init__(self, module: Joint) -> None:
        self.module: nn.Module = module
        self.joint = module
        self.text = 0

    @classmethod
    def of(cls, model: Any) -> JointKind | None:
        return cls(model) if isinstance(model, Joint) else None

    def given(self, args: tuple[Any, ...], _kwargs: dict[str, Any], _stitched: object = None) -> Given:
        picture, timestep, text, _, grid = args
        self.text = text.shape[1]
        return Given(picture, timestep, grid)

    def watch(self, observe: Observe, stack: ExitStack, _cutting: object = None) -> None:
        attend = self.joint.attend

        def watched(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            observe("joint", partial(self._attentions, q, k, v))
            return attend(q, k, v)

        self.joint.attend = watched  # type: ignore[method-assign]
        stack.callback(lambda: delattr(self.joint, "attend"))

    def _attentions(self, q: Tensor, k: Tensor, v: Tensor, evaluation: Evaluation) -> Iterator[Attention]:
        end = self.text + evaluation.latent[0] * evaluation.latent[1]
        k, v = (torch.cat([t[:, :, end:], t[:, :, :end]], 2) for t in (k, v))
        for branch, rows in evaluation.rows.items():
            generated = q[rows, :, self.text : end]
            yield Attention("joint", evaluation.latent, branch, generated, k[rows], v[rows], scale=q.shape[-1] ** -0.5)


def run(model: Joint) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Two images of two steps, guidance in one batch; what the attention was given in each."""
    placed, cells = REFERENCE[0] * REFERENCE[1], LATENT[0] * LATENT[1]
    x, text, reference = normal(0, 2, cells, WIDTH), normal(1, 4, TEXT, WIDTH), normal(2, 4, placed, WIDTH)
    seen = []
    with torch.inference_mode():
        for time in TIMES:
            uncond, cond = model(torch.cat([x, x]), time, text, reference, LATENT).chunk(2)
            assert model.seen is not None
            seen.append(model.seen)
            x = uncond + 3 * (cond - uncond)
    return x, seen


def test_it_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "KINDS", (*kinds.KINDS, JointKind))
    torch.manual_seed(0)
    model = Joint()
    plain, _ = run(model)
    placed, cells = REFERENCE[0] * REFERENCE[1], LATENT[0] * LATENT[1]
    layout = Layout((Reference(TokenGrid(*REFERENCE)),), keys=placed + TEXT + cells)
    both = ("uncond", "cond")
    recording = record(model, layout, steps=2, images=2, branches=both, keep=both, pairwise="heads", groups=2)
    with recording:
        out, seen = run(model)
    assert torch.equal(out, plain)
    assert "attend" not in vars(model)
    maps = recording.maps
    assert (maps.recorded, maps.branches, [x.name for x in maps.layers]) == ((0, 1), both, ["joint"])
    assert maps.generated_size == (8 * LATENT[0], 8 * LATENT[1])
    for step, (q, k) in enumerate(seen):
        real = (q.double() @ k.double().transpose(2, 3) * q.shape[-1] ** -0.5).softmax(-1)
        real = real[:, :, TEXT : TEXT + cells, TEXT + cells :]
        for i, branch in enumerate(both):
            assert torch.allclose(maps.pairwise("joint", branch)[:, step].double(), real[2 * i : 2 * i + 2], atol=1e-6)


def test_without_its_entry_it_is_refused_by_what_it_is() -> None:
    with pytest.raises(RecordingError, match=r"expected a diffusers UNet2DConditionModel or .*, got Joint"):
        record(Joint(), Layout.of(TokenGrid(*REFERENCE)), steps=2)
