"""The first look at a run: with I²AM Record it is all that a graph needs."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..i2am.hosts.comfy.record import ComfyRecording
from ..i2am.levels.choice import Choice
from ..i2am.outputs.first_look import first_look
from ..i2am.scores.table import mean_of
from .base import Maps, Recording, check, field, pictures, preview, samples, schema
from .base import image as image_of
from .fields import branch


class Look(io.ComfyNode):
    """Both sides' maps and the scores on one sheet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_Look",
            display_name="I²AM Look",
            description="Shows where the reference image's information went, what of it was used, and the IMACS scores: "
            "connect the sampler's LATENT, the recording and the decoded picture.",
            search_aliases=["attention map", "heatmap", "attribution", "explain", "why", "DAAM", "visualize attention"],
            is_output_node=True,
            inputs=[
                field(io.Latent, "latent", tooltip="straight from the recorded sampler"),
                field(Recording, "recording", tooltip="from the I²AM Record whose MODEL the sampler used"),
                field(io.Image, "image", tooltip="the generated picture, from VAE Decode"),
                field(io.Image, "reference", optional=True, tooltip="the reference picture; empty: the recording's own"),
                field(io.Mask, "inpaint_mask", optional=True, tooltip="1 = repainted; for IMACS_g"),
                field(
                    io.Mask,
                    "reference_mask",
                    optional=True,
                    tooltip="1 = the object on the reference; for IMACS_r, and to see where it went",
                ),
                branch(),
                field(
                    io.Int,
                    "reference_index",
                    default=0,
                    min=0,
                    max=63,
                    advanced=True,
                    tooltip="which reference of the run, counted from 0; most runs have one",
                ),
            ],
            outputs=[
                io.Image.Output("sheet", tooltip="the sheet that the node shows, one per image of the batch"),
                Maps.Output("maps", tooltip="for I²AM Map, Patch Map, IMACS, Save Maps and Report"),
                io.Float.Output("imacs_g", tooltip="NaN (not a number) without inpaint_mask"),
                io.Float.Output("imacs_r", tooltip="NaN (not a number) without reference_mask"),
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
    ) -> io.NodeOutput:
        check(recording=recording)
        maps = recording.maps_of(samples(latent))
        shown = None if reference is None else pictures(reference)
        choice = Choice(branch, reference_index)
        look = first_look(maps, pictures(image), shown, inpaint_mask, reference_mask, choice)
        sheets = image_of(look.sheets)
        return io.NodeOutput(sheets, maps, mean_of(look.scores, "g"), mean_of(look.scores, "r"), ui=preview(sheets))
