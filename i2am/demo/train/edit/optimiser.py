"""Muon for the blocks' matrices, AdamW for everything else, with a state that is saved by name."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..precision import has_bfloat16

WIDTH = 128


def orthogonal(x: Tensor, steps: int = 5) -> Tensor:
    """The nearest half-orthogonal matrices of (n, rows, columns), about: Muon's Newton-Schulz iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = x.shape[-2] > x.shape[-1]
    y = x.mT if tall else x
    if has_bfloat16(x.device):
        y = y.bfloat16()  # exact enough, and faster
    y = y / (y.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = y @ y.mT
        y = a * y + (b * gram + c * gram @ gram) @ y
    return (y.mT if tall else y).to(x.dtype)


def parts(name: str, matrix: Tensor) -> Iterator[Tensor]:
    """Views of a block's matrix that each do one thing: queries, keys, values, a shift, half of an MLP."""
    if name.endswith("linear1.weight"):
        yield from matrix.split([WIDTH] * 3 + [matrix.shape[0] - 3 * WIDTH])
    elif name.endswith("linear2.weight"):
        yield from matrix.split([WIDTH, matrix.shape[1] - WIDTH], 1)
    elif name.endswith(("qkv.weight", "lin.weight")):
        yield from matrix.split(WIDTH)
    else:
        yield matrix


class Optimiser:
    """One step of Muon and AdamW over the named parameters of a model.

    Muon's updates are scaled to the root mean square of AdamW's, so that one rate serves both. ``state`` is all that
    a resumed training needs.
    """

    def __init__(self, model: nn.Module, momentum: float = 0.95, betas: tuple[float, float] = (0.9, 0.99), decay: float = 0.01):
        self.momentum, self.betas, self.decay = momentum, betas, decay
        named = dict(model.named_parameters())
        self.matrices = {n: p for n, p in named.items() if "_blocks." in n and p.ndim == 2}
        self.others = {n: p for n, p in named.items() if n not in self.matrices}
        self.state = {f"muon.{n}": torch.zeros_like(p) for n, p in self.matrices.items()}
        self.state |= {f"{kind}.{n}": torch.zeros_like(p) for n, p in self.others.items() for kind in ("mean", "square")}
        self.state["steps"] = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update every parameter from its gradient."""
        self.state["steps"] += 1
        self._muon(rate)
        self._adamw(rate)

    def _muon(self, rate: float) -> None:
        alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
        for name, p in self.matrices.items():
            assert p.grad is not None
            average = self.state[f"muon.{name}"].lerp_(p.grad, 1 - self.momentum)
            update = p.grad.lerp(average, self.momentum)
            for part, change in zip(parts(name, p), parts(name, update), strict=True):
                alike.setdefault(part.shape, []).append((part, change))
        for shape, pairs in alike.items():
            scale = 0.2 * max(shape) ** 0.5
            for (part, _), change in zip(pairs, orthogonal(torch.stack([c for _, c in pairs]))):
                part.mul_(1 - rate * self.decay).sub_(change, alpha=rate * scale)

    def _adamw(self, rate: float) -> None:
        steps = int(self.state["steps"])
        one, two = self.betas
        for name, p in self.others.items():
            assert p.grad is not None
            mean = self.state[f"mean.{name}"].lerp_(p.grad, 1 - one)
            square = self.state[f"square.{name}"].lerp_(p.grad.square(), 1 - two)
            root = (square / (1 - two**steps)).sqrt_().add_(1e-8)
            p.addcdiv_(mean, root, value=-rate / (1 - one**steps))
