"""The second run that I²AM Explorer and Report compare the first one with."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..i2am.outputs.second import SecondRun, check_together
from .base import Maps, check, field, run_pictures


def second_run() -> list[Any]:
    """Its maps and its picture: `second_of` reads them."""
    return [
        field(
            Maps,
            "maps_2",
            optional=True,
            tooltip="A second run to compare with, such as another cfg, seed, model or LoRA; of the same sizes and "
            "references. Connect image_2 too.",
        ),
        field(io.Image, "image_2", optional=True, tooltip="The second run's generated picture, from its VAE Decode."),
    ]


def second_of(maps_2: Any, image_2: Tensor | None, image: int) -> SecondRun | None:
    """One image of the second run; None where there is none."""
    check_together(maps_2, image_2)
    if maps_2 is None or image_2 is None:
        return None
    check(maps_2=maps_2)
    return SecondRun.of(maps_2, run_pictures(maps_2, image_2), image)
