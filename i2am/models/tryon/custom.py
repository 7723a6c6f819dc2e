"""The paper's custom try-on model (Park and Jang): attends to every patch of the garment, and takes no mask."""

from __future__ import annotations

from ..family import Family, see_whole
from ..resizing import by_area, smooth

CUSTOM = Family(
    name="custom",
    title="the custom model",
    channels=12,
    inputs=("agnostic", "densepose"),
    size=(512, 384),
    needs=("densepose",),
    single_token=False,
    # nothing is published: as the training here reads them
    resize=smooth,
    resize_mask=by_area,
    see=see_whole,
)
