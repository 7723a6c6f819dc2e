"""The first look at a run: with I²AM Record it is all that a graph needs."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..i2am.answers.regions import Region
from ..i2am.errors import I2AMError
from ..i2am.geometry.masks import mask_of
from ..i2am.hosts.comfy.record import ComfyRecording
from ..i2am.levels.choice import Choice
from ..i2am.outputs.first_look import first_look
from ..i2am.scores.table import mean_of
from .base import Maps, Recording, check, field, pictures, preview, run_pictures, samples, schema
from .base import image as image_of
from .fields import branch, further_references

SHOWN, LEFT_OUT = "shown", "left out"
SINKS = (SHOWN, LEFT_OUT)
"""What becomes of sinks."""


class Look(io.ComfyNode):
    """Both sides' maps and the scores on one sheet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_Look",
            display_name="I²AM Look",
            description="Says and shows where the reference image's information went (of several, which of them), what of it "
            "was used, and the IMACS scores: connect the sampler's LATENT, the recording and the decoded picture.",
            search_aliases=["attention map", "heatmap", "attribution", "explain", "why", "DAAM", "visualize attention"],
            is_output_node=True,
            inputs=[
                field(io.Latent, "latent", tooltip="Straight from the recorded sampler."),
                field(Recording, "recording", tooltip="From the I²AM Record whose MODEL the sampler used."),
                field(io.Image, "image", tooltip="The generated picture, from VAE Decode; of a video all its frames."),
                field(
                    io.Image, "reference", optional=True, tooltip="The first reference's picture; empty: the recording's own."
                ),
                field(
                    io.Mask,
                    "inpaint_mask",
                    optional=True,
                    tooltip="Lies on the generated picture: 1 = the area that was to change. For IMACS_g.",
                ),
                field(
                    io.Mask,
                    "reference_mask",
                    optional=True,
                    tooltip="Lies on the reference's picture: 1 = the object, such as the garment. Shows where it went; with "
                    "an inpaint_mask also for IMACS_r.",
                ),
                branch(),
                field(
                    io.Int,
                    "reference_index",
                    default=0,
                    min=0,
                    max=63,
                    advanced=True,
                    tooltip="The number of the reference to look at, counted from 0: not its picture. Most runs have one. "
                    "Where the sheet shows several, the one that reference_mask and IMACS_r are about.",
                ),
                *further_references("reference"),
                field(
                    io.Mask,
                    "region_mask",
                    optional=True,
                    tooltip="On the reference, 1 = the part that you miss, such as a logo: the answer says whether it arrived.",
                ),
                field(
                    io.String,
                    "region_name",
                    default="region",
                    optional=True,
                    advanced=True,
                    tooltip="What the answer calls the part of region_mask.",
                ),
                field(
                    io.Combo,
                    "sinks",
                    options=list(SINKS),
                    default=SHOWN,
                    optional=True,
                    advanced=True,
                    tooltip="Sinks are tokens that take much attention whatever a patch shows. left out: the shares and G2R "
                    "are drawn without them, and a note says so. In models with references and text in one sequence.",
                ),
            ],
            outputs=[
                io.Image.Output("sheet", tooltip="The sheet that the node shows, one per image of the batch."),
                Maps.Output("maps", tooltip="For I²AM Map, Patch Map, IMACS, Save Maps and Report."),
                io.Float.Output("imacs_g", tooltip="NaN (not a number) without inpaint_mask."),
                io.Float.Output("imacs_r", tooltip="NaN (not a number) unless both masks are known."),
                io.String.Output(
                    "answer", tooltip="What happened in plain words, with the figures and the thresholds behind every sentence."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        latent: dict[str, Any],
        recording: ComfyRecording,
        image: Tensor,
        branch: str,
        reference_index: int = 0,
        reference: Tensor | None = None,
        inpaint_mask: Tensor | None = None,
        reference_mask: Tensor | None = None,
        reference_2: Tensor | None = None,
        reference_3: Tensor | None = None,
        region_mask: Tensor | None = None,
        region_name: str = "region",
        sinks: str = SHOWN,
    ) -> io.NodeOutput:
        check(recording=recording)
        if sinks not in SINKS:
            raise I2AMError(f"sinks is {sinks!r}; choose one of {', '.join(SINKS)}")
        maps = recording.maps_of(samples(latent))
        first, *further = (None if one is None else pictures(one) for one in (reference, reference_2, reference_3))
        choice = Choice(branch, reference_index)
        named = region_name.strip() or "region"
        regions = [] if region_mask is None else [Region(named, mask_of(region_mask, 0, 1, "region mask"), reference_index)]
        masks = inpaint_mask, reference_mask
        without = sinks == LEFT_OUT
        look = first_look(
            maps, run_pictures(maps, image), first, *masks, choice, further=further, regions=regions, without_sinks=without
        )
        sheets = image_of(look.sheets)
        scores = (mean_of(look.scores, letter) for letter in "gr")
        return io.NodeOutput(sheets, maps, *scores, look.text, ui=preview(sheets))
