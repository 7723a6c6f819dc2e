"""The paper's models from their authors' checkpoints."""

from __future__ import annotations

from comfy_api.latest import io

from ..i2am.hosts.comfy.loaders.tryon import load_tryon
from ..i2am.models.families import FAMILIES, titles
from .base import Encoder, field, schema
from .fields import AUTO
from .folders import weights_names, weights_path


class LoadTryOn(io.ComfyNode):
    """Loads a try-on or exemplar model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        channels = [str(count) for count in sorted({family.channels for family in FAMILIES.values()})]
        return schema(
            node_id="I2AM_LoadTryOn",
            display_name="I²AM Load Try-On",
            description=f"Loads {titles(FAMILIES.values(), 'or')} from its authors' checkpoint, or Paint-by-Example from a "
            "diffusers folder, with the reference encoder that the host's own loader leaves out.",
            search_aliases=["Paint by Example", "DCI-VTON", "StableVITON", "virtual try-on checkpoint", "exemplar inpainting"],
            inputs=[
                field(
                    io.Combo,
                    "checkpoint",
                    options=weights_names(),
                    tooltip="A file in models/checkpoints, such as model.ckpt of Paint-by-Example, read safely; or a folder in "
                    "models/diffusers, marked [diffusers].",
                ),
                field(
                    io.Combo,
                    "family",
                    options=[AUTO, *FAMILIES],
                    tooltip="'auto' tells it from the file's keys; DCI-VTON without its vgg keys looks like Paint-by-Example.",
                ),
            ],
            outputs=[
                io.Model.Output(
                    display_name="MODEL",
                    tooltip=f"U-Net with {', '.join(channels[:-1])} or {channels[-1]} input channels, and what runs beside it.",
                ),
                io.Vae.Output(display_name="VAE", tooltip="The checkpoint's own."),
                Encoder.Output(display_name="encoder", tooltip="For I²AM Try-On Conditioning."),
            ],
        )

    @classmethod
    def execute(cls, checkpoint: str, family: str) -> io.NodeOutput:
        return io.NodeOutput(*load_tryon(weights_path(checkpoint), family))
