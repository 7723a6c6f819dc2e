"""The edit model's training: rectified flow on cached latents, with the attention loss in its first half."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ....models.edit.family import TAUGHT
from ..precision import mixed
from .attention import Attention
from .attention_loss import attention_loss
from .batches import Part, draw_batch
from .optimiser import Optimiser
from .start import untrained

FIRST_SHARDS, SHARD_EVERY = 1, 1000
"""Training begins with so many shards and takes one more after so many samples: so it begins within a minute."""
SAVE_EVERY = 120.0
"""Seconds between two checkpoints."""
WARM_UP, DECAY_FROM, LEAST = 60, 0.6, 0.02


@dataclass(frozen=True)
class Recipe:
    """One training run. ``attention_weight`` 0 trains by the flow alone, else the attention loss is on for its first half."""

    samples: int = 150_000
    attention_weight: float = 0.2
    seed: int = 0
    batch: int = 12
    rate: float = 1.5e-3
    ema: float = 0.997
    shards: int = 64

    def rate_at(self, done: int, start: int = 0) -> float:
        """The learning rate after ``done`` samples: warm-up from ``start``, constant, then half a cosine."""
        late = max(0.0, done / self.samples - DECAY_FROM) / (1 - DECAY_FROM)
        cosine = LEAST + (1 - LEAST) * 0.5 * (1 + math.cos(math.pi * min(late, 1.0)))
        return self.rate * cosine * min(1.0, ((done - start) // self.batch + 1) / WARM_UP)

    def teaches(self, done: int) -> bool:
        """Whether the attention loss is on after ``done`` samples."""
        return self.attention_weight > 0 and done < self.samples // 2

    def shards_at(self, done: int) -> int:
        """How many shards are in use after ``done`` samples."""
        return min(self.shards, FIRST_SHARDS + done // SHARD_EVERY)


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is; what adds a tensor up over all of them, in place; what waits for all of them."""

    rank: int = 0
    count: int = 1
    add_up: Callable[[Tensor], object] = lambda _: None
    wait: Callable[[], object] = lambda: None


class Trainer:
    """A model in training, its average, its optimiser, and how many samples it has seen.

    Goes on from ``path`` where it exists, as if it had never stopped. Otherwise it begins with ``weights``, exported by
    `export`, at their number of samples, with a new optimiser that warms up; or with random weights.

    Raises:
        ValueError: the checkpoint at ``path``, or ``weights``, come of another recipe; the number of samples alone may differ.
    """

    def __init__(self, path: Path, recipe: Recipe, ranks: Ranks = Ranks(), weights: Path | None = None) -> None:
        self.path, self.recipe, self.ranks = path, recipe, ranks
        self.model = untrained(recipe.seed)
        self.average = copy.deepcopy(self.model).eval()
        self.optimiser = Optimiser(self.model)
        self.done, self.start, self._saved = 0, 0, time.monotonic()
        if path.exists():
            self._resume()
        elif weights is not None:
            self._begin_with(weights)

    def _about(self, path: Path) -> dict[str, Any]:
        about = about_of(path)
        begun, wanted = about["recipe"], asdict(self.recipe)
        other = [f"{k} {begun.get(k)} instead of {v}" for k, v in wanted.items() if k != "samples" and begun.get(k) != v]
        if other:
            raise ValueError(f"{path} was begun with {', '.join(other)}; train under another name or with its options")
        return about

    def _begin_with(self, weights: Path) -> None:
        self.done = self.start = int(self._about(weights)["samples"])
        state = {k: v.float() for k, v in load_file(weights).items()}
        for model in (self.model, self.average):
            model.load_file_state(state)

    def _resume(self) -> None:
        about = self._about(self.path)
        state = load_file(self.path)
        self.done, self.start = int(about["samples"]), int(about.get("start", 0))
        for kind, model in (("raw.", self.model), ("ema.", self.average)):
            model.load_file_state({k[len(kind) :]: v for k, v in state.items() if k.startswith(kind)})
        for name, value in self.optimiser.state.items():
            value.copy_(state[f"optimiser.{name}"])

    def save(self, path: Path | None = None) -> None:
        """Write the checkpoint, or a copy of it at ``path``."""
        state = {f"raw.{k}": v for k, v in self.model.file_state().items()}
        state |= {f"ema.{k}": v for k, v in self.average.file_state().items()}
        state |= {f"optimiser.{k}": v for k, v in self.optimiser.state.items()}
        about = {"samples": self.done, "start": self.start, "recipe": asdict(self.recipe)}
        target = path or self.path
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_suffix(".part")
        save_file({k: v.contiguous() for k, v in state.items()}, draft, {"i2am": json.dumps(about)})
        draft.rename(target)

    def save_if_due(self) -> None:
        """Write the checkpoint where the last one is `SAVE_EVERY` seconds old."""
        if time.monotonic() - self._saved > SAVE_EVERY:
            self.save()
            self._saved = time.monotonic()

    def step(self, shards: Sequence[dict[str, Tensor]]) -> dict[str, float]:
        """Train on the next batch; returns the losses."""
        recipe = self.recipe
        seed = recipe.seed * 1_000_003 + self.done
        batch = draw_batch(shards[: recipe.shards_at(self.done)], recipe.batch, seed, self.ranks.rank, self.ranks.count)
        self.model.zero_grad(set_to_none=True)
        losses = torch.zeros(2)
        for part in batch:
            flow, attention = self._losses(part)
            share = len(part.worn) / recipe.batch
            (share * (flow + recipe.attention_weight * attention)).backward()
            losses += share * torch.stack([flow, attention]).detach()
        self._add_up(losses)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step(recipe.rate_at(self.done, self.start))
        steps = self.done // recipe.batch
        decay = min(recipe.ema, (1 + steps) / (10 + steps))
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.model.parameters(), strict=True):
                kept.lerp_(new, 1 - decay)
        self.done += recipe.batch
        return {"flow": float(losses[0]), "attention": float(losses[1])}

    def _losses(self, part: Part) -> tuple[Tensor, Tensor]:
        teach = self.recipe.teaches(self.done) and part.given.person and part.given.garment
        attend = Attention(TAUGHT if teach else ())
        context = self.model.context.expand(len(part.worn), -1, -1)
        with mixed():
            got = self.model.network(part.noisy, part.sigma, context, part.references, part.given.indices, attend)
        weight = 1 + part.cover[:, None]
        flow = (weight * (got.float() - (part.noise - part.worn)).square()).mean()
        attention = attention_loss(attend.kept.values(), part.place, part.cloth, part.kept) if teach else flow.new_zeros(())
        return flow, attention

    def _add_up(self, losses: Tensor) -> None:
        if self.ranks.count == 1:
            return
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        flat = torch.cat([losses, *(g.flatten() for g in grads)])
        self.ranks.add_up(flat)
        losses.copy_(flat[:2])
        at = 2
        for g in grads:
            g.copy_(flat[at : at + g.numel()].view_as(g))
            at += g.numel()


def about_of(checkpoint: Path) -> dict[str, Any]:
    """The ``samples`` that a checkpoint, or weights exported from one, have seen and the ``recipe`` that they are of.

    Raises:
        ValueError: the file is no checkpoint of this training.
    """
    with safe_open(checkpoint, "pt") as file:
        about: dict[str, Any] = json.loads((file.metadata() or {}).get("i2am", "{}"))
    if not {"samples", "recipe"} <= set(about):
        raise ValueError(f"{checkpoint} says no samples and recipe, so it is no checkpoint of the edit model's training")
    return about
