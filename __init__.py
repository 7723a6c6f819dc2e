"""What ComfyUI loads: the extension's entry point. Importing this alone imports nothing else."""

from __future__ import annotations

from typing import Any

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> Any:
    """The extension with all nodes of the pack."""
    from .nodes.extension import I2AMExtension

    return I2AMExtension()
