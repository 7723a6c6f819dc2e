"""The study's runs of the bundled try-on model, a U-Net whose only reference is the garment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....drawn.scene import DemoCase
from ....drawn.seeds import HELD_OUT
from ....drawn.spec import PICTURE
from ....geometry.cells import cells_under
from ....geometry.layout import TokenGrid
from ....hosts.diffusers.unet import grid_of
from ....interventions.attend import attend_groups
from ....interventions.cells import by_coarsest_layer
from ....interventions.removal import groups, of_layout
from ....levels.heat import Heat
from ....levels.marginal import ulam
from ....levels.mirror import mirror_of_object
from ....levels.patch import asked_grid, sram
from ....maps.value import AttributionMaps
from ....models.demo.encoder import REFERENCE_GRID
from ....models.demo.family import WEIGHTS, demo_layout
from ....models.demo.networks import LATENT
from ....models.demo.tryon import PARTS, DemoModel, noise_of
from ....models.sampling import denoise
from ...recording import recording_of
from ..cases import check_held_out
from .case import Uncut, baseline, blurred, is_due, noise_seed
from .trials import BASELINE, BLURRED, OTHER, REMOVED, Trial

FIRST, OTHERS = 150_000, 200_000
"""Of the cases of the pairs and of the other garments."""
CFG = 5.0
STEPS = 3
"""Few, for the number of runs: over 254 cuts of two pairs the changes after 3 and 6 steps rank alike (Spearman 0.995)."""


class StudiedTryOn:
    """The try-on model."""

    name = "tryon"

    def __init__(self, steps: int = STEPS, weights: Path = WEIGHTS) -> None:
        self.steps, self._weights = steps, weights
        self.model = DemoModel.load(weights)

    def about(self) -> dict[str, Any]:
        """See `Studied`."""
        digest = hashlib.sha256()
        for name in PARTS:
            digest.update((self._weights / f"{name}.safetensors").read_bytes())
        samples = self.model.about.get("samples", 0)
        return {"sha256": digest.hexdigest(), "samples": samples, "cfg": CFG, "sampler": "DDIM"}

    def case(self, pair: int, noise: int) -> TryOnCase:
        """See `Studied`.

        Raises:
            ValueError: the pair, or the other garment, belongs to training.
        """
        own, other = FIRST + pair, OTHERS + pair
        drawn = [HELD_OUT + 2 * seed + i for seed in (own, other) for i in (0, 1)]
        check_held_out(drawn, int(self.model.about.get("shards", 0)))
        return TryOnCase(self.model, DemoCase.draw(own), DemoCase.draw(other), noise_seed(pair, noise), self.steps)


class TryOnCase:
    """One pair at one noise."""

    reference = 0

    @torch.inference_mode()
    def __init__(self, model: DemoModel, case: DemoCase, other: DemoCase, seed: int, steps: int) -> None:
        self._model, self._case, self._seed, self._steps = model, case, seed, steps
        self._known = torch.cat([model.encode(case.own.agnostic), model.encode(case.own.densepose)], 1)
        self._null = model.encoder.null(1)
        garment = case.worn.reference
        given = {REMOVED: garment, OTHER: other.worn.reference, BLURRED: blurred(garment[0])[None]}
        self._tokens = {name: model.encoder(picture) for name, picture in given.items()}

    def uncut(self) -> Uncut:
        """See `Case`."""
        recording = recording_of(self._model, images=1, steps=self._steps, cfg=CFG, info={"seed": self._seed})
        with recording:
            made = self._sampled(self._tokens[REMOVED], [0])
        maps, worn = recording.maps, self._case.worn
        truth = (worn.visible[0, 0] > 0).float()
        return Uncut(maps, tryon_heats(maps, worn.reference_mask[0, 0], truth), made[0], truth)

    @torch.inference_mode()
    def make(self, trials: Sequence[Trial]) -> Tensor:
        """See `Case`."""
        context = torch.cat([self._context(trial) for trial in trials])
        step = [0]
        with each_own(self._model.unet, trials, step):
            return self._sampled(context, step)

    def _context(self, trial: Trial) -> Tensor:
        """The tokens of the reference, (1, 281, 128), with the cut ones replaced where something stands in for them.

        All layers make their keys and values of these tokens alone, one by one, so that replacing the one replaces the other.
        """
        own = self._tokens[REMOVED]
        if trial.by == REMOVED:
            return own
        removal = of_layout(trial.cut, demo_layout(), 0, own.shape[1], TokenGrid(1, 1))
        assert removal is not None
        assert all(part is None for part in (removal.rows, removal.heads, trial.cut.steps, trial.cut.layers))
        mixed = own.clone()
        mixed[:, removal.keys] = self._tokens[trial.by][:, removal.keys]
        return mixed

    @torch.inference_mode()
    def _sampled(self, context: Tensor, step: list[int]) -> Tensor:
        """Pictures of as many contexts, as `models.demo.tryon.try_on` makes them; ``step`` holds the step that runs."""
        count = len(context)
        known, both = self._known.repeat(2 * count, 1, 1, 1), torch.cat([self._null.expand(count, -1, -1), context])

        def predict(noisy: Tensor, t: Tensor) -> Tensor:
            first = 0 if step[0] else count - 1  # in the first step all uncond rows are the same one
            out: Tensor = self._model.unet(torch.cat([noisy, known], 1)[first:], t, both[first:]).sample
            return torch.cat([out[:1].expand(first, -1, -1, -1), out])

        def ended(done: int) -> None:
            step[:] = [done]

        noise = noise_of([self._seed] * count)
        latents = denoise(self._model.scheduler, predict, noise, steps=self._steps, cfg=CFG, on_step=ended)
        return self._model.decode(latents)


class EachOwn:
    """A processor of one cross-attention layer in which each picture of a batch has a trial of its own, in its cond row.

    Where no key would be left, the negative's tokens stand in, as in `hosts.diffusers.cutting`.
    """

    def __init__(self, layer: str, trials: Sequence[Trial], step: list[int]) -> None:
        self._layer, self._trials, self._step = layer, trials, step

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: object) -> Tensor:
        """Attend as diffusers' own processor does, (B, N, C) to (B, N, C): uncond rows, one or one each, then the cond rows."""
        q, k, v = attn.to_q(hidden_states), attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
        q, k, v = (t.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for t in (q, k, v))

        def plain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=attn.scale)

        count, keys = len(q) - len(self._trials), k.shape[2]
        rows = [plain(q[:count], k[:count], v[:count], None)]
        grid = TokenGrid(*grid_of(self._layer, LATENT, q.shape[2]), picture=PICTURE)
        for i, trial in enumerate(self._trials):
            own, null = slice(count + i, count + i + 1), slice(min(i, count - 1), min(i, count - 1) + 1)
            due = trial.by == REMOVED and is_due(trial.cut, self._layer, self._step[0])
            removal = of_layout(trial.cut, demo_layout(), 0, keys, grid) if due else None
            if removal is None:
                rows.append(plain(q[own], k[own], v[own], None))
                continue
            with_null = [torch.cat([t[own], t[null]], 2) for t in (k, v)]
            found = groups((removal,), q.shape[2], q.shape[1], keys, spare=keys)
            rows.append(attend_groups(found, plain, q[own], with_null[0], with_null[1], None))
        out: Tensor = attn.to_out[0](torch.cat(rows).transpose(1, 2).flatten(2))
        return out


@contextmanager
def each_own(unet: nn.Module, trials: Sequence[Trial], step: list[int]) -> Iterator[None]:
    """While it is entered, each picture of a batch has a trial of its own."""
    layers: dict[str, Any] = {name: module for name, module in unet.named_modules() if name.endswith(".attn2")}
    before = {name: module.processor for name, module in layers.items()}
    try:
        for name, module in layers.items():
            module.set_processor(EachOwn(name.removesuffix(".attn2"), trials, step))
        yield
    finally:
        for name, module in layers.items():
            module.set_processor(before[name])


def tryon_heats(maps: AttributionMaps, garment: Tensor, truth: Tensor) -> dict[str, Heat]:
    """Every map of the garment, over all steps and layers, and the drawn truth in place of a map.

    Those on the generated picture are pooled to the cells of the coarsest layer.

    Args:
        maps: a recording with pairwise maps.
        garment: (H, W), 1 = the garment on its picture.
        truth: (H, W), 1 = where it is seen on the generated one.
    """
    coarsest = min((layer.grid for layer in maps.layers), key=lambda grid: grid.placed)
    seen = cells_under(truth, asked_grid(maps, "reference"))
    found = {
        "G2R": ulam(maps, "G2R"),
        "SRAM": sram(maps, seen),
        f"{BASELINE}, reference": baseline(garment, REFERENCE_GRID, "reference"),
        "R2G": ulam(maps, "R2G"),
        "R2G-balanced": ulam(maps, "R2G-balanced"),
        "mirror": mirror_of_object(maps, garment),
        f"{BASELINE}, generated": baseline(truth, (coarsest.rows, coarsest.columns), "generated"),
    }
    return {name: by_coarsest_layer(heat, maps) for name, heat in found.items()}
