"""From pictures to what a sampler needs: conditioning with the reference's tokens, and an empty latent."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..i2am.errors import I2AMError
from ..i2am.models.conditioning import assemble
from ..i2am.models.demo.family import DEMO
from ..i2am.models.families import FAMILIES, titles
from .base import Encoder, check, field, schema


def _needing(picture: str) -> str:
    """The families that need a picture, in running text."""
    return titles(family for family in (DEMO, *FAMILIES.values()) if picture in family.needs)


def _taking(picture: str) -> str:
    """The families that can also use a picture, in running text."""
    return titles(family for family in FAMILIES.values() if picture in family.takes)


class TryOnConditioning(io.ComfyNode):
    """Prepares a try-on for KSampler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        cut = titles(family for family in FAMILIES.values() if family.crops_reference)
        return schema(
            node_id="I2AM_TryOnConditioning",
            display_name="I²AM Try-On Conditioning",
            description="Encodes the pictures of a try-on for KSampler, and writes the reference's token layout beside the "
            "conditioning, so that I²AM Record knows it.",
            search_aliases=["virtual try-on", "VTON", "exemplar inpainting", "reference image"],
            inputs=[
                field(Encoder, "encoder", tooltip="From I²AM Demo Model or Load Try-On."),
                field(io.Vae, "vae", tooltip="Of the same model."),
                field(io.Image, "reference", tooltip="The garment or object, such as a 160 x 112 garment picture."),
                field(
                    io.Image,
                    "person",
                    optional=True,
                    tooltip="With inpaint_mask it gives the agnostic picture, where none is connected.",
                ),
                field(io.Image, "agnostic", optional=True, tooltip="The person with the garment's area grey."),
                field(io.Image, "densepose", optional=True, tooltip=f"The body's part map, for {_needing('densepose')}."),
                field(
                    io.Image,
                    "warped",
                    optional=True,
                    tooltip=f"The garment already laid on the body, on grey; for {_needing('warped')}.",
                ),
                field(io.Mask, "inpaint_mask", optional=True, tooltip=f"1 = to repaint; for {_needing('inpaint_mask')}."),
                field(io.Mask, "reference_mask", optional=True, tooltip=f"1 = garment; for {cut} the reference is cut to it."),
                field(
                    io.Mask,
                    "hands_mask",
                    optional=True,
                    tooltip=f"1 = the person's hands and arms that lie over the garment; for version 1 of "
                    f"{_taking('hands_mask')}, with person.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative", tooltip="The learned tokens that stand for 'no reference'."),
                io.Latent.Output(display_name="LATENT", tooltip="Sample it with denoise 1."),
            ],
        )

    @classmethod
    def execute(
        cls,
        encoder: Any,
        vae: Any,
        reference: Tensor,
        person: Tensor | None = None,
        agnostic: Tensor | None = None,
        densepose: Tensor | None = None,
        warped: Tensor | None = None,
        inpaint_mask: Tensor | None = None,
        reference_mask: Tensor | None = None,
        hands_mask: Tensor | None = None,
    ) -> io.NodeOutput:
        check(encoder=encoder)
        if not hasattr(vae, "encode"):
            raise I2AMError(f"vae got a {type(vae).__name__}, which is no VAE; connect the VAE that belongs to the encoder")
        pictures = {
            "person": person,
            "agnostic": agnostic,
            "densepose": densepose,
            "warped": warped,
            "inpaint_mask": inpaint_mask,
            "hands_mask": hands_mask,
        }
        ready = assemble(encoder, vae.encode, reference, pictures, reference_mask)
        return io.NodeOutput(ready.positive, ready.negative, {"samples": ready.latent})
