"""The demo's edit: a person and a garment go in, the person in that garment comes out, and maps say what came from which."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ..drawn.groups import held_out_groups
from ..evaluation.samplers.edit_recording import EditRecording
from ..geometry.resample import Size
from ..interventions.questions import Plan
from ..levels.heat import Heat
from ..levels.share import mean_shares, share, which_reference
from ..maps.value import AttributionMaps
from ..models.edit.family import STEPS
from ..outputs.proven import Proven, prove
from ..outputs.report import write_report
from ..pictures.backdrop import backdrop_name
from ..pictures.bars import share_bars
from ..pictures.marks import enlarge
from ..pictures.parts import colours_of_parts
from ..pictures.sheet import framed, in_a_column, in_a_row
from ..pictures.true_which import true_which
from ..pictures.which import paint_which, which_key
from .cause import EditRuns, WithUncut
from .edit_model import EditTryOn
from .evaluate.edit.cases import FIRST_CHOICE, EditBatch, Truth
from .evaluate.edit.pictures import quality, quality_figures
from .evaluate.edit.pointing import peaks_of, pointing_figures
from .evaluate.edit.share import Agreement, mean_garment, share_map, shares_of
from .evaluate.reader import Reader
from .pictures import picture_of

OTHERS = 24
"""Other drawn edits, from which the baseline takes how often a patch is garment."""
GROUPS = 5
CHANGED = ("mean", "most", "share_inside", "area", "roc")
"""What is kept of the effect of a cut."""
TALL, PRINT, GAP = 384, 24, 28
"""The height of a picture on the sheet, of its letters and the room between two pictures, in pixels."""


@dataclass(frozen=True)
class EditRun:
    """One recorded edit, and what is true of it.

    ``pictures`` are person, garment, generated and answer.
    """

    seed: int
    case: EditBatch
    maps: AttributionMaps
    pictures: dict[str, Image.Image]
    generated: Tensor
    seconds: float


def run_edit(out: Path, tryon: EditTryOn, *, seed: int, steps: int = STEPS, progress: bool = True) -> dict[str, Any]:
    """Edit, record, draw and score one drawn pair; writes its pictures and pages to ``out``.

    Args:
        out: folder to write to.
        tryon: the edit model.
        seed: which person, garment and starting noise.
        steps: Euler steps.
        progress: whether to show a progress bar.

    Returns:
        The scores: ``share_roc`` and ``share_iou`` of the share map (default blocks) against the true garment, ``within_1``
        of SRAM on either reference, the same of ``baselines``, what was read and measured of the ``picture``, what each
        reference's cut changed (``cuts``), and ``seconds``.
    """
    run = _generate(tryon, seed, steps, progress)
    proven = _each_cut(tryon, run, steps, progress)
    proven.sheet.save(out / "edit_cuts.png")
    cuts = {one.name: {name: getattr(one.effect, name) for name in CHANGED} for one in proven.runs}
    scores = {"seed": seed, "steps": steps, **_scores(run), "cuts": cuts, "seconds": run.seconds}
    run.maps.save(out / "edit_maps.safetensors")
    which, truth = _which(run), true_which(_tall(run.pictures["answer"]), run.case.edits)
    for name, picture in {**run.pictures, "which": which, "which_truth": truth}.items():
        picture.save(out / f"edit_{name}.png")
    edit_sheet(run, which, truth).save(out / "edit.png")
    shown = {"right answer (drawn)": run.pictures["answer"], "which reference": which, "which reference, truth": truth}
    references = [run.pictures["person"], run.pictures["garment"]]
    title = f"I²AM demo: an edit with two references, seed {seed}"
    write_report(out / "edit.html", run.maps, run.pictures["generated"], references, scores=scores, title=title, images=shown)
    return scores


def _generate(tryon: EditTryOn, seed: int, steps: int, progress: bool) -> EditRun:
    case = EditBatch.draw(held_out_groups(seed, 1))
    recording = EditRecording(1, steps, groups=GROUPS, about={"seed": seed})
    began = time.perf_counter()
    with tqdm(total=steps, desc="editing", unit="step", disable=not progress) as bar:

        def on_step(done: int) -> None:
            recording.on_step(done)
            bar.update()

        latents = tryon.encode(case.edits.person), tryon.encode(case.edits.garment)
        generated = tryon.edit(*latents, [seed], steps=steps, attend=recording.attend, on_step=on_step)
    seconds = time.perf_counter() - began
    shown = {"person": case.edits.person, "garment": case.edits.garment, "generated": generated, "answer": case.edits.worn}
    pictures = {name: picture_of(tensor[0]) for name, tensor in shown.items()}
    of = {"generated": "generated", "person": backdrop_name("reference", 0), "garment": backdrop_name("reference", 1)}
    thumbnails = {of[name]: torch.from_numpy(np.asarray(pictures[name]).copy()) for name in of}
    return EditRun(seed, case, recording.finish().with_thumbnails(thumbnails), pictures, generated, seconds)


def _each_cut(tryon: EditTryOn, run: EditRun, steps: int, progress: bool) -> Proven:
    """The same run without each of its references."""
    runs = WithUncut(EditRuns(tryon, run.case, run.seed, steps), run.generated.movedim(1, -1).contiguous())
    inside = run.case.edits.from_garment[0, 0]
    with tqdm(desc="cutting", unit="step", disable=not progress) as bar:

        def tell(done: int, total: int) -> None:
            bar.total = total - steps  # the uncut run is there already
            bar.update(done - steps - bar.n)

        return prove(Plan(), runs, lambda picture: picture, run.maps, inside, tell)


def _scores(run: EditRun) -> dict[str, Any]:
    """How well the maps of one edit meet its truth, beside what is to be had without any model."""
    truth = Truth.of(run.case.edits)
    others = EditBatch.draw(held_out_groups(FIRST_CHOICE, OTHERS))
    guess = Agreement(mean_garment(Truth.of(others.edits))[None], truth)
    found = Agreement(share_map(shares_of(run.maps), run.maps.run.default_layers), truth)
    points = pointing_figures(peaks_of(run.maps), truth)
    return {
        "share_roc": found.roc(),
        "share_iou": found.iou(),
        "within_1": _near(points["default"]),
        "baselines": {
            "share_roc": guess.roc(),
            "share_iou": guess.iou(),
            "within_1": {name: _near(of) for name, of in points["baselines"].items()},
        },
        "picture": quality_figures(quality(Reader.load(), run.generated, run.case.edits, run.case.wanted)),
    }


def _near(points: dict[str, Any]) -> dict[str, float | None]:
    return {name: found["within_1"] for name, found in points.items()}


def _which(run: EditRun) -> Image.Image:
    return paint_which(_tall(run.pictures["generated"]), which_reference(run.maps))


def edit_sheet(run: EditRun, which: Image.Image, truth: Image.Image) -> Image.Image:
    """What went in, what came out and ought to; which reference each patch took from, and ought to; and the shares."""
    labels = {
        "person": "person, reference 1",
        "garment": "garment, reference 2",
        "generated": "generated",
        "answer": "the right answer (drawn)",
    }
    first = in_a_row([(_tall(run.pictures[name]), label) for name, label in labels.items()], PRINT, GAP)
    took, comes = "which a patch took from\nmost, by its own attention", "which it truly comes from\ngrey: neither shows it"
    maps = [(which, took), (truth, comes)]
    width = first.width - sum(picture.width + GAP for picture, _ in maps)
    second = in_a_row([*maps, (_bars(run.maps, width), "")], PRINT, GAP)
    return framed(in_a_column([first, second], PRINT), "One edit from two references, without a mask", [], PRINT)


def _bars(maps: AttributionMaps, width: int) -> Image.Image:
    """The shares of the whole picture, and the key to the colours."""
    heat: Heat = share(maps)
    shares, names = mean_shares(heat), [r.name for r in maps.references]
    bars = share_bars(shares, colours_of_parts(list(shares), len(names)), width, PRINT)
    key = which_key(names, width, PRINT, named=False)
    return in_a_column([bars, key], PRINT, ["What attention was spent on", "Of what was taken from references: its share"])


def _tall(picture: Image.Image) -> Image.Image:
    size: Size = (TALL, round(picture.width * TALL / picture.height))
    return enlarge(picture, TALL)[0].resize((size[1], size[0]), Image.Resampling.LANCZOS)
