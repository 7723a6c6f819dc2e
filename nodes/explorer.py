"""Pointing at the pictures of a run: pins on them, and what each pin looks at."""

from __future__ import annotations

import json
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..i2am.geometry.masks import mask_of
from ..i2am.geometry.pins import pins_of, pins_text
from ..i2am.levels.batch import images_of
from ..i2am.levels.choice import Choice
from ..i2am.levels.kept import kept_reference_mask
from ..i2am.outputs.explored import explore, explorer_file
from ..i2am.pictures.backdrop import known_references, reference_pictures
from ..i2am.pictures.matching import one_of
from .base import Heat, Maps, check, field, pictures, preview, run_pictures, schema, temporary
from .base import image as image_of
from .fields import batch_index, branch, further_references
from .second import second_of, second_run


class Explorer(io.ComfyNode):
    """The viewer in the graph, and what its pins give."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_Explorer",
            display_name="I²AM Explorer",
            description="Point at the picture and see at once which part of each reference that place used; point at a "
            "reference and see where that part went. Click to pin places and drag to pin regions, and name them. With a second "
            "recording, two runs are compared: side by side, by a wipe, and as a difference.",
            search_aliases=[
                "explore",
                "interactive",
                "viewer",
                "point",
                "click",
                "pin",
                "why",
                "attention map",
                "heat map",
                "DAAM",
                "compare",
                "difference",
            ],
            is_output_node=True,
            inputs=[
                field(Maps, "maps", tooltip="From I²AM Look, Collect or Load Maps; recorded with pairwise detail."),
                field(io.Image, "image", tooltip="The generated picture, from VAE Decode; one, or one per image of the run."),
                field(
                    io.Image,
                    "reference",
                    optional=True,
                    tooltip="The first reference's picture; empty: the small picture kept with the maps, or grey.",
                ),
                field(
                    io.Mask,
                    "inpaint_mask",
                    optional=True,
                    tooltip="On the generated picture, 1 = repainted; the table then says how much of each map lies inside.",
                ),
                field(
                    io.Mask,
                    "reference_mask",
                    optional=True,
                    tooltip="On the reference, 1 = the object; shows where it went, and how much of each map lies inside.",
                ),
                field(
                    io.String,
                    "pins",
                    default="",
                    tooltip='What is pinned, as JSON in pixels: [{"name": "logo", "on": "generated", "x": 48, "y": 64}]; "on" '
                    'is "generated" or "reference 1"; "width" and "height" make a region. The node\'s own pictures write it.',
                ),
                branch(),
                batch_index(0, "The node shows one image."),
                field(
                    io.Int,
                    "reference_index",
                    default=0,
                    min=0,
                    max=63,
                    advanced=True,
                    tooltip="Which reference of the run, counted from 0, reference_mask and reference_region are about.",
                ),
                *further_references("reference"),
                *second_run(),
            ],
            outputs=[
                io.Image.Output(
                    "marked",
                    tooltip="The pictures side by side with the pins; a ring shows where each pin looks most. With a second "
                    "run its pictures below, and what it has more or less.",
                ),
                Heat.Output(
                    "heats",
                    is_output_list=True,
                    tooltip="A map for each pin on each picture that it is seen on, for I²AM Overlay; without pins, the map of "
                    "the whole picture.",
                ),
                io.Image.Output(
                    "pictures",
                    is_output_list=True,
                    tooltip="The picture that each of the heats lies on, for I²AM Overlay.",
                ),
                io.Mask.Output("region", tooltip="1 in the pins on the generated picture; empty without one."),
                io.Mask.Output("reference_region", tooltip="1 in the pins on the reference that reference_index names."),
                io.String.Output(
                    "points", tooltip="The pins on the generated picture as [[x, y], …] in pixels, for I²AM Patch Map."
                ),
                io.Int.Output("x", tooltip="Of the first pin, in pixels; without pins, the middle of the generated picture."),
                io.Int.Output("y", tooltip="Of the first pin, in pixels; without pins, the middle of the generated picture."),
                io.String.Output(
                    "table",
                    tooltip="What each pin looks at most, how sharply, and with which share; with a second run of both.",
                ),
                io.String.Output("pins", tooltip="The pins themselves as JSON, for pins of I²AM Patch Map."),
                io.String.Output(
                    "answer",
                    tooltip="The run in plain words, and the rules behind them; of each pin on a reference whether it arrived.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        maps: Any,
        image: Tensor,
        pins: str,
        branch: str = "cond",
        batch_index: int = 0,
        reference_index: int = 0,
        reference: Tensor | None = None,
        inpaint_mask: Tensor | None = None,
        reference_mask: Tensor | None = None,
        reference_2: Tensor | None = None,
        reference_3: Tensor | None = None,
        maps_2: Any = None,
        image_2: Tensor | None = None,
    ) -> io.NodeOutput:
        check(maps=maps)
        (chosen,) = images_of(maps, batch_index)
        second = second_of(maps_2, image_2, chosen)
        given = [None if one is None else pictures(one) for one in (reference, reference_2, reference_3)]
        inside, object_ = (
            None if mask is None else mask_of(mask, chosen, maps.images, name)
            for name, mask in (("inpaint_mask", inpaint_mask), ("reference_mask", reference_mask))
        )
        object_ = kept_reference_mask(maps, reference_index) if object_ is None else object_
        named, choice = pins_of(pins), Choice(branch, reference_index, chosen)
        shown = (one_of(run_pictures(maps, image), chosen, maps.images), reference_pictures(maps, given, chosen))
        known = known_references(maps, given)
        found = explore(maps, *shown, named, choice, inpaint_mask=inside, reference_mask=object_, known=known, second=second)
        file = temporary(explorer_file(maps, *shown, choice, object_, second), ".i2am")
        marked = image_of([found.marked])
        return io.NodeOutput(
            marked,
            found.heats,
            [image_of([picture]) for picture in found.pictures],
            found.region[None],
            found.reference_region[None],
            json.dumps(found.points),
            *found.at,
            found.table,
            pins_text(named),
            found.answer,
            ui={**preview(marked).as_dict(), "i2am_viewer": [file]},
        )
