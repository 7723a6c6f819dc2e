"""Redux: which tokens of a conditioning are those of its picture."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..i2am.errors import I2AMError
from ..i2am.models.redux import mark_style, style_of
from .base import field, pictures, schema

CROPS = ("center", "none")


class MarkRedux(io.ComfyNode):
    """Writes the places of a style model's tokens beside a conditioning."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_MarkRedux",
            display_name="I²AM Mark Redux",
            description="Put it behind Apply Style Model (FLUX.1 Redux), with the same style_model and clip_vision_output: it "
            "finds the picture's tokens in the conditioning, so that I²AM Record knows them. The picture stays the same.",
            search_aliases=["redux", "style model", "flux redux", "image prompt"],
            inputs=[
                field(io.Conditioning, "conditioning", tooltip="From Apply Style Model; of several, from the last one."),
                field(io.StyleModel, "style_model", tooltip="That of Apply Style Model."),
                field(io.ClipVisionOutput, "clip_vision_output", tooltip="That of Apply Style Model."),
                field(
                    io.Image,
                    "image",
                    optional=True,
                    tooltip="The picture that CLIP Vision Encode got: maps then lie on it in their right place.",
                ),
                field(
                    io.Combo,
                    "crop",
                    options=list(CROPS),
                    default=CROPS[0],
                    optional=True,
                    tooltip="As on CLIP Vision Encode.",
                ),
            ],
            outputs=[io.Conditioning.Output(display_name="CONDITIONING", tooltip="For the sampler, or what comes before it.")],
        )

    @classmethod
    def execute(
        cls,
        conditioning: Any,
        style_model: Any,
        clip_vision_output: Any,
        image: Tensor | None = None,
        crop: str = CROPS[0],
    ) -> io.NodeOutput:
        if not isinstance(conditioning, list) or not all(isinstance(each, list | tuple) for each in conditioning):
            raise I2AMError(
                f"conditioning got a {type(conditioning).__name__}, which is no CONDITIONING; connect that of Apply Style Model"
            )
        if image is not None:
            pictures(image)
        return io.NodeOutput(mark_style(conditioning, style_of(style_model, clip_vision_output), image, crop))
