"""The bundled edit model and its pictures: try-on from two references without a mask, as FLUX and Qwen-Image-Edit do it."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..i2am.drawn.edit_case import EditCase
from ..i2am.drawn.spec import COLOUR_NAMES, GLYPHS, PATTERNS
from ..i2am.drawn.truth_picture import truth_picture
from ..i2am.hosts.comfy.loaders.edit import load_edit_model
from ..i2am.models.edit.family import CHANNELS, LATENT
from ..i2am.pictures.true_which import true_which
from .base import field, pictures, schema
from .base import image as image_of
from .demo import DRAWN

FIXED: Any = getattr(getattr(io, "ControlAfterGenerate", None), "fixed", True)
"""A seed that stays as it is; an older host's interface begins with 'randomize' whatever a node says."""


class DemoEditModel(io.ComfyNode):
    """Loads the demo edit model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_DemoEditModel",
            display_name="I²AM Demo Edit Model",
            description="The small edit model that comes with the pack: FLUX in 5 MB. From the picture of a person and that of "
            "a garment it makes the person in that garment, without a mask, on any CPU.",
            search_aliases=["edit demo", "try-on demo", "FLUX", "Kontext", "two references", "example model"],
            inputs=[],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="FLUX's class; sample with euler, simple, 25 steps and cfg 1."),
                io.Vae.Output(display_name="VAE", tooltip="Factor 4: 128 x 96 pixels are 32 x 24 latents."),
                io.Conditioning.Output(
                    display_name="positive",
                    tooltip="The model's learned text, still without references: add ReferenceLatent twice, the person first.",
                ),
                io.Conditioning.Output(
                    display_name="negative", tooltip="The same text for cfg above 1: leave it without references."
                ),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        model, vae, tokens = load_edit_model()
        return io.NodeOutput(model, vae, tokens, [[context, dict(options)] for context, options in tokens])


class DemoEditPair(io.ComfyNode):
    """Draws a person and a garment to put on."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_DemoEditPair",
            display_name="I²AM Demo Edit Pair",
            description="Draws a person and a garment, what should come out, and for each of its pixels which of the two shows "
            "it and where. None of them was ever trained on.",
            search_aliases=["try-on example", "garment", "two references", "ground truth", "test picture"],
            inputs=[
                field(
                    io.Int,
                    "seed",
                    default=7,
                    min=0,
                    max=2_000_000,
                    control_after_generate=FIXED,
                    tooltip="Which person and garment, such as 7.",
                ),
                field(
                    io.Combo,
                    "pattern",
                    options=[DRAWN, *PATTERNS],
                    tooltip="Pattern of the new garment, such as stripes.",
                ),
                field(
                    io.Combo,
                    "colour",
                    options=[DRAWN, *COLOUR_NAMES],
                    tooltip="Base colour of the new garment, such as teal.",
                ),
                field(
                    io.Combo,
                    "letter",
                    options=[DRAWN, *GLYPHS],
                    tooltip="First letter printed on the new garment, such as S.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="person", tooltip="Reference 1: the person in their own clothes, 128 x 96."),
                io.Image.Output(display_name="garment", tooltip="Reference 2: the garment to put on, 160 x 112."),
                io.Latent.Output(display_name="LATENT", tooltip="Empty, for a picture of 128 x 96; sample with denoise 1."),
                io.Image.Output(display_name="answer", tooltip="The person drawn in the new garment; the model never sees it."),
                io.Image.Output(
                    display_name="which_reference",
                    tooltip="The truth: orange comes from the person, blue from the garment, grey from neither.",
                ),
                io.Image.Output(
                    display_name="correspondence", tooltip="The truth: the same colour is the same place of the garment."
                ),
                io.Mask.Output(display_name="garment_region", tooltip="On the answer, 1 = the new garment."),
                io.Mask.Output(display_name="garment_mask", tooltip="On the garment's picture, 1 = garment."),
            ],
        )

    @classmethod
    def execute(cls, seed: int, pattern: str, colour: str, letter: str) -> io.NodeOutput:
        case = EditCase.draw(seed, *("" if choice == DRAWN else choice for choice in (pattern, colour, letter)))
        edits = case.edits
        shown = [edits.person, edits.garment, edits.worn, truth_picture(case.worn)]
        person, garment, answer, places = (torch.movedim(picture, 1, -1).contiguous() for picture in shown)  # BCHW -> BHWC
        which = image_of([true_which(picture, edits) for picture in pictures(answer)])
        latent = {"samples": torch.zeros(1, CHANNELS, *LATENT)}
        masks = edits.from_garment[:, 0], case.worn.reference_mask[:, 0]
        return io.NodeOutput(person, garment, latent, answer, which, places, *masks)
