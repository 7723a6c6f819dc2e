"""Trains the demo model's U-Net and reference encoder together on cached latents."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from ...models.demo.encoder import ReferenceEncoder
from ...models.demo.networks import build_unet
from ...models.schedule import ddim
from .attention_loss import attention_loss, install
from .fastnorm import fast_group_norm
from .precision import mixed
from .shards import read_shard

ENCODED = ("person", "agnostic", "densepose", "densepose_blank")
FIRST_SHARDS, SHARD_EVERY = 3, 400
"""Training begins with so many shards and takes one more after so many samples: which ones depends on nothing else."""
BLANK_SHARE = 4
"""Every fourth pair of a shard also has its part map's u, v blanked, so that texture matters too."""


@dataclass(frozen=True)
class Recipe:
    """One training run. ``attention_weight`` 0 trains by diffusion alone.

    Else the attention loss is on for the first ``attention_samples``; None: for half of all.
    """

    samples: int
    attention_weight: float = 0.2
    attention_samples: int | None = None
    seed: int = 0
    batch: int = 16
    rate: float = 8e-4
    drop: float = 0.1
    ema: float = 0.998


@torch.inference_mode()
def encode_shard(vae: AutoencoderKL, source: Path, target: Path, device: str) -> None:
    """Write a shard's pictures as latents (fp16); finished shards are kept."""
    if target.exists():
        return
    data = read_shard(source)
    out = {name: data[name] for name in ("reference", "place", "share")}
    out["inpaint"] = nn.functional.avg_pool2d(data["inpaint"].float() / 255, 4).half()
    for name in ENCODED:
        pictures = data[name][::BLANK_SHARE] if name == "densepose_blank" else data[name]
        latents = []
        for batch in pictures.split(16):
            x = (batch.to(device).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
            with mixed(device):
                latents.append(vae.encode(x).latent_dist.mode().float().cpu().contiguous().half())
        out[name] = torch.cat(latents)
    draft = target.with_suffix(".part")
    save_file(out, draft)
    draft.rename(target)


class Cache:
    """Latents of shards that may still be in the making, in the order of their paths.

    Args:
        paths: where the shards are or will be.
        coming: whether whoever makes the missing ones still does.
    """

    def __init__(self, paths: list[Path], coming: Callable[[], bool] = lambda: False) -> None:
        self.paths, self._coming = paths, coming
        self.shards: dict[Path, dict[str, Tensor]] = {}

    def refresh(self, count: int | None = None) -> int:
        """Load the first ``count`` shards, waiting for them, or all that are there by now; returns how many there are.

        Raises:
            FileNotFoundError: one is not there, and nobody makes it any more.
        """
        for path in self.paths[:count]:
            while count is not None and not path.exists():
                if not self._coming() and not path.exists():  # its maker may have ended with it
                    raise FileNotFoundError(f"{path} is not there and is no longer being made; run the same command again")
                time.sleep(0.5)
            if path not in self.shards and path.exists():
                self.shards[path] = load_file(path)
        return len(self.shards)

    def batch(self, count: int, rng: torch.Generator) -> dict[str, Tensor]:
        """A random batch: ``person``, ``known`` (agnostic and densepose), ``reference``, ``place``, ``share``, ``inpaint``."""
        shards = list(self.shards.values())
        rows: dict[str, list[Tensor]] = {n: [] for n in ("person", "known", "reference", "place", "share", "inpaint")}
        for _ in range(count):
            data = shards[int(torch.randint(len(shards), (1,), generator=rng))]
            i = int(torch.randint(len(data["person"]), (1,), generator=rng))
            blank = i % BLANK_SHARE == 0
            dense = data["densepose_blank"][i // BLANK_SHARE] if blank else data["densepose"][i]
            rows["known"].append(torch.cat([data["agnostic"][i], dense]).float())
            for name in ("person", "place", "share", "inpaint"):
                rows[name].append(data[name][i].float())
            rows["reference"].append(data["reference"][i].float() / 255)
        return {name: torch.stack(values) for name, values in rows.items()}


def _loss_weight(alpha: Tensor) -> Tensor:
    """Weight of the epsilon error: min(1/SNR, 200) + 0.3.

    Up to the bound that is an even weight on the error of the picture: colours are decided in the noisiest steps.
    """
    snr = alpha / (1 - alpha)
    return (1 / snr).clamp(max=200) + 0.3


def _noise_like(latents: Tensor, rng: torch.Generator, most: float = 0.25) -> Tensor:
    """Gaussian noise, each sample's with up to ``most`` of coarse noise added.

    White noise hardly hides a picture's large areas, so a model that only saw it takes their colours from the noisy
    latents and keeps every cast that an earlier step made. Coarse noise makes it ask the reference.
    """
    n, channels, rows, columns = latents.shape
    noise = torch.randn(latents.shape, generator=rng)
    coarse = torch.randn(n, channels, rows // 8, columns // 8, generator=rng)
    amount = most * torch.rand(n, 1, 1, 1, generator=rng)
    return noise + amount * nn.functional.interpolate(coarse, (rows, columns), mode="bicubic", align_corners=False)


class _Pair(nn.Module):
    """U-Net and reference encoder under one state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.unet: UNet2DConditionModel = build_unet()
        self.encoder = ReferenceEncoder()


@torch.no_grad()
def _average(ema: nn.Module, model: nn.Module, decay: float) -> None:
    for kept, new in zip(ema.parameters(), model.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)


def train_unet(cache: Cache, out: Path, recipe: Recipe, device: str = "cpu", snapshots: tuple[int, ...] = ()) -> Path:
    """Train ``recipe`` and keep raw weights, averaged weights and the numbers of samples and shards in ``out``.

    Resumes from ``out`` with a fresh optimiser. ``snapshots``: sample counts at which a copy is kept beside it.
    """
    torch.manual_seed(recipe.seed)
    model = _Pair()
    ema = copy.deepcopy(model)
    done = shards = 0
    if out.exists():
        state = load_file(out)
        done, shards = int(state.pop("samples")), int(state.pop("shards", 0))
        model.load_state_dict({k[4:]: v for k, v in state.items() if k.startswith("raw.")}, strict=False)
        ema.load_state_dict({k[4:]: v for k, v in state.items() if k.startswith("ema.")}, strict=False)
    model.to(device).train()
    ema.to(device)
    supervised = install(model.unet, keep=True)
    alphas = ddim().alphas_cumprod.to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.rate, betas=(0.9, 0.99), weight_decay=1e-3)
    rng = torch.Generator().manual_seed(recipe.seed + done)
    taught = recipe.samples // 2 if recipe.attention_samples is None else recipe.attention_samples
    bar = tqdm(total=recipe.samples, initial=done, desc=out.stem, unit="sample", mininterval=5)
    step, mean_loss, mean_attention = 0, 0.0, 0.0

    def keep(path: Path) -> None:
        state = {"raw." + k: v.cpu().contiguous() for k, v in model.state_dict().items()}
        state |= {"ema." + k: v.cpu().contiguous() for k, v in ema.state_dict().items()}
        draft = path.with_suffix(".part")
        used = max(shards, len(cache.shards))
        save_file({**state, "samples": torch.tensor(done), "shards": torch.tensor(used)}, draft)
        draft.rename(path)

    with fast_group_norm(model):
        while done < recipe.samples:
            if step % 100 == 0:
                cache.refresh(min(len(cache.paths), FIRST_SHARDS + done // SHARD_EVERY))
            progress = done / recipe.samples
            decay = 1.0 if progress < 0.6 else 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (progress - 0.6) / 0.4))
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate * decay * min(1.0, (step + 1) / 100)
            teach = recipe.attention_weight > 0 and done < taught
            for processor in supervised.values():
                processor.keep = teach
            b = {name: value.to(device) for name, value in cache.batch(recipe.batch, rng).items()}
            n = len(b["person"])
            t = (1000 * torch.rand(n, generator=rng) ** 0.8).long().clamp(max=999).to(device)
            noise = _noise_like(b["person"], rng).to(device)
            alpha = alphas[t].view(-1, 1, 1, 1)
            noisy = alpha.sqrt() * b["person"] + (1 - alpha).sqrt() * noise
            dropped = (torch.rand(n, generator=rng) < recipe.drop).to(device)
            with mixed(device):
                tokens = model.encoder(b["reference"])
                tokens = torch.where(dropped.view(-1, 1, 1), model.encoder.null(n).to(tokens.dtype), tokens)
                got = model.unet(torch.cat([noisy, b["known"]], 1), t, tokens).sample.float()
            weight = _loss_weight(alpha) * (0.5 + 0.5 * b["inpaint"])
            loss = (weight * (got - noise).square()).mean()
            total = loss
            if teach:
                kept = [p.kept for p in supervised.values() if p.kept is not None]
                point = attention_loss(kept, b["place"], b["share"], 1 - dropped.float())
                total = loss + recipe.attention_weight * point
                mean_attention += 0.05 * (float(point.detach()) - mean_attention)
            optimiser.zero_grad(set_to_none=True)
            total.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            seen = done // recipe.batch  # of the whole training, not of this run: resuming keeps the average
            _average(ema, model, min(recipe.ema, (1 + seen) / (10 + seen)))
            before, done, step = done, done + n, step + 1
            mean_loss += 0.05 * (float(loss.detach()) - mean_loss)
            bar.update(n)
            bar.set_postfix(loss=f"{mean_loss:.4f}", attention=f"{mean_attention:.2f}", refresh=False)
            for mark in snapshots:
                if before < mark <= done:
                    keep(out.with_name(f"{out.stem}-{mark}.safetensors"))
            if step % 100 == 0:
                keep(out)
    bar.close()
    keep(out)
    return out
