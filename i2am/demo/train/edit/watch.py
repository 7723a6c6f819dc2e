"""A look at held-out edits while the model trains: does its attention tell the references apart, and point?

Attention is read at three noise levels of the true picture, so no sampling is needed for it; the pictures are sampled.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from ....drawn.groups import Edits, draw_groups, edit_of, held_out_groups
from ....drawn.places import true_places
from ....drawn.spec import REFERENCE
from ....models.edit.family import BLOCKS, GARMENT_GRID, GRID, LATE
from ....models.edit.model import EditModel
from ....models.edit.sampling import edit_noise, sample
from ....scores.imacs import roc_area
from ..precision import mixed
from .attention import Attention
from .shards import encode

FIRST = 200_000
"""First held-out group of the watched ones; none is ever evaluated."""
COUNT, SAMPLED, STEPS = 32, 16, 12
LEVELS = (0.3, 0.6, 0.9)
TOKENS = GRID[0] * GRID[1]


class Watch:
    """32 held-out edits, and the file that each look is written to as a line of JSON."""

    def __init__(self, vae: AutoencoderKL, path: Path, count: int = COUNT, sampled: int = SAMPLED) -> None:
        self.vae, self.path, self.sampled, self.started = vae, path, min(sampled, count), time.monotonic()
        parts = [edit_of(draw_groups([seed]), 0, 0, 1) for seed in held_out_groups(FIRST, count)]
        self.edits = Edits(**{name: torch.cat([getattr(p, name) for p in parts]) for name in vars(parts[0])})
        self.person, self.garment, self.worn = (
            encode(vae, x) for x in (self.edits.person, self.edits.garment, self.edits.worn)
        )
        self.noise = edit_noise(range(count))
        place, cloth = true_places(self.edits.place, self.edits.from_garment, GRID)
        same = torch.nn.functional.adaptive_avg_pool2d(self.edits.from_person, GRID)
        self.on_garment, self.on_person = cloth.flatten(1) > 0.5, same.flatten(1) > 0.5
        size = torch.tensor([GARMENT_GRID[1] / REFERENCE[1], GARMENT_GRID[0] / REFERENCE[0]])
        self.true_cell = place.flatten(2).mT * size - 0.5  # (B, tokens, 2) as (column, row) of the garment's grid

    def look(self, model: EditModel, facts: dict[str, Any]) -> dict[str, Any]:
        """Append ``facts`` and what is seen of ``model`` to the file; returns them."""
        with torch.no_grad(), mixed():
            row = {**facts, "seconds": round(time.monotonic() - self.started), **self._pointing(model), **self._pictures(model)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}) + "\n")
        return row

    def _pointing(self, model: EditModel) -> dict[str, Any]:
        maps: dict[str, Tensor] = {}
        losses = []
        for level in LEVELS:
            for rows in torch.arange(len(self.worn)).split(8):
                attend = Attention(BLOCKS)
                noisy = (1 - level) * self.worn[rows] + level * self.noise[rows]
                references = (self.person[rows], self.garment[rows])
                context = model.context.expand(len(rows), -1, -1)
                got = model.network(noisy, torch.full((len(rows),), level), context, references, attend=attend)
                losses.append((got.float() - (self.noise[rows] - self.worn[rows])).square().mean())
                for name, weights in attend.kept.items():
                    whole = maps.setdefault(name, torch.zeros(len(self.worn), *weights.shape[1:]))
                    whole[rows] += weights / len(LEVELS)
        blocks = {name: self._figures(maps[name]) for name in BLOCKS}
        late = self._figures(sum(maps[name] for name in LATE))  # type: ignore[arg-type]
        return {"held_out_flow": float(torch.stack(losses).mean()), "late": late, "blocks": blocks}

    def _figures(self, weights: Tensor) -> dict[str, float]:
        """ROC area of the garment's share of the references, and how often attention's peak is within one cell of the truth."""
        person, garment = weights[..., :TOKENS], weights[..., TOKENS:]
        share = garment.sum(-1) / weights.sum(-1)
        told = self.on_garment | self.on_person
        area = roc_area(share[told][None], self.on_garment[told][None].float())
        peak = garment.argmax(-1)
        cell = torch.stack([peak % GARMENT_GRID[1], peak // GARMENT_GRID[1]], -1)
        near = ((cell - self.true_cell).abs().amax(-1) <= 1)[self.on_garment]
        peak, here = person.argmax(-1), torch.arange(TOKENS)
        apart = torch.stack([(peak % GRID[1] - here % GRID[1]).abs(), (peak // GRID[1] - here // GRID[1]).abs()]).amax(0)
        return {
            "share_roc": round(float(area or 0), 4),
            "garment_within_1": round(float(near.float().mean()), 4),
            "person_within_1": round(float((apart <= 1)[self.on_person].float().mean()), 4),
        }

    def _pictures(self, model: EditModel) -> dict[str, float]:
        n = self.sampled
        latents = sample(model.network, model.context, (self.person[:n], self.garment[:n]), self.noise[:n], STEPS)
        pictures = torch.cat([self.vae.decode(x.float()).sample for x in latents.split(4)]).float() / 2 + 0.5
        error = (pictures.clamp(0, 1) - self.edits.worn[:n]).square().mean(1, keepdim=True)

        def psnr(where: Tensor) -> float:
            return float(-10 * ((error * where[:n]).sum() / where[:n].sum()).log10())

        return {"psnr_garment": psnr(self.edits.from_garment), "psnr_kept": psnr(self.edits.from_person)}
