"""The training cache: shards of drawn groups as latents, made when training first needs them."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ....drawn.groups import EDITS, draw_groups, training_groups
from ....drawn.places import true_places
from ....models.demo.family import load_part
from ....models.demo.networks import build_vae
from ....models.edit.family import GRID, LATENT
from ..precision import mixed

SHARD = 64
"""Groups of a shard; each has 12 edits."""
AT_ONCE = 4


def load_vae() -> AutoencoderKL:
    """The bundled autoencoder, ready to run."""
    vae = build_vae().eval()
    vae.load_state_dict(load_part("vae"))
    return vae


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) in 0-1 to latents (B, 4, H / 4, W / 4)."""
    with mixed():
        return torch.cat([vae.encode(p * 2 - 1).latent_dist.mode().float() for p in pictures.split(4)])


def group_rows(vae: AutoencoderKL, seeds: range) -> dict[str, Tensor]:
    """What training needs of groups, (G, …) each.

    ``person`` and ``garment``: latents (G, 4, 4, H, W). On the generated picture's tokens: ``place`` (G, 4, 2, 16, 12)
    in pixels of the garment's picture, ``cloth`` (G, 4, 16, 12) the share of garment, ``kept`` (G, 12, 16, 12) the share
    of pixels that edit i of `EDITS` leaves as they are. ``cover`` (G, 4, 32, 24) is the share of garment per latent cell.
    """
    g = draw_groups(seeds)
    place, cloth = true_places(g.place.flatten(0, 1), g.cloth.flatten(0, 1), GRID)
    kept = torch.stack([F.adaptive_avg_pool2d(g.kept(*edit), GRID)[:, 0] for edit in EDITS], 1)
    out = {
        "person": encode(vae, g.person.flatten(0, 1)).unflatten(0, (len(seeds), -1)),
        "garment": encode(vae, g.garment.flatten(0, 1)).unflatten(0, (len(seeds), -1)),
        "place": place.unflatten(0, (len(seeds), -1)),
        "cloth": cloth[:, 0].unflatten(0, (len(seeds), -1)),
        "cover": F.adaptive_avg_pool2d(g.cloth.flatten(0, 1), LATENT)[:, 0].unflatten(0, (len(seeds), -1)),
        "kept": kept,
    }
    return {name: value.half().contiguous() for name, value in out.items()}


def shard_path(folder: Path, index: int) -> Path:
    """Where shard ``index`` lies; it holds training groups ``index * SHARD`` to ``(index + 1) * SHARD - 1``."""
    return folder / f"groups-{index:04d}.safetensors"


def shard(folder: Path, index: int, vae: AutoencoderKL, groups: int = SHARD) -> dict[str, Tensor]:
    """Read shard ``index``; where it is not there yet, draw and encode its ``groups`` first."""
    path = shard_path(folder, index)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        seeds = training_groups(index * SHARD, groups)
        starts = tqdm(range(0, groups, AT_ONCE), desc=path.stem, unit=f"{AT_ONCE} groups", mininterval=5, leave=False)
        rows = [group_rows(vae, seeds[i : i + AT_ONCE]) for i in starts]
        draft = path.with_suffix(".part")
        save_file({name: torch.cat([row[name] for row in rows]) for name in rows[0]}, draft)
        draft.rename(path)
    return load_file(path)
