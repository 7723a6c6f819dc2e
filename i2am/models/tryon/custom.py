"""The paper's custom try-on model (Park and Jang): attends to every patch of the garment, and takes no mask."""

from __future__ import annotations

from ..family import Family

CUSTOM = Family(
    name="custom",
    title="the custom model",
    channels=12,
    inputs=("agnostic", "densepose"),
    size=(512, 384),
    needs=("densepose",),
    single_token=False,
)
