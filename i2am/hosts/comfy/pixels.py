"""How large a cell of a model's latent is in the picture."""

from __future__ import annotations

from typing import Any


def pixels_per_cell(model: Any) -> int:
    """Pixels along a side of a latent's cell, for a model of the host; older hosts do not say it."""
    form = model.latent_format
    return int(getattr(form, "spacial_downscale_ratio", 16 if type(form).__name__ == "Flux2" else 8))
