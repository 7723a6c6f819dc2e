"""The study's runs of the bundled edit model: the garment, its second reference, is cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ....drawn.draw import draw_pairs
from ....drawn.groups import held_out_groups
from ....evaluation.samplers.edit_recording import EditRecording
from ....geometry.cells import cells_under
from ....interventions.attend import attend_groups
from ....interventions.removal import Removal, groups, of_sequence
from ....interventions.substitute import attend_substituted
from ....levels.choice import Choice
from ....levels.heat import Heat
from ....levels.marginal import ulam
from ....levels.mirror import mirror_of_object
from ....levels.patch import asked_grid, sram
from ....levels.share import share, which_reference
from ....maps.value import AttributionMaps
from ....models.edit.blocks import attend
from ....models.edit.calls import sequence
from ....models.edit.family import GARMENT_GRID, GRID, WEIGHTS
from ...edit_model import EditTryOn
from ..edit.cases import EditBatch, check_apart
from ..edit.figures import hash_of
from .case import Uncut, baseline, blurred, is_due, noise_seed
from .trials import BASELINE, BLURRED, OTHER, REMOVED, Trial

FIRST, OTHERS = 300_000, 350_000
"""The first held-out groups of the pairs and of the other garments."""
GARMENT = 1
STEPS = 3
"""Few, for the number of runs."""


class StudiedEdit:
    """The edit model."""

    name = "edit"

    def __init__(self, steps: int = STEPS, weights: Path = WEIGHTS) -> None:
        self.steps, self._weights = steps, weights
        self.tryon = EditTryOn.load(weights)

    def about(self) -> dict[str, Any]:
        """See `Studied`."""
        about = self.tryon.model.about
        return {"sha256": hash_of(self._weights), "samples": about.get("samples", 0), "cfg": 1.0, "sampler": "Euler"}

    def case(self, pair: int, noise: int) -> EditCase:
        """See `Studied`.

        Raises:
            ValueError: the pair, or the other garment, belongs to training.
        """
        own, other = held_out_groups(FIRST + pair, 1), held_out_groups(OTHERS + pair, 1)
        check_apart(own, other, self.tryon.model.about)
        return EditCase(self.tryon, EditBatch.draw(own), EditBatch.draw(other), noise_seed(pair, noise), self.steps)


class EditCase:
    """One pair at one noise."""

    reference = GARMENT

    def __init__(self, tryon: EditTryOn, case: EditBatch, other: EditBatch, seed: int, steps: int) -> None:
        self._tryon, self._case, self._seed, self._steps = tryon, case, seed, steps
        garment = case.edits.garment
        given = {REMOVED: garment, OTHER: other.edits.garment, BLURRED: blurred(garment[0])[None]}
        self._person = tryon.encode(case.edits.person)
        self._garments = {name: tryon.encode(picture) for name, picture in given.items()}

    def uncut(self) -> Uncut:
        """See `Case`."""
        recording = EditRecording(1, self._steps, about={"seed": self._seed})
        made = self._tryon.edit(
            self._person,
            self._garments[REMOVED],
            [self._seed],
            steps=self._steps,
            attend=recording.attend,
            on_step=recording.on_step,
        )
        maps, truth = recording.finish(), self._case.edits.from_garment[0, 0]
        mask = draw_pairs(self._case.wanted).reference_mask[0, 0]
        return Uncut(maps, edit_heats(maps, mask, truth), made[0], truth)

    def make(self, trials: Sequence[Trial]) -> Tensor:
        """See `Case`."""
        donors = [by for by in (OTHER, BLURRED) if any(trial.by == by for trial in trials)]
        count, step = len(trials) + len(donors), 0
        garments = [self._garments[REMOVED]] * len(trials) + [self._garments[by] for by in donors]

        def ended(done: int) -> None:
            nonlocal step
            step = done

        made = self._tryon.edit(
            self._person.expand(count, -1, -1, -1),
            torch.cat(garments),
            [self._seed] * count,
            steps=self._steps,
            attend=EachOwn(trials, {by: len(trials) + i for i, by in enumerate(donors)}, lambda: step),
            on_step=ended,
        )
        return made[: len(trials)]


class EachOwn:
    """Attention of the edit model in which each picture of a batch has a trial of its own.

    Args:
        trials: of the first pictures.
        donors: the row of the batch whose keys and values stand in, by what stands in; such rows have no trial.
        step: gives the step of a call.
    """

    def __init__(self, trials: Sequence[Trial], donors: dict[str, int], step: Any) -> None:
        self._trials, self._donors, self._step = trials, donors, step
        self._removals: dict[tuple[int, bool], Removal | None] = {}

    def __call__(self, name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `models.edit.blocks.Attend`."""
        short, step = q.shape[2] < k.shape[2], self._step()
        rows = []
        for row in range(len(q)):
            own = slice(row, row + 1)
            trial = self._trials[row] if row < len(self._trials) and is_due(self._trials[row].cut, name, step) else None
            removal = None if trial is None else self._removal(row, short)
            if trial is None or removal is None:
                rows.append(attend(name, q[own], k[own], v[own]))
            elif trial.by == REMOVED:
                found = groups((removal,), q.shape[2], q.shape[1], k.shape[2])
                rows.append(attend_groups(found, _plain, q[own], k[own], v[own], None))
            else:
                donor = slice(self._donors[trial.by], self._donors[trial.by] + 1)
                rows.append(attend_substituted(removal, _plain, q[own], k[own], v[own], k[donor], v[donor]))
        return torch.cat(rows)

    def _removal(self, row: int, short: bool) -> Removal | None:
        if (row, short) not in self._removals:
            self._removals[row, short] = of_sequence(self._trials[row].cut, sequence(short))
        return self._removals[row, short]


def _plain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def edit_heats(maps: AttributionMaps, garment: Tensor, truth: Tensor) -> dict[str, Heat]:
    """Every map of the garment, over all steps and the default blocks, and the drawn truth in place of a map.

    Args:
        maps: a recording with pairwise maps.
        garment: (H, W), 1 = the garment on its picture.
        truth: (H, W), 1 = where it is seen on the generated one.
    """
    of = Choice(reference=GARMENT)
    seen = cells_under(truth, asked_grid(maps, "reference", of))
    shares = share(maps, of)
    return {
        "G2R": ulam(maps, "G2R", of),
        "SRAM": sram(maps, seen, choice=of),
        f"{BASELINE}, reference": baseline(garment, GARMENT_GRID, "reference"),
        "R2G": ulam(maps, "R2G", of),
        "R2G-balanced": ulam(maps, "R2G-balanced", of),
        "mass": ulam(maps, "mass", of),
        "share": shares.panel(shares.labels.index("garment")),
        "which reference": which_reference(maps, of).panel(GARMENT),
        "mirror": mirror_of_object(maps, garment, of),
        f"{BASELINE}, generated": baseline(truth, GRID, "generated"),
    }
