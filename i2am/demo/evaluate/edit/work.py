"""What is measured, in units of a few pairs whose results lie in files: an evaluation that is stopped goes on from them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ....drawn.groups import held_out_groups
from ....evaluation.samplers.edit_recording import EditRecording
from ....models.edit.family import STEPS
from ...cause import cut_attention
from ...edit_model import EditTryOn
from ..reader import Reader
from .cases import FIRST, FIRST_CHOICE, EditBatch, Truth
from .changes import CUTS, LEFT_OUT
from .pictures import effect, quality
from .pointing import peaks_of
from .share import shares_of

Rows = dict[str, Tensor]
"""What is measured of pairs, by name, a row each."""
KINDS = ("choice", "paired", "changed")


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        pairs: that are measured, from `FIRST` on.
        choice_pairs: others, on which blocks and threshold are chosen.
        changed_pairs: the first of the pairs, from which references are left out and ways cut.
        steps: Euler steps of the measured runs.
        few: steps of the other runs, at most `steps`.
        batch: pairs of a unit.
    """

    pairs: int = 200
    choice_pairs: int = 100
    changed_pairs: int = 32
    steps: int = STEPS
    few: int = 8
    batch: int = 4

    def seeds(self, kind: str) -> range:
        """The groups of a kind of unit."""
        counts = {"choice": self.choice_pairs, "paired": self.pairs, "changed": self.changed_pairs}
        return held_out_groups(FIRST_CHOICE if kind == "choice" else FIRST, counts[kind])

    def steps_of(self, kind: str) -> int:
        """Euler steps of a kind of unit's runs."""
        return self.steps if kind == "paired" else min(self.few, self.steps)

    def units(self) -> Iterator[Unit]:
        """All units: those that take longest first."""
        for kind in ("changed", "paired", "choice"):
            seeds = self.seeds(kind)
            for first in range(0, len(seeds), self.batch):
                yield Unit(kind, tuple(seeds[first : first + self.batch]), self.steps_of(kind))


@dataclass(frozen=True)
class Unit:
    """Some pairs of one kind of run."""

    kind: str
    seeds: tuple[int, ...]
    steps: int

    @property
    def runs(self) -> int:
        """Sampled pictures of the unit."""
        return len(self.seeds) * (1 + len(LEFT_OUT) + len(CUTS) if self.kind == "changed" else 1)

    def path(self, folder: Path) -> Path:
        """Where its results lie."""
        return folder / f"{self.kind}-{self.seeds[0]}-{self.seeds[-1]}.safetensors"

    def about(self, weights: str) -> dict[str, str]:
        """What its file says of itself."""
        return {"unit": json.dumps({**asdict(self), "weights": weights})}


def measure(unit: Unit, tryon: EditTryOn, reader: Reader) -> Rows:
    """Make a unit's pictures and measure them."""
    case = EditBatch.draw(unit.seeds)
    of_kind: dict[str, Callable[[EditBatch, int, EditTryOn, Reader], Rows]] = {
        "choice": _choice,
        "paired": _paired,
        "changed": _changed,
    }
    truth = Truth.of(case.edits)
    with torch.no_grad():
        rows = of_kind[unit.kind](case, unit.steps, tryon, reader)
    return {**rows, "is_garment": truth.garment, "is_person": truth.person, "token": truth.token}


def _choice(case: EditBatch, steps: int, tryon: EditTryOn, _reader: Reader) -> Rows:
    recording = EditRecording(len(case.seeds), steps)
    _picture(case, steps, tryon, recording)
    return {"shares": shares_of(recording.finish())}


def _paired(case: EditBatch, steps: int, tryon: EditTryOn, reader: Reader) -> Rows:
    recording = EditRecording(len(case.seeds), steps)
    pictures = _picture(case, steps, tryon, recording)
    maps, edits = recording.finish(), case.edits
    shown = {
        "generated": pictures,
        "autoencoder": tryon.decode(tryon.encode(edits.worn)),
        "drawn": edits.worn,
        "untouched": edits.person,
    }
    return {
        "shares": shares_of(maps),
        "peaks": peaks_of(maps),
        **{f"quality_{name}": quality(reader, picture, edits, case.wanted) for name, picture in shown.items()},
    }


def _picture(case: EditBatch, steps: int, tryon: EditTryOn, recording: EditRecording) -> Tensor:
    latents = tryon.encode(case.edits.person), tryon.encode(case.edits.garment)
    return tryon.edit(*latents, case.seeds, steps=steps, attend=recording.attend, on_step=recording.on_step)


def _changed(case: EditBatch, steps: int, tryon: EditTryOn, reader: Reader) -> Rows:
    latents, truth = (tryon.encode(case.edits.person), tryon.encode(case.edits.garment)), Truth.of(case.edits)
    before = tryon.edit(*latents, case.seeds, steps=steps)
    made = [tryon.edit(*latents, case.seeds, given=given, steps=steps) for given in LEFT_OUT.values()]
    made += [tryon.edit(*latents, case.seeds, steps=steps, attend=cut_attention(cuts)) for cuts in CUTS.values()]
    return {
        "unchanged": quality(reader, before, case.edits, case.wanted),
        "quality": torch.stack([quality(reader, pictures, case.edits, case.wanted) for pictures in made], 1),
        "effect": torch.stack([effect(pictures, before, case.edits, truth) for pictures in made], 1),
    }


def save(unit: Unit, rows: Rows, folder: Path, weights: str) -> None:
    """Write a unit's results; the file is whole or not there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = unit.path(folder)
    draft = path.with_suffix(".part")
    save_file({name: value.contiguous() for name, value in rows.items()}, draft, unit.about(weights))
    draft.replace(path)


def is_done(unit: Unit, folder: Path, weights: str) -> bool:
    """Whether a unit's results are there, of these weights and as many steps."""
    path = unit.path(folder)
    if not path.is_file():
        return False
    try:
        with safe_open(path, "pt") as file:
            return bool(file.metadata() == unit.about(weights))
    except SafetensorError:
        return False


def load(plan: Plan, kind: str, folder: Path) -> Rows:
    """The results of all units of a kind, pairs in order; empty where the plan has none."""
    parts = [load_file(unit.path(folder)) for unit in plan.units() if unit.kind == kind]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if parts else {}


def truth_of(rows: Rows) -> Truth:
    """The truth of loaded pairs."""
    return Truth(rows["is_garment"], rows["is_person"], rows["token"])
