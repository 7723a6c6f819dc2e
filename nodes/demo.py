"""The bundled model and its pictures: everything that the example workflows need, without a download."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..i2am.drawn.draw import DemoPairs, draw_pairs
from ..i2am.drawn.letters import letter_mask
from ..i2am.drawn.restyle import restyle
from ..i2am.drawn.scene import DemoCase
from ..i2am.drawn.spec import COLOUR_NAMES, GLYPHS, PATTERNS
from ..i2am.drawn.truth_picture import truth_picture
from ..i2am.hosts.comfy.loaders.demo import load_demo_model
from .base import Encoder, field, kept_after_run, schema

DRAWN = "as drawn"
WEARS = ("another garment", "their own garment")


class DemoModel(io.ComfyNode):
    """Loads the demo try-on model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_DemoModel",
            display_name="I²AM Demo Model",
            description="The small try-on model that comes with the pack: 12 MB, runs on any CPU, nothing to download.",
            search_aliases=["try-on demo", "virtual try-on", "example model"],
            inputs=[],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="U-Net with 12 input channels; sample with ddim and cfg 5."),
                io.Vae.Output(display_name="VAE", tooltip="Factor 4: 128 x 96 pixels are 32 x 24 latents."),
                Encoder.Output(
                    display_name="encoder", tooltip="For I²AM Try-On Conditioning: 1 + 20 x 14 tokens of a garment."
                ),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*load_demo_model())


class DemoPair(io.ComfyNode):
    """Draws a person and a garment."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_DemoPair",
            display_name="I²AM Demo Pair",
            description="Draws a person and a garment with known correspondence; no pair of them was ever trained on.",
            search_aliases=["try-on example", "garment", "test picture"],
            inputs=[
                field(
                    io.Int,
                    "seed",
                    default=7,
                    min=0,
                    max=2_000_000,
                    control_after_generate=kept_after_run(),
                    tooltip="Which pair, such as 7. Fixed, so that a change behind the sampler samples nothing again.",
                ),
                field(
                    io.Combo,
                    "garment",
                    options=list(WEARS),
                    tooltip="'another garment' is the try-on; with 'their own garment' the person picture is the right answer.",
                ),
                field(
                    io.Combo,
                    "pattern",
                    options=[DRAWN, *PATTERNS],
                    tooltip="Pattern of the reference garment, such as stripes.",
                    advanced=True,
                ),
                field(
                    io.Combo,
                    "colour",
                    options=[DRAWN, *COLOUR_NAMES],
                    tooltip="Base colour of the reference garment, such as teal.",
                    advanced=True,
                ),
                field(
                    io.Combo,
                    "letter",
                    options=[DRAWN, *GLYPHS],
                    tooltip="First letter printed on the reference garment, such as S.",
                    advanced=True,
                ),
            ],
            outputs=[
                io.Image.Output(display_name="person", tooltip="The person in their own garment, 128 x 96."),
                io.Image.Output(display_name="agnostic", tooltip="The same with the garment's area grey."),
                io.Image.Output(display_name="densepose", tooltip="Part code and u, v of the body's surface."),
                io.Image.Output(display_name="reference", tooltip="The garment to try on, 160 x 112."),
                io.Mask.Output(display_name="inpaint_mask", tooltip="1 = to repaint."),
                io.Mask.Output(display_name="reference_mask", tooltip="1 = garment."),
                io.Image.Output(
                    display_name="correspondence", tooltip="The truth: the same colour is the same place of the garment."
                ),
                io.Image.Output(
                    display_name="answer", tooltip="The person drawn in the reference garment; the model never sees it."
                ),
                io.Mask.Output(
                    display_name="letter_mask",
                    tooltip="On the reference, 1 = the box of its first letter, for region_mask of I²AM Look: did it arrive?",
                ),
            ],
        )

    @classmethod
    def execute(cls, seed: int, garment: str, pattern: str, colour: str, letter: str) -> io.NodeOutput:
        case = DemoCase.draw(seed)
        wanted = case.own_spec if garment == WEARS[1] else case.worn_spec
        pattern, colour, letter = ("" if choice == DRAWN else choice for choice in (pattern, colour, letter))
        worn: DemoPairs = draw_pairs([wanted.wearing(restyle(wanted.garment, pattern, colour, letter))])
        own = worn if garment == WEARS[1] else case.own
        shown = [own.person, own.agnostic, own.densepose, worn.reference, truth_picture(worn), worn.person]
        images = [torch.movedim(picture, 1, -1).contiguous() for picture in shown]  # BCHW -> BHWC
        masks = [own.inpaint_mask[:, 0], worn.reference_mask[:, 0]]
        letter_box = letter_mask(wanted)[None]
        return io.NodeOutput(*images[:4], *masks, *images[4:], letter_box)
