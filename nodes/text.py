"""The words of a prompt: a text encoder that says which of them its tokens stand for."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..i2am.hosts.comfy.watch_text import watch_text
from .base import field, schema


class WatchText(io.ComfyNode):
    """Lets the conditioning of a text encoder carry its words."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_WatchText",
            display_name="I²AM Watch Text",
            description="Put it between a text encoder's loader and the nodes that encode prompts: the encoding stays the same "
            "to the last bit, and carries which words its tokens stand for, so that I²AM Map can show where each was read.",
            search_aliases=["words", "prompt", "tokens", "DAAM", "CLIP", "text attention"],
            inputs=[
                field(
                    io.Clip,
                    "clip",
                    tooltip="From CLIPLoader, DualCLIPLoader or a checkpoint's loader; before or after LoRA loaders.",
                )
            ],
            outputs=[
                io.Clip.Output(
                    display_name="CLIP",
                    tooltip="For CLIP Text Encode, TextEncodeQwenImageEditPlus and others.",
                )
            ],
        )

    @classmethod
    def execute(cls, clip: Any) -> io.NodeOutput:
        return io.NodeOutput(watch_text(clip))
