"""Makes the runs of a planned question one after another, and draws what they showed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from ..errors import I2AMError
from ..geometry.masks import mask_to_score
from ..geometry.shapes import check_shape
from ..interventions.deletion import Curve, curves_of
from ..interventions.plan import Cut
from ..interventions.questions import CURVE, UNCUT, Plan
from ..levels.batch import over_frames
from ..levels.choice import Choice
from ..levels.heat import Heat
from ..maps.value import AttributionMaps
from ..models.pictures import channels_first, thumbnail
from ..scores.effect import change_of, effect, maps_to_tell
from .proof_sheet import Shown, answer, changes_heat, proof_chart, proof_sheet, proof_table

TOLD = ("mass", "R2G-balanced", "R2G")
"""The table has the rank correlation with each change of the first of these maps that the run has."""

FILM = "Changes are means over the {} frames of the video; the pictures are of frame {}, which the first cut changed most."


class Made(Protocol):
    """What a run left."""

    @property
    def latent(self) -> Tensor:
        """What the sampler gave."""

    @property
    def maps(self) -> AttributionMaps | None:
        """Of the run, if it was recorded."""


class Runs(Protocol):
    """Makes runs of one sampler with the same noise; see `Proof` in the host's room."""

    steps: int

    def run(self, cut: Cut = ..., *, recorded: bool = ..., on_step: Callable[[int, int], None] | None = ...) -> Made:
        """The run with this cut."""


@dataclass(frozen=True, eq=False)
class Proven:
    """What a planned set of runs showed.

    Attributes:
        sheet, chart: pictures.
        table: the answer in words, and a line of figures for each run.
        heat: where each run changed, a panel each.
        pictures: (1 + runs, H, W, 3), the uncut one first.
        runs: the others, with their figures.
        curves: of a deletion curve, by order.
    """

    sheet: Image.Image
    chart: Image.Image
    table: str
    heat: Heat
    pictures: Tensor
    runs: tuple[Shown, ...]
    curves: Mapping[str, Curve]

    @property
    def of_layers(self) -> dict[str, float]:
        """How much the picture changed on average where one layer was cut, by its name or glob; of that question alone."""
        return {run.layers: run.effect.mean for run in self.runs if run.layers}


def prove(
    plan: Plan,
    runs: Runs,
    decode: Callable[[Tensor], Tensor],
    maps: AttributionMaps | None = None,
    inside: Tensor | None = None,
    tell: Callable[[int, int], object] = lambda _done, _total: None,
) -> Proven:
    """Make the uncut run, then one for each cut of the plan, and compare.

    Args:
        plan: the question.
        runs: makes them; those that it made before are not made again.
        decode: a latent to a picture, (1, H, W, 3) in 0-1, or to the frames of a video, (frames, H, W, 3): then figures are
            means over the frames, and one of them is shown.
        maps: of the uncut run; None: it is recorded.
        inside: (H, W) of the picture: where a change is expected.
        tell: called with the steps that are done and those of all runs, as far as they are known.

    Raises:
        I2AMError: the plan does not fit the run, or a region is empty or everything.
    """
    if inside is not None:
        mask_to_score(inside, "picture region")
    planned = None if maps is None else plan.runs(maps)

    def telling(before: int) -> Callable[[int, int], None]:
        total = runs.steps * (1 + (1 if planned is None else len(planned)))

        def on_step(done: int, _all: int) -> None:
            tell(before * runs.steps + done, total)

        return on_step

    first = runs.run(UNCUT, recorded=maps is None, on_step=telling(0))
    maps = maps or first.maps
    if maps is None:
        raise I2AMError("the uncut run left no maps, so it is not known what can be cut; connect the maps of a recorded run")
    if planned is None:
        planned = plan.runs(maps)
    told = {i: _told(maps, i) for i in dict.fromkeys(one.cut.reference for one in planned)}
    if inside is not None:  # before the runs that a wrong mask would be told after
        for heat in (heat for kinds in told.values() for heat in kinds.values()):
            check_shape("picture region", (inside.shape[0], inside.shape[1]), heat.size, "picture")
    made = [first, *(runs.run(one.cut, on_step=telling(i)) for i, one in enumerate(planned, 1))]
    uncut, frame, pictures, shown = decode(first.latent), -1, [], []
    for one, run in zip(planned, made[1:], strict=True):
        film = decode(run.latent)
        changes = change_of(channels_first(uncut), channels_first(film), same=True)
        if frame < 0:
            frame = int(changes.mean((1, 2)).argmax())
        pictures.append(film[frame])
        found = effect(changes.mean(0), inside, told[one.cut.reference])
        shown.append(Shown(one.name, _picture(film[frame]), changes.mean(0), found, one.layers))
    means = [one.effect.mean for one in shown]
    curves = curves_of([one.deletion for one in planned if one.deletion], means) if plan.question == CURVE else {}
    compared = next((side for side in TOLD if any(side in kinds for kinds in told.values())), "")
    said = answer(plan.question, shown, curves, plan.side)
    if len(uncut) > 1:
        said = [*said, FILM.format(len(uncut), frame)]
    return Proven(
        sheet=proof_sheet(_picture(uncut[frame]), shown, plan.question, said, inside),
        chart=proof_chart(shown, curves, plan.side),
        table="\n".join([*said, "", proof_table(shown, compared)]),
        heat=changes_heat(shown),
        pictures=torch.stack([uncut[frame], *pictures]),
        runs=tuple(shown),
        curves=curves,
    )


def _told(maps: AttributionMaps, reference: int) -> dict[str, Heat]:
    """The maps of a reference on the generated picture, or on a video the mean over its latent frames, by side."""
    found = [maps_to_tell(maps, Choice(reference=reference, image=image)) for image in range(maps.frames)]
    return {side: over_frames(maps, [kinds[side] for kinds in found].__getitem__) for side in found[0]}


def _picture(picture: Tensor) -> Image.Image:
    return Image.fromarray(thumbnail(picture.movedim(-1, 0)).numpy())
