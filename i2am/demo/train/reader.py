"""Trains the reader on drawn person pictures, spoilt the way generated ones are: blurred, noisy, a little out of place.

`python -m i2am.demo.train.reader --out i2am/models/demo/weights/reader.safetensors`; with ``--measure`` it reads
held-out pictures with weights that are there.
"""

from __future__ import annotations

import argparse
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ...drawn.draw import draw_pairs
from ...drawn.seeds import HELD_OUT, SHARD
from ...drawn.spec import PICTURE, PairSpec, draw_pair
from ...options import whole
from ..evaluate.reader import WEIGHTS, Reader, glyph_mask, glyph_places, sample_at, score, torso_places

log = logging.getLogger("i2am")

BATCH = 64
POOL = 6144
"""Training pairs that are drawn where there are no shards."""
MEASURED = HELD_OUT + 500_000
"""First of the held-out seeds that the accuracy in the weights file comes from."""
BLUR = 1.0
"""Deviation of the blur of the second measurement, in pixels of the picture."""


@dataclass(frozen=True)
class Pool:
    """Training pictures (P, 3, 128, 96) as uint8 and their pairs."""

    pictures: Tensor
    pairs: list[PairSpec]


def _draw(seeds: range, label: str) -> Pool:
    pairs = [draw_pair(seed) for seed in seeds]
    pictures = torch.empty(len(pairs), 3, *PICTURE, dtype=torch.uint8)
    for i in tqdm(range(0, len(pairs), 8), desc=label, unit="8 pairs"):
        pictures[i : i + 8] = draw_pairs(pairs[i : i + 8]).person.clamp(0, 1).mul(255).round()
    return Pool(pictures, pairs)


def _from_shards(shards: list[Path]) -> Pool:
    """Person pictures of finished shards; a shard's name gives its index, and so its seeds."""
    pictures, pairs = [], []
    for path in tqdm(shards, desc="reading shards", unit="shard"):
        first = int(path.stem.split("-")[1]) * SHARD
        with safe_open(path, "pt") as file:
            pictures.append(file.get_tensor("person"))
        pairs += [draw_pair(seed) for seed in range(first, first + SHARD)]
    return Pool(torch.cat(pictures), pairs)


def _blur(pictures: Tensor, deviation: Tensor) -> Tensor:
    """Blur each of (B, 3, H, W) with its own Gaussian; ``deviation`` (B,) is in pixels."""
    n, c, h, w = pictures.shape
    reach = 4
    offset = torch.arange(-reach, reach + 1).float()
    kernel = torch.exp(-0.5 * (offset / deviation.clamp_min(0.05).view(-1, 1)) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(c, 0)  # (B*3, 9)
    x = F.pad(pictures.reshape(1, n * c, h, w), (reach,) * 4, mode="replicate")
    x = F.conv2d(x, kernel.view(n * c, 1, -1, 1), groups=n * c)
    return F.conv2d(x, kernel.view(n * c, 1, 1, -1), groups=n * c).view(n, c, h, w)


class _Spoiler:
    """Random damage, drawn from one generator."""

    def __init__(self, seed: int) -> None:
        self.rng = torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self.rng)

    def displace(self, gx: Tensor, gy: Tensor, shift: float, scale: float, turn: float) -> tuple[Tensor, Tensor]:
        """Move, scale and turn garment coordinates (B, h, w) about their middle; ``shift`` in garment units."""
        n = len(gx)
        mx, my = gx.mean((1, 2), keepdim=True), gy.mean((1, 2), keepdim=True)
        angle, size = self.uniform(-turn, turn, n, 1, 1), 1 + self.uniform(-scale, scale, n, 1, 1)
        cos, sin = angle.cos() * size, angle.sin() * size
        dx, dy = gx - mx, gy - my
        sx, sy = self.uniform(-shift, shift, n, 1, 1), self.uniform(-shift, shift, n, 1, 1)
        return mx + sx + cos * dx - sin * dy, my + sy + sin * dx + cos * dy

    def spoil(self, crop: Tensor, lost: float) -> Tensor:
        """Blur, coarsen (some to ``lost`` of their size and back), tint and add noise to (B, 3, h, w)."""
        n, _, h, w = crop.shape
        some = torch.rand(n, generator=self.rng) < 0.5
        crop = torch.where(some.view(-1, 1, 1, 1), _blur(crop, self.uniform(0.3, 1.8, n)), crop)
        factor = float(self.uniform(lost, 1.0, 1))
        few = crop[: n // 3]
        few = F.interpolate(few, (round(h * factor), round(w * factor)), mode="bilinear", antialias=True)
        crop = torch.cat([F.interpolate(few, (h, w), mode="bilinear"), crop[n // 3 :]])
        crop = crop * self.uniform(0.92, 1.08, n, 3, 1, 1) + self.uniform(-0.03, 0.03, n, 3, 1, 1)
        level = self.uniform(0, 0.08, n, 1, 1, 1) * (torch.rand(n, 1, 1, 1, generator=self.rng) < 0.5)
        return (crop + level * torch.randn(crop.shape, generator=self.rng)).clamp(0, 1)


def _loss(reader: Reader, pictures: Tensor, pairs: list[PairSpec], spoiler: _Spoiler) -> Tensor:
    """Cross-entropy of glyph, pattern and base colour on one spoilt batch."""
    owner = [i for i, pair in enumerate(pairs) for _ in pair.garment.glyphs]
    glyphs = [g for pair in pairs for g in pair.garment.glyphs]
    gx, gy = spoiler.displace(*glyph_places(glyphs), shift=0.05, scale=0.12, turn=0.12)
    crops = spoiler.spoil(sample_at(pictures[owner], [pairs[i].body for i in owner], gx, gy), lost=0.45)
    swapped = torch.randperm(3, generator=spoiler.rng)  # a letter is a letter in any colours
    crops = torch.cat([crops[::2], crops[1::2][:, swapped]])
    wanted = torch.tensor([g.index for g in glyphs[::2] + glyphs[1::2]])
    loss = F.cross_entropy(reader.glyph(crops), wanted, label_smoothing=0.02)
    gx, gy = spoiler.displace(*torso_places(len(pairs)), shift=0.04, scale=0.05, turn=0.05)
    torsos = spoiler.spoil(sample_at(pictures, [p.body for p in pairs], gx, gy), lost=0.6)
    mask = glyph_mask(pairs)
    pattern, colour = reader.pattern(torsos, mask), reader.colour(torsos, mask)
    loss = loss + F.cross_entropy(pattern, torch.tensor([p.garment.pattern for p in pairs]), label_smoothing=0.02)
    return loss + F.cross_entropy(colour, torch.tensor([p.garment.base for p in pairs]), label_smoothing=0.02)


def measure(reader: Reader, count: int = 400) -> dict[str, dict[str, float]]:
    """Right shares on ``count`` held-out pictures: as drawn ("clean") and blurred by one pixel ("blurred")."""
    pool = _draw(range(MEASURED, MEASURED + count), "drawing held-out pairs")
    clean = pool.pictures.float() / 255
    blurred = torch.cat([_blur(p, torch.full((len(p),), BLUR)) for p in clean.split(BATCH)])
    return {
        "clean": score(reader.read(clean, pool.pairs), pool.pairs).shares,
        "blurred": score(reader.read(blurred, pool.pairs), pool.pairs).shares,
    }


def train_reader(out: Path, samples: int, seed: int, shards: list[Path] | None = None, held_out: int = 400) -> Reader:
    """Train on ``samples`` pictures, measure on ``held_out`` held-out ones and write ``out``.

    The pictures are those of ``shards`` (see `data.write_shards`) or, without any, of `POOL` training pairs
    drawn here.

    Raises:
        ValueError: fewer samples than one batch.
    """
    if samples < BATCH:
        raise ValueError(f"training takes at least one batch of {BATCH} samples, got {samples}")
    torch.manual_seed(seed)
    pool = _from_shards(shards) if shards else _draw(range(min(POOL, samples)), "drawing pairs")
    if any(pair.seed >= HELD_OUT for pair in pool.pairs):
        raise ValueError(f"the training pictures hold held-out seeds, which begin at {HELD_OUT}; take other shards")
    reader, spoiler = Reader().train(), _Spoiler(seed)
    optimiser = torch.optim.AdamW(reader.parameters(), lr=2e-3, weight_decay=1e-2)
    steps = samples // BATCH
    order: list[int] = []
    bar = tqdm(range(steps), desc="reader", unit="batch", mininterval=2)
    for step in bar:
        if len(order) < BATCH:
            order = torch.randperm(len(pool.pairs), generator=spoiler.rng).tolist()
        chosen, order = order[:BATCH], order[BATCH:]
        rate = min(1.0, (step + 1) / 50) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * rate
        loss = _loss(reader, pool.pictures[chosen].float() / 255, [pool.pairs[i] for i in chosen], spoiler)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reader.parameters(), 2.0)
        optimiser.step()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{float(loss.detach()):.3f}", refresh=False)
    reader.eval()
    facts: dict[str, object] = {"samples": steps * BATCH, "pairs": len(pool.pairs), "seed": seed}
    reader.save(out, facts)
    reader = Reader.load(out)  # measured as it ships, in fp16
    shares = measure(reader, held_out)
    facts |= {"held_out": held_out, "first_seed": MEASURED}
    reader.save(out, {**facts, "accuracy": shares["clean"], "accuracy_blurred": shares["blurred"]})
    log.info("reader: %s", reader.facts)
    return reader


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m i2am.demo.train.reader", description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="weights file to write (with --measure: to read)")
    parser.add_argument("--samples", type=whole(), default=100_000, help="pictures to train on, with repetition")
    parser.add_argument("--seed", type=whole(), default=0)
    parser.add_argument("--shards", type=Path, help="folder of drawn training pairs, pairs-*.safetensors")
    parser.add_argument("--measure", type=whole(), metavar="N", help="only read N held-out pictures, and say how well")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    if options.measure:
        log.info("%s", measure(Reader.load(options.out), options.measure))
        return
    shards = sorted(options.shards.glob("pairs-*.safetensors")) if options.shards else None
    train_reader(options.out, options.samples, options.seed, shards)


if __name__ == "__main__":
    main()
