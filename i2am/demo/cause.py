"""Cuts in the runs of both bundled models, with the same noise, on a drawn case whose truth is known."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..drawn.groups import held_out_groups
from ..drawn.scene import DemoCase
from ..evaluation.samplers.edit_recording import EditRecording
from ..hosts.diffusers.record import intervene
from ..interventions.attend import attend_groups
from ..interventions.plan import Cut
from ..interventions.questions import UNCUT, Ran
from ..interventions.removal import groups, of_sequence
from ..models.demo.family import demo_layout
from ..models.demo.tryon import DemoModel, try_on
from ..models.edit.blocks import Attend, attend
from ..models.edit.calls import sequence
from ..models.edit.family import STEPS
from ..outputs.proven import Made, Runs
from .edit_model import EditTryOn
from .evaluate.edit.cases import EditBatch
from .recording import recording_of

OnStep = Callable[[int, int], None]
TRYON_STEPS = 50


@dataclass(frozen=True, eq=False)
class Bundled:
    """A bundled model on a drawn case.

    Attributes:
        runs: makes its runs; they leave pictures, (1, H, W, 3) in 0-1.
        truth: (H, W), 1 = where the garment of the reference is truly seen.
        pictures: of the references, (3, H, W) in 0-1, by their names.
    """

    runs: Runs
    truth: Tensor
    pictures: dict[str, Tensor]


class EditRuns:
    """Runs of the bundled edit model."""

    def __init__(self, tryon: EditTryOn, case: EditBatch, seed: int, steps: int = STEPS) -> None:
        self._tryon, self._seed, self.steps = tryon, seed, steps
        self._latents = tryon.encode(case.edits.person), tryon.encode(case.edits.garment)

    def run(self, cut: Cut = UNCUT, *, recorded: bool = False, on_step: OnStep | None = None) -> Ran:
        """The run with a cut."""
        step = 0
        recording = EditRecording(1, self.steps, about={"seed": self._seed}) if recorded else None
        attention = cut_attention([cut], lambda: step, attend if recording is None else recording.attend)

        def ended(done: int) -> None:
            nonlocal step
            step = done
            if recording is not None:
                recording.on_step(done)
            if on_step is not None:
                on_step(done, self.steps)

        made = self._tryon.edit(*self._latents, [self._seed], steps=self.steps, attend=attention, on_step=ended)
        return Ran(made.movedim(1, -1).contiguous(), None if recording is None else recording.finish())


def cut_attention(cuts: Sequence[Cut], step: Callable[[], int] = lambda: 0, inner: Attend = attend) -> Attend:
    """Attention of the edit model with both references in which something is cut; where nothing is, that of ``inner``.

    Args:
        cuts: what.
        step: gives the step of a call; only cuts of chosen steps need it.
        inner: the attention without the cut.
    """
    kept: dict[Any, Any] = {}

    def cutting(name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        short, now = q.shape[2] < k.shape[2], step()
        due = tuple(i for i, cut in enumerate(cuts) if cut.is_due(now) and _is_in(cut, name))
        if (due, short) not in kept:
            removals = (of_sequence(cuts[i], sequence(short)) for i in due)
            found = tuple(removal for removal in removals if removal is not None)
            kept[due, short] = groups(found, q.shape[2], q.shape[1], k.shape[2]) if found else None
        if kept[due, short] is None:
            return inner(name, q, k, v)

        def own(q: Tensor, k: Tensor, v: Tensor, _mask: Tensor | None) -> Tensor:
            return torch.nn.functional.scaled_dot_product_attention(q, k, v)

        return attend_groups(kept[due, short], own, q, k, v, None)

    return cutting


def _is_in(cut: Cut, layer: str) -> bool:
    return cut.layers is None or any(fnmatch.fnmatchcase(layer, pattern) for pattern in cut.layers)


class WithUncut:
    """Runs of which the uncut one is known already."""

    def __init__(self, runs: Runs, uncut: Tensor) -> None:
        self._runs, self._uncut, self.steps = runs, uncut, runs.steps

    def run(self, cut: Cut = UNCUT, *, recorded: bool = False, on_step: OnStep | None = None) -> Made:
        """The run with a cut; the uncut one's picture is that which was given, (1, H, W, 3)."""
        if cut.what == "nothing" and not recorded:
            return Ran(self._uncut)
        return self._runs.run(cut, recorded=recorded, on_step=on_step)


class TryOnRuns:
    """Runs of the bundled try-on model. Where the whole garment is cut, the learned null tokens stand in for it."""

    def __init__(self, model: DemoModel, case: DemoCase, steps: int = TRYON_STEPS, cfg: float = 5.0) -> None:
        self._model, self._case, self.steps, self._cfg = model, case, steps, cfg

    def run(self, cut: Cut = UNCUT, *, recorded: bool = False, on_step: OnStep | None = None) -> Ran:
        """The run with a cut."""
        branches = ("uncond", "cond") if self._cfg != 1 else ("cond",)
        given = {"steps": self.steps, "branches": branches, "images": 1}
        cutting = cut.what != "nothing"
        recording = None
        if recorded:
            cuts = (cut,) if cutting else ()
            recording = recording_of(
                self._model, images=1, steps=self.steps, cfg=self._cfg, pairwise=None, cuts=cuts, info={"seed": self._case.seed}
            )
        around = recording or (intervene(self._model.unet, [cut], demo_layout(), **given) if cutting else nullcontext())
        with around:
            made = try_on(
                self._model,
                agnostic=self._case.own.agnostic,
                densepose=self._case.own.densepose,
                reference=self._case.worn.reference,
                seeds=[self._case.seed],
                steps=self.steps,
                cfg=self._cfg,
                on_step=lambda done: None if on_step is None else on_step(done, self.steps),
            )
        return Ran(made.movedim(1, -1).contiguous(), None if recording is None else recording.maps)


def edit_case(seed: int, steps: int = STEPS, tryon: EditTryOn | None = None) -> Bundled:
    """The bundled edit model on a drawn pair."""
    case = EditBatch.draw(held_out_groups(seed, 1))
    pictures = {"person": case.edits.person[0], "garment": case.edits.garment[0]}
    return Bundled(EditRuns(tryon or EditTryOn.load(), case, seed, steps), case.edits.from_garment[0, 0], pictures)


def tryon_case(seed: int, steps: int = TRYON_STEPS, cfg: float = 5.0) -> Bundled:
    """The bundled try-on model on a drawn pair."""
    case = DemoCase.draw(seed)
    runs = TryOnRuns(DemoModel.load(), case, steps, cfg)
    return Bundled(runs, (case.worn.visible[0, 0] > 0).float(), {"garment": case.worn.reference[0]})
