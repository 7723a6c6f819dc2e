"""From heats to pictures: over the picture that they lie on, side by side on a sheet, or one after another in time."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..i2am.pictures.backdrop import neutral
from ..i2am.pictures.film import film
from ..i2am.pictures.look import AS_IS
from ..i2am.pictures.matching import check_pictures
from ..i2am.pictures.overlays import overlays
from ..i2am.pictures.panels import sheet_of
from .base import Heat, check, field, pictures, preview, schema
from .base import image as image_of
from .fields import look_of, looks, ticker

PICTURES = "One picture, one per image of the batch, or one per panel; of a video all its frames. The heat is resized to them."


class Overlay(io.ComfyNode):
    """A heat over its picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_Overlay",
            display_name="I²AM Overlay",
            description="Draws every panel of a heat over the picture that it lies on: R2G, mass and mirror over the generated "
            "image, G2R and SRAM over the reference image. 'which reference' becomes one picture with a colour for each.",
            search_aliases=["heat map overlay", "attention overlay", "colour map", "colormap", "blend"],
            inputs=[
                field(io.Image, "image", tooltip=PICTURES),
                field(Heat, "heat", tooltip="From I²AM Map, Patch Map or Threshold."),
                *looks(),
                field(
                    io.Boolean,
                    "colour_bar",
                    default=True,
                    tooltip="On: with the raw range beside and a caption below, enlarged to be read. Off: nothing but the heat "
                    "on the picture, at the picture's own size.",
                ),
            ],
            outputs=[io.Image.Output("image", display_name="overlay", tooltip="One picture a panel, in the panels' order.")],
        )

    @classmethod
    def execute(
        cls, image: Any, heat: Any, colours: str, opacity: float, contour: float, scale: str, colour_bar: bool
    ) -> io.NodeOutput:
        check(heat=heat)
        look = look_of(heat, colours, opacity, contour, scale)
        tick = ticker(max(len(heat.labels), len(image)))
        return io.NodeOutput(image_of(overlays(pictures(image), heat, look, colour_bar=colour_bar, tick=tick)))


class Grid(io.ComfyNode):
    """Panels or pictures on one sheet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_Grid",
            display_name="I²AM Grid",
            description="Sets the panels of a heat, or the pictures of a batch, side by side on one labelled sheet.",
            search_aliases=["contact sheet", "image grid", "compare", "labels", "panels"],
            is_output_node=True,
            inputs=[
                field(Heat, "heat", optional=True, tooltip="Its panels are drawn over the image, or over grey without one."),
                field(
                    io.Image,
                    "image",
                    optional=True,
                    tooltip=f"With a heat: what it lies on. {PICTURES} Without a heat: pictures to set side by side.",
                ),
                field(
                    io.String,
                    "labels",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="A line for each panel or picture. Empty: the heat's own labels.",
                ),
                field(io.String, "title", default="", optional=True, tooltip="Above all. Empty: what the heat shows."),
                field(io.Int, "columns", default=0, min=0, max=64, tooltip="Pictures in a row, such as 5; 0 chooses."),
                *looks(),
            ],
            outputs=[io.Image.Output("image", display_name="sheet", tooltip="One picture.")],
        )

    @classmethod
    def execute(
        cls,
        columns: int,
        colours: str,
        opacity: float,
        contour: float,
        scale: str,
        heat: Any = None,
        image: Any = None,
        labels: str = "",
        title: str = "",
    ) -> io.NodeOutput:
        if heat is not None:
            check(heat=heat)
        look = AS_IS if heat is None else look_of(heat, colours, opacity, contour, scale)
        given = None if image is None else pictures(image)
        drawn = image_of([sheet_of(heat, given, labels, title, columns, look)])
        return io.NodeOutput(drawn, ui=preview(drawn))


class Animate(io.ComfyNode):
    """The panels of a heat one after another."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_Animate",
            display_name="I²AM Animate",
            description="The panels of a heat (best TLAM: over the steps) as labelled frames of one size, for the video or GIF "
            "nodes of your choice.",
            search_aliases=["animation", "video", "gif", "TLAM", "over time", "frames"],
            inputs=[
                field(Heat, "heat", tooltip="From I²AM Map with level TLAM; HLAM and LLAM play head by head, layer by layer."),
                field(io.Image, "image", optional=True, tooltip=f"What the heat lies on; without it, grey. {PICTURES}"),
                *looks(),
            ],
            outputs=[
                io.Image.Output(
                    "image",
                    display_name="frames",
                    tooltip="Frames in time order (step 0, the noisiest, first); several images of a batch play side by side.",
                )
            ],
        )

    @classmethod
    def execute(cls, heat: Any, colours: str, opacity: float, contour: float, scale: str, image: Any = None) -> io.NodeOutput:
        check(heat=heat)
        given = [neutral(heat.size)] if image is None else pictures(image)
        check_pictures(heat, given)
        return io.NodeOutput(image_of(film(given, heat, look_of(heat, colours, opacity, contour, scale))))
