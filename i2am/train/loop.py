"""The training loop: mean squared error of the predicted noise, and the losses on attention if they are asked for."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Sampler
from tqdm import tqdm

from ..data.training import TrainingPairs
from ..errors import DatasetError
from ..geometry.resample import Size
from ..maps.tensors import save_tensors
from . import saved
from .attention import Regularisers, Watched, watch
from .errors import TrainingError, plain
from .interrupt import Interrupt, leave_signals_to_main
from .networks import Frozen, TryOn, checkpoint_of
from .noise import draw, schedule
from .start import Networks

log = logging.getLogger("i2am")

CHECKPOINT = "custom.safetensors"
LOG = "log.jsonl"


@dataclass(frozen=True)
class Recipe:
    """What a run's result depends on, besides its data and starting weights.

    Attributes:
        size: (H, W) of the person's pictures in pixels.
        epochs: passes over all pairs.
        batch: pairs per optimiser step, over all processes and accumulated parts.
        accumulate: number of parts that each process splits its share of a batch into.
        rate: AdamW's learning rate, constant.
        weight_decay: AdamW's.
        clip: maximum norm of the gradient.
        drop: share of pairs trained without their reference, for classifier-free guidance.
        tv_weight: weight of `losses.attention_tv`.
        alignment_weight: weight of `losses.attribution_alignment`.
        seed: of order, noise, timesteps and dropped references.
    """

    size: Size = (512, 384)
    epochs: int = 60
    batch: int = 16
    accumulate: int = 1
    rate: float = 1e-5
    weight_decay: float = 1e-2
    clip: float = 1.0
    drop: float = 0.1
    tv_weight: float = 0.0
    alignment_weight: float = 0.0
    seed: int = 0

    @property
    def regularisers(self) -> Regularisers:
        """The losses on attention."""
        return Regularisers(self.tv_weight, self.alignment_weight)


@dataclass(frozen=True)
class Manner:
    """How a run is carried out; its result depends on this only by rounding.

    Attributes:
        precision: "no", "fp16" or "bf16".
        workers: data loader processes per training process.
        save_every: optimiser steps between two saved states.
        steps: stop after this many optimiser steps in all, as if interrupted; None: after the last epoch.
        half: write the checkpoint in fp16.
        recompute: keep fewer activations and compute them again (gradient checkpointing).
    """

    precision: str = "no"
    workers: int = 0
    save_every: int = 500
    steps: int | None = None
    half: bool = False
    recompute: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a run left: ``checkpoint`` is None if it was stopped early, ``step`` the optimiser steps done in all."""

    checkpoint: Path | None
    step: int
    state: Path


class Order(Sampler[int]):
    """The samples of an epoch, shuffled by (seed, epoch) alone; those that do not fill a last batch are left out."""

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self.count, self.batch, self.seed, self.epoch = count, batch, seed, 0

    def __len__(self) -> int:
        return self.count // self.batch * self.batch

    def __iter__(self) -> Iterator[int]:
        rng = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        yield from torch.randperm(self.count, generator=rng)[: len(self)].tolist()


def train(networks: Networks, data: TrainingPairs, recipe: Recipe, out: Path, manner: Manner | None = None) -> Outcome:
    """Fine-tune and write ``out/custom.safetensors``; resumes from the newest state in ``out`` if there is one.

    Also writes ``log.jsonl`` with the losses of every optimiser step, and the newest state to resume from.
    Ctrl-C (or kill) finishes the step, saves a state and returns.

    Raises:
        DatasetError: the pairs do not fill a batch, or a picture cannot be read.
        TrainingError: recipe and state do not fit together, or the loss is no longer finite.
    """
    return _Run(networks, data, recipe, out, manner or Manner()).run()


def losses(
    model: torch.nn.Module,
    frozen: Frozen,
    batch: dict[str, Tensor],
    recipe: Recipe,
    epoch: int,
    scheduler: DDPMScheduler,
    layers: list[Watched],
) -> dict[str, Tensor]:
    """The terms of a batch's loss, unweighted, each a mean over its images: "noise", and "tv", "alignment" if asked for.

    Args:
        model: `TryOn`, wrapped or not.
        frozen: on the batch's device.
        batch: of `TrainingPairs` samples.
        recipe: of the run.
        epoch: counted from 0.
        scheduler: of `noise.schedule`.
        layers: of `attention.watch`; may be empty if their weights are 0.
    """
    person = frozen.latents(batch["person"])
    known = torch.cat([frozen.latents(batch["agnostic"]), frozen.latents(batch["densepose"])], 1)
    chance = draw(recipe.seed, epoch, batch["index"].tolist(), person.shape[1:], recipe.drop).to(person.device)
    noisy = scheduler.add_noise(person, chance.noise, chance.time)  # type: ignore[arg-type]
    predicted = model(noisy, known, chance.time, frozen.tokens(batch["cloth"]), chance.dropped)
    terms = {"noise": F.mse_loss(predicted.float(), chance.noise)}
    if recipe.regularisers:
        latent = (person.shape[2], person.shape[3])
        terms |= recipe.regularisers.terms(
            layers, frozen.layout(), latent, batch["inpaint_mask"], batch["cloth_mask"], ~chance.dropped
        )
    return terms


class _Run:
    def __init__(self, networks: Networks, data: TrainingPairs, recipe: Recipe, out: Path, manner: Manner) -> None:
        self.recipe, self.manner, self.out, self.data = recipe, manner, out, data
        self.accelerator = Accelerator(gradient_accumulation_steps=recipe.accumulate, mixed_precision=manner.precision)
        self.facts = {**asdict(recipe), "pairs": len(data), "names": _digest(data)}
        self.order = Order(len(data), recipe.batch, recipe.seed)
        self.per_epoch = len(data) // recipe.batch
        loader = DataLoader(
            data,
            self._part(),
            sampler=self.order,
            num_workers=manner.workers,
            worker_init_fn=leave_signals_to_main,
            drop_last=True,
        )
        tryon = networks.tryon.train()
        if manner.recompute:
            tryon.unet.enable_gradient_checkpointing()
        self.layers = watch(tryon.unet) if recipe.regularisers else []
        optimiser = torch.optim.AdamW(tryon.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)
        self.frozen = networks.frozen.to(self.accelerator.device)
        self.model, self.optimiser, self.loader = self.accelerator.prepare(tryon, optimiser, loader)
        self.scheduler = schedule()
        self.step = 0

    def _part(self) -> int:
        """Number of pairs that one process takes at a time."""
        batch, parts = self.recipe.batch, self.recipe.accumulate * self.accelerator.num_processes
        if batch % parts:
            raise TrainingError(
                f"a batch of {batch} cannot be cut into {parts} equal parts ({self.recipe.accumulate} accumulated x "
                f"{self.accelerator.num_processes} processes); change --batch or --accumulate"
            )
        if len(self.data) < batch:
            raise DatasetError(f"{len(self.data)} pairs do not fill a batch of {batch}; give --batch {len(self.data)} or less")
        return batch // parts

    def run(self) -> Outcome:
        last = self.recipe.epochs * self.per_epoch
        until = last if self.manner.steps is None else min(last, self.manner.steps)
        try:
            self._resume()
            with Interrupt() as stop, self._bar(last) as bar:
                while self.step < until and not self._epoch(until, stop, bar):
                    pass
            state = saved.save(self.accelerator, self.out, self.step, self.facts)
        except DatasetError as error:
            raise DatasetError(plain(error)) from error
        finally:
            for layer in self.layers:
                layer.end()
        checkpoint = self._write() if self.step >= last else None
        return Outcome(checkpoint, self.step, state)

    def _resume(self) -> None:
        state = saved.newest(self.out)
        if state is not None:
            self.step = saved.load(self.accelerator, state, self.facts)
            log.info("resuming from %s after %d steps", state, self.step)
        if self.accelerator.is_main_process:
            self.out.mkdir(parents=True, exist_ok=True)
            _cut_log(self.out / LOG, self.step)

    def _bar(self, last: int) -> tqdm:
        return tqdm(total=last, initial=self.step, desc="training", unit="step", disable=not self.accelerator.is_main_process)

    def _epoch(self, until: int, stop: Interrupt, bar: tqdm) -> bool:
        """Train the rest of the current epoch, up to ``until`` steps in all; returns whether any process was asked to stop."""
        epoch, done = divmod(self.step, self.per_epoch)
        self.order.epoch = epoch
        loader = self.loader
        if done:
            loader = self.accelerator.skip_first_batches(loader, done * self.recipe.accumulate)
        sums: dict[str, float] = {}
        began = time.monotonic()
        for batch in loader:
            for name, value in self._learn(batch, epoch).items():
                sums[name] = sums.get(name, 0.0) + float(value) / self.recipe.accumulate
            if not self.accelerator.sync_gradients:
                continue
            self.step += 1
            self._report(sums, epoch, time.monotonic() - began, bar)
            sums, began = {}, time.monotonic()
            if stop.asked:
                self.accelerator.set_trigger()
            if self.accelerator.check_trigger():
                return True
            if self.step >= until:
                break
            if self.step % self.manner.save_every == 0:
                saved.save(self.accelerator, self.out, self.step, self.facts)
        return False

    def _learn(self, batch: dict[str, Tensor], epoch: int) -> dict[str, Tensor]:
        """One part of a batch: forward, backward, and the optimiser's step after the last part."""
        accelerator, recipe = self.accelerator, self.recipe
        with accelerator.accumulate(self.model):
            with accelerator.autocast():
                terms = losses(self.model, self.frozen, batch, recipe, epoch, self.scheduler, self.layers)
            weights = {"noise": 1.0, "tv": recipe.tv_weight, "alignment": recipe.alignment_weight}
            accelerator.backward(sum(weights[name] * value for name, value in terms.items()))
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(self.model.parameters(), recipe.clip)
            self.optimiser.step()
            self.optimiser.zero_grad()
        return {name: value.detach() for name, value in terms.items()}

    def _report(self, means: dict[str, float], epoch: int, seconds: float, bar: tqdm) -> None:
        if not all(math.isfinite(value) for value in means.values()):
            state = saved.newest(self.out)
            raise TrainingError(
                f"the loss is not finite at step {self.step} ({means}); give a smaller --rate or --precision no"
                f"{f' and another --out, or resume from {state}' if state else ''}"
            )
        bar.update()
        bar.set_postfix({name: f"{value:.4f}" for name, value in means.items()}, refresh=False)
        if self.accelerator.is_main_process:
            line = {"step": self.step, "epoch": epoch, **means, "seconds": round(seconds, 3)}
            with (self.out / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def _write(self) -> Path:
        """Write the checkpoint, in the main process."""
        path = self.out / CHECKPOINT
        if self.accelerator.is_main_process:
            tryon: TryOn = self.accelerator.unwrap_model(self.model)
            weights = checkpoint_of(tryon, self.frozen, torch.float16 if self.manner.half else torch.float32)
            draft = path.with_suffix(".part")
            save_tensors(weights, draft, {"i2am": json.dumps({"steps": self.step, **self.facts})})
            draft.replace(path)
        self.accelerator.wait_for_everyone()
        return path


def _digest(data: TrainingPairs) -> str:
    """A hash of the pairs' names in order, on which every sample's noise depends."""
    return hashlib.sha256("\n".join(pair.name for pair in data.pairs).encode()).hexdigest()[:16]


def _cut_log(path: Path, step: int) -> None:
    """Remove the lines of steps that will be done again."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(line for line in lines if json.loads(line)["step"] <= step), encoding="utf-8")
