"""Trains the demo model's autoencoder on drawn pictures."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from ...models.demo.networks import build_vae
from .fastnorm import fast_group_norm
from .precision import mixed
from .shards import read_shard

KINDS = ("person",) * 6 + ("agnostic", "densepose", "densepose_blank")
CROP = 64
BATCH = 16


def _edges(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., :, 1:] - x[..., :, :-1]


def _loss(picture: Tensor, got: Tensor) -> Tensor:
    error = got - picture
    across, down = _edges(error)
    edge = across.abs().mean() + down.abs().mean()
    return error.abs().mean() + 2 * error.square().mean() + edge


def _batch(data: dict[str, Tensor], rng: torch.Generator, whole: bool) -> Tensor:
    count = BATCH // 3 if whole else BATCH
    n, _, height, width = data["person"].shape
    out = []
    for i in torch.randint(n, (count,), generator=rng).tolist():
        kind = KINDS[int(torch.randint(len(KINDS), (1,), generator=rng))]
        picture = data[kind][i]
        if not whole:
            for _ in range(3):  # mostly where the garment is
                y = int(torch.randint(height - CROP + 1, (1,), generator=rng))
                x = int(torch.randint(width - CROP + 1, (1,), generator=rng))
                if data["inpaint"][i, 0, y : y + CROP, x : x + CROP].float().mean() > 127:
                    break
            picture = picture[:, y : y + CROP, x : x + CROP]
        out.append(picture)
    return torch.stack(out).float() / 127.5 - 1


def _initialise(vae: AutoencoderKL) -> None:
    """He initialisation, each residual branch starting at a tenth."""
    for name, module in vae.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
            if name.endswith("conv2"):
                module.weight.data.mul_(0.1)


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Fold a per-channel mean and deviation into the 1x1 convolutions, so that latents come out with mean 0 and deviation 1."""
    latents = torch.cat([vae.encode(p).latent_dist.mode() for p in pictures.split(8)])
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    last, first = vae.quant_conv, vae.post_quant_conv
    last.weight[:4] /= deviation.view(-1, 1, 1, 1)
    last.bias[:4] = (last.bias[:4] - mean) / deviation
    last.weight[4:] = 0  # the posterior's width is not used: a small constant
    last.bias[4:] = 2 * math.log(0.03)
    first.bias += (first.weight[:, :, 0, 0] * mean).sum(1)
    first.weight *= deviation.view(1, -1, 1, 1)


def _keep(state: dict[str, Tensor], path: Path) -> None:
    draft = path.with_name(path.name + ".draft")
    save_file({k: v.cpu().contiguous() for k, v in state.items()}, draft)
    draft.replace(path)


def train_vae(shards: list[Path], out: Path, samples: int, seed: int, device: str = "cpu") -> AutoencoderKL:
    """Train for ``samples`` pictures and write ``out``; resumes from ``out`` with ``.part`` added."""
    torch.manual_seed(seed)
    vae = build_vae().to(device)  # type: ignore[arg-type]
    if out.exists():
        vae.load_state_dict(load_file(out))
        return vae
    _initialise(vae)
    part, done = out.with_suffix(".part"), 0
    if part.exists():
        state = load_file(part)
        done = int(state.pop("samples"))
        vae.load_state_dict(state)
    optimiser = torch.optim.AdamW(vae.parameters(), lr=1.5e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    rng = torch.Generator().manual_seed(seed + done)
    shard = 0
    data = read_shard(shards[0])
    bar = tqdm(total=samples, initial=done, desc="autoencoder", unit="picture", mininterval=5)
    step = 0
    with fast_group_norm(vae):
        while done < samples:
            if step % 150 == 149:
                shard += 1
                data = read_shard(shards[shard % len(shards)])
            whole = done > 0.9 * samples
            picture = _batch(data, rng, whole).to(device)
            rate = min(1.0, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done / samples)))
            for group in optimiser.param_groups:
                group["lr"] = 1.5e-3 * rate
            with mixed(device):
                latent = vae.encode(picture).latent_dist.mode().float()
                scale = latent.detach().std().clamp_min(0.1)
                got = vae.decode(latent + 0.03 * scale * torch.randn(latent.shape, generator=rng).to(device)).sample.float()
            loss = _loss(picture, got) + 1e-3 * (latent.square() - 1).clamp_min(0).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
            optimiser.step()
            done += len(picture)
            step += 1
            bar.update(len(picture))
            if step % 25 == 0:
                psnr = -10 * math.log10(float((got - picture).detach().square().mean()) / 4)
                bar.set_postfix(loss=f"{float(loss.detach()):.3f}", psnr=f"{psnr:.1f}", refresh=False)
            if step % 400 == 0:
                _keep({**vae.state_dict(), "samples": torch.tensor(done)}, part)
    bar.close()
    people = torch.cat([read_shard(s)["person"][:64] for s in shards[:4]]).float() / 127.5 - 1
    normalise_latents(vae, people.to(device))
    _keep(vae.state_dict(), out)
    return vae
