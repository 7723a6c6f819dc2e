"""`python -m i2am.demo.experiments`: does each loss on attention move what it is about, on pairs that it never saw?

Fine-tunes the bundled demo model's U-Net for a few hundred samples in three ways: by the diffusion loss alone, and with
each of the two losses added; the same pairs, order, noise and timesteps in each. Then measures both losses, the error
of the predicted noise, and how often attention points at the true place, on held-out pairs. Over three seeds.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ..drawn.draw import draw_pairs
from ..drawn.places import GRID
from ..drawn.seeds import HELD_OUT
from ..drawn.spec import draw_pair
from ..models.demo.encoder import REFERENCE_GRID
from ..models.demo.family import demo_layout
from ..models.demo.tryon import DemoModel
from ..models.schedule import STEPS
from ..options import MOST_AT_ONCE, number, whole
from ..train.attention import Regularisers, watch
from ..train.noise import Draw, draw, schedule
from .evaluate.correspondence import true_tokens
from .train.attention_loss import install
from .train.fastnorm import fast_group_norm
from .train.precision import mixed

log = logging.getLogger("i2am")

FILE = Path(__file__).parent / "card" / "regularisers.json"
NOTES = (
    "the bundled demo model's U-Net alone is trained, in bf16 with fp32 attention weights; its encoder and autoencoder stay",
    "tv: i2am.train.losses.attention_tv, attention total variation inside the inpainting mask, head mean, mean of 6 layers",
    "alignment: i2am.train.losses.attribution_alignment, lambda 3, with the inpainting mask and the garment's mask",
    "noise: mean squared error of the predicted noise; within_1: share of garment cells whose attention peaks at most one "
    "token from the true one (mean of heads and of the three layers at 32 x 24)",
    "held-out pair i of n is measured once, at timestep (i + 0.5) * 1000 / n, with noise of its own that is the same for all",
    "difference: with the loss minus without; pairs_lower: share of held-out pairs on which the loss is lower with it",
)
ATTENTION_ALONE = Regularisers(tv=1.0, alignment=1.0)


@dataclass(frozen=True)
class Plan:
    """How much is trained and measured."""

    seeds: tuple[int, ...] = (0, 1, 2)
    samples: int = 192
    batch: int = 8
    rate: float = 1e-4
    drop: float = 0.1
    tv_weight: float = 1.0
    alignment_weight: float = 0.05
    train_pairs: int = 96
    held_out_pairs: int = 32

    @property
    def arms(self) -> dict[str, Regularisers]:
        """What is added to the diffusion loss, by name."""
        return {
            "without": Regularisers(),
            "tv": Regularisers(tv=self.tv_weight),
            "alignment": Regularisers(alignment=self.alignment_weight),
        }


@dataclass(frozen=True)
class Pairs:
    """Drawn pairs, encoded: person (P, 4, 32, 24), known (P, 8, 32, 24), tokens (P, S, C), masks, and true tokens."""

    person: Tensor
    known: Tensor
    tokens: Tensor
    inpaint_mask: Tensor
    reference_mask: Tensor
    true: Tensor
    covered: Tensor

    def part(self, rows: Tensor) -> Pairs:
        """Some of them."""
        return Pairs(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})


@torch.no_grad()
def encoded(model: DemoModel, seeds: range, name: str) -> Pairs:
    """The pairs of these seeds, as the U-Net takes them."""
    rows: dict[str, list[Tensor]] = {}
    for first in tqdm(range(seeds.start, seeds.stop, 8), desc=name, unit="batch"):
        d = draw_pairs([draw_pair(seed) for seed in range(first, min(first + 8, seeds.stop))])
        true, covered = true_tokens(d)
        row = {
            "person": model.encode(d.person),
            "known": torch.cat([model.encode(d.agnostic), model.encode(d.densepose)], 1),
            "tokens": model.encoder(d.reference),
            "inpaint_mask": d.inpaint_mask,
            "reference_mask": d.reference_mask,
            "true": true,
            "covered": covered,
        }
        for key, value in row.items():
            rows.setdefault(key, []).append(value)
    return Pairs(**{key: torch.cat(values) for key, values in rows.items()})


def predict(unet: UNet2DConditionModel, null: Tensor, pairs: Pairs, chance: Draw) -> Tensor:
    """The predicted noise of all pairs, (P, 4, 32, 24) in fp32."""
    noisy = schedule().add_noise(pairs.person, chance.noise, chance.time)  # type: ignore[arg-type]
    tokens = torch.where(chance.dropped[:, None, None], null, pairs.tokens)
    with mixed(pairs.person.device):
        out: Tensor = unet(torch.cat([noisy, pairs.known], 1), chance.time, tokens).sample
    return out.float()


def fine_tuned(model: DemoModel, pairs: Pairs, plan: Plan, losses: Regularisers, seed: int, name: str) -> UNet2DConditionModel:
    """A copy of the model's U-Net after ``plan.samples`` samples; two calls differ in ``losses`` alone."""
    unet = copy.deepcopy(model.unet).train()
    install(unet, keep=False)
    layers = watch(unet) if losses else []
    optimiser = torch.optim.AdamW(unet.parameters(), lr=plan.rate, weight_decay=1e-3)
    null = model.encoder.null(1).detach()
    order = torch.Generator().manual_seed(seed)
    with fast_group_norm(unet), tqdm(total=plan.samples, desc=name, unit="sample") as bar:
        for step in range(plan.samples // plan.batch):
            rows = torch.randperm(len(pairs.person), generator=order)[: plan.batch]
            part = pairs.part(rows)
            chance = draw(seed, step, rows.tolist(), part.person.shape[1:], plan.drop)
            loss = F.mse_loss(predict(unet, null, part, chance), chance.noise)
            if losses:
                terms = losses.terms(layers, demo_layout(), GRID, part.inpaint_mask, part.reference_mask, ~chance.dropped)
                loss = loss + sum(getattr(losses, key) * value for key, value in terms.items())
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
            optimiser.step()
            bar.update(plan.batch)
    for layer in layers:
        layer.end()
    return unet.eval()


@torch.no_grad()
def measured(unet: UNet2DConditionModel, model: DemoModel, held_out: Pairs) -> dict[str, Tensor]:
    """Each figure of `NOTES` for every held-out pair, (P,)."""
    count = len(held_out.person)
    layers, null = watch(unet), model.encoder.null(1)
    found: dict[str, list[Tensor]] = {"tv": [], "alignment": [], "noise": [], "within_1": []}
    for i in range(count):
        part = held_out.part(torch.tensor([i]))
        noise = draw(0, 0, [HELD_OUT + i], part.person.shape[1:], 0.0).noise
        chance = Draw(noise, torch.tensor([int((i + 0.5) * STEPS / count)]), torch.tensor([False]))
        predicted = predict(unet, null, part, chance)
        found["noise"].append((predicted - noise).square().mean())
        found["within_1"].append(_pointing([layer.peek() for layer in layers], part))
        terms = ATTENTION_ALONE.terms(layers, demo_layout(), GRID, part.inpaint_mask, part.reference_mask, torch.tensor([True]))
        for name, value in terms.items():
            found[name].append(value)
    for layer in layers:
        layer.end()
    return {name: torch.stack(values) for name, values in found.items()}


def _pointing(weights: list[Tensor], pair: Pairs) -> Tensor:
    """Share of the pair's garment cells whose attention peaks at most one token from the true one."""
    fine = torch.stack([w.mean(1)[0] for w in weights if w.shape[2] == GRID[0] * GRID[1]]).mean(0)  # (N, S)
    peak = fine[:, demo_layout().references[0].grid.leading :].argmax(-1)
    at = torch.stack([peak // REFERENCE_GRID[1], peak % REFERENCE_GRID[1]], -1)
    near = (at - pair.true[0]).abs().amax(-1) <= 1
    return near[pair.covered[0]].float().mean()


def run(plan: Plan, file: Path | None = None) -> dict[str, Any]:
    """The whole experiment; ``file`` is written anew after every seed, and says at last that it is complete."""
    wall, core = time.monotonic(), time.process_time()
    model = DemoModel.load()
    install(model.unet, keep=False)
    train = encoded(model, range(plan.train_pairs), "training pairs")
    held_out = encoded(model, range(HELD_OUT, HELD_OUT + plan.held_out_pairs), "held-out pairs")
    figures: dict[str, Any] = {
        "setup": {**asdict(plan), "start_samples": model.about.get("samples", 0), "notes": list(NOTES), "complete": False},
        "start": _means(measured(model.unet, model, held_out)),
        "seeds": {},
    }
    for seed in plan.seeds:
        found = {}
        for name, losses in plan.arms.items():
            found[name] = measured(fine_tuned(model, train, plan, losses, seed, f"seed {seed}, {name}"), model, held_out)
        figures["seeds"][str(seed)] = {name: _means(values) for name, values in found.items()} | {
            "difference": {name: _rounded((found[name][name] - found["without"][name]).mean()) for name in _targets(plan)},
            "pairs_lower": {
                name: _rounded((found[name][name] < found["without"][name]).float().mean()) for name in _targets(plan)
            },
        }
        figures["setup"]["seconds"] = round(time.monotonic() - wall, 1)
        figures["setup"]["core_seconds"] = round(time.process_time() - core, 1)
        _write(figures, file)
    figures["result"] = {name: _result(figures, name) for name in _targets(plan)}
    figures["setup"]["complete"] = True
    _write(figures, file)
    return figures


def _targets(plan: Plan) -> list[str]:
    return [name for name in plan.arms if name != "without"]


def _result(figures: dict[str, Any], name: str) -> dict[str, Any]:
    """Each loss's own target over the seeds, with and without it."""
    rows = list(figures["seeds"].values())
    return {
        "without": [row["without"][name] for row in rows],
        "with": [row[name][name] for row in rows],
        "difference": [row["difference"][name] for row in rows],
        "lower_in_every_seed": all(row["difference"][name] < 0 for row in rows),
    }


def _means(values: dict[str, Tensor]) -> dict[str, float]:
    return {name: _rounded(value.mean()) for name, value in values.items()}


def _rounded(value: Tensor) -> float:
    return float(f"{float(value):.5g}")


def _write(figures: dict[str, Any], file: Path | None) -> None:
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(file.name + ".part")
        draft.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        draft.replace(file)


def main(argv: list[str] | None = None) -> int:
    """Run the experiments from the command line; returns the exit status."""
    plan = Plan()
    parser = argparse.ArgumentParser(
        prog="python -m i2am.demo.experiments", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=FILE, help="file to write (default: the one that ships)")
    parser.add_argument("--seeds", type=whole(), nargs="+", default=list(plan.seeds), help="seeds (default 0 1 2)")
    parser.add_argument("--samples", type=whole(), default=plan.samples, help=f"samples a fine-tuning (default {plan.samples})")
    parser.add_argument("--tv-weight", type=number(), default=plan.tv_weight, help=f"default {plan.tv_weight}")
    parser.add_argument(
        "--alignment-weight", type=number(), default=plan.alignment_weight, help=f"default {plan.alignment_weight}"
    )
    parser.add_argument("--threads", type=whole(1, MOST_AT_ONCE), default=1, help="CPU threads (default 1)")
    args = parser.parse_args(argv)
    if args.samples < plan.batch or min(args.tv_weight, args.alignment_weight) <= 0 or min(args.seeds) < 0:
        parser.error(f"--samples is at least {plan.batch}, both weights are more than 0, seeds at least 0")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    torch.set_num_threads(args.threads)
    plan = Plan(tuple(args.seeds), args.samples, tv_weight=args.tv_weight, alignment_weight=args.alignment_weight)
    figures = run(plan, args.json)
    for name, result in figures["result"].items():
        log.info("%s: without %s, with %s, difference %s", name, result["without"], result["with"], result["difference"])
    log.info("wrote %s after %.0f s", args.json, figures["setup"]["seconds"])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
