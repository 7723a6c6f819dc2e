"""Effects: what changed between two runs of the same noise, beside the maps that may have foretold it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io
from PIL import Image
from torch import Tensor

from ..i2am.errors import I2AMError
from ..i2am.geometry.frames import name_of, packed_frames
from ..i2am.geometry.shapes import check_shape
from ..i2am.levels.batch import join
from ..i2am.levels.choice import Choice, layers_of
from ..i2am.levels.grids import name_of_reference
from ..i2am.levels.heat import shown
from ..i2am.maps.kinds import level_sides
from ..i2am.models.pictures import channels_first
from ..i2am.outputs.effect_sheet import effect_sheet
from ..i2am.scores.effect import WHICH, change_heat, change_of, effect, frames_apart, maps_to_tell, regions_of
from .base import Heat, Maps, check, field, per_image, pictures, preview, samples, schema
from .base import image as image_of
from .fields import branch, reference

SIDES = (*level_sides("generated", "any"), WHICH, *level_sides("generated", "joint"))


class Effect(io.ComfyNode):
    """Where two pictures differ, and how well maps told it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_Effect",
            display_name="I²AM Effect",
            description="What did the cut change? Takes the pictures (or latents) of two runs with the same seed, one with "
            "I²AM Intervene and one without, and shows where they differ, how much of it lies in a region, and how well the "
            "maps told it.",
            search_aliases=["difference", "compare images", "ablation", "causal effect", "did it matter", "diff"],
            is_output_node=True,
            inputs=[
                field(io.Image, "before", optional=True, tooltip="The picture of the run without the cut."),
                field(io.Image, "after", optional=True, tooltip="The picture of the run with it, from the same seed."),
                field(
                    io.Latent,
                    "latent_before",
                    optional=True,
                    tooltip="The latents in place of the pictures, or beside them: then the change is measured on the latents.",
                ),
                field(io.Latent, "latent_after", optional=True, tooltip="Likewise, of the run with the cut."),
                field(
                    Maps,
                    "maps",
                    optional=True,
                    tooltip="Of the run without the cut: how well each map on the generated picture told the change.",
                ),
                field(
                    io.Mask,
                    "region",
                    optional=True,
                    tooltip="On the generated picture, 1 = where a change is expected, such as the garment.",
                ),
                field(
                    io.Combo,
                    "side",
                    options=list(SIDES),
                    default="mass",
                    tooltip="The map that is drawn beside the change; the text compares all of them.",
                ),
                reference(),
                branch(),
                field(
                    io.String,
                    "layers",
                    default="",
                    tooltip="Of the maps: names or globs such as output.*; empty: the run's default layers.",
                    advanced=True,
                ),
            ],
            outputs=[
                Heat.Output("heat", tooltip="Where it changed, for I²AM Threshold, Overlay and Grid."),
                io.Mask.Output("mask", tooltip="The same from 0 to 1, each picture by its own range."),
                io.String.Output("said", tooltip="The figures in plain words."),
                io.Image.Output("sheet", tooltip="Before, after, change and map, one sheet per picture."),
                io.Float.Output("share_inside", tooltip="Share of the change in the region, 0 to 1. NaN without one."),
                io.Float.Output("roc", tooltip="Area under the ROC curve of the change for the region. NaN without one."),
                io.Float.Output("rank_correlation", tooltip="Of the drawn map with the change, −1 to 1. NaN without maps."),
            ],
        )

    @classmethod
    def execute(
        cls,
        side: str,
        reference: int = 0,
        branch: str = "cond",
        layers: str = "",
        before: Tensor | None = None,
        after: Tensor | None = None,
        latent_before: Any = None,
        latent_after: Any = None,
        maps: Any = None,
        region: Tensor | None = None,
    ) -> io.NodeOutput:
        one, two = _pair("picture", before, after), _pair("latent", latent_before, latent_after)
        if one is None and two is None:
            raise I2AMError("nothing to compare: connect before and after, or latent_before and latent_after")
        if maps is not None:
            check(maps=maps)
        frames, images = (1, 0) if maps is None else (maps.frames, maps.images)
        if two is not None:
            latents = [samples(each) for each in two]
            changes = change_of(*map(frames_apart, latents))
            images = len(changes)
            if maps is None and latents[0].ndim == 5:
                frames = packed_frames(latents[0].shape[2], images, None if one is None else len(one[0]))
        if one is not None:
            one = per_image(one[0], images, frames), per_image(one[1], images, frames)
        seen = None if one is None else (pictures(one[0]), pictures(one[1]))
        if two is not None:
            for name, drawn in zip(("before", "after"), seen or ()):
                _together(name, drawn, changes)
        else:
            assert one is not None
            changes = change_of(*(channels_first(picture) for picture in one))
        regions, found, heats, sheets = regions_of(region, len(changes)), [], [], []
        for i, change in enumerate(changes):
            told = _told(maps, side, Choice(branch, reference, i, layers=layers_of(layers)), len(changes))
            named = "" if maps is None else name_of_reference(maps, reference) or maps.references[reference].name
            size = None if seen is None else (seen[0][i].height, seen[0][i].width)
            heats.append(change_heat(change, size=size))
            found.append(effect(change, regions[i], told))
            sheets.append(
                effect_sheet(
                    heats[-1],
                    found[-1],
                    before=None if seen is None else seen[0][i],
                    after=None if seen is None else seen[1][i],
                    told=told.get(side),
                    region=regions[i],
                    of=named,
                )
            )
        heat, sheet = join(heats, range(len(heats)), frames), image_of(sheets)
        said = "\n".join(
            f"{f'{name_of(i, frames, len(found))}: ' * (len(found) > 1)}{' '.join(one.sentences(named))}"
            for i, one in enumerate(found)
        )
        figures = (
            [one.share_inside for one in found],
            [one.roc for one in found],
            [(one.told or {}).get(side) for one in found],
        )
        return io.NodeOutput(heat, shown(heat), said, sheet, *map(_mean, figures), ui=preview(sheet))


def _pair(what: str, before: Any, after: Any) -> tuple[Any, Any] | None:
    """Both of them, or None.

    Raises:
        I2AMError: one is there and the other is not.
    """
    if before is None and after is None:
        return None
    if before is None or after is None:
        lacking = "before" if before is None else "after"
        raise I2AMError(f"the {what} {lacking} the cut is missing, the other one is connected; connect both")
    return before, after


def _together(name: str, drawn: Sequence[Image.Image], changes: Tensor) -> None:
    """Refuse pictures that cannot be those of the latents whose changes (B, h, w) are given.

    Raises:
        I2AMError: there are more or fewer, or they have another shape.
    """
    if len(drawn) != len(changes):
        raise I2AMError(
            f"{name} holds {len(drawn)} picture(s), but the latents hold {len(changes)}; connect the pictures that were "
            f"decoded from these latents, of a video one for each frame of its latent"
        )
    check_shape(f"picture {name}", (drawn[0].height, drawn[0].width), (changes.shape[1], changes.shape[2]), "latent")


def _told(maps: Any, side: str, choice: Choice, images: int) -> dict[str, Any]:
    if maps is None:
        return {}
    if maps.images != images:
        raise I2AMError(f"maps are of a run of {maps.images} image(s), but {images} changed; connect those of the run before")
    if choice.reference >= len(maps.references):
        raise I2AMError(
            f"reference {choice.reference} does not exist: the run had {len(maps.references)}, counted from 0; set reference"
        )
    found = maps_to_tell(maps, choice)
    if side not in found:
        raise I2AMError(f"this recording has no {side}, but {', '.join(found) or 'no map on the generated picture'}; set side")
    return found


def _mean(values: Sequence[float | None]) -> float:
    """NaN if one is missing."""
    return math.nan if None in values else sum(v for v in values if v is not None) / len(values)
