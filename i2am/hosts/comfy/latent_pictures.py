"""Pictures of references, drawn from their latents in the colours of the host's own latent previews."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...geometry.parts import Parts
from ...models.pictures import thumbnail

NAME = "reference"
"""Of the first picture; further ones are "reference 2", "reference 3" and so on."""
DRAWN = "drawn from the reference latents, in the host's preview colours"


def origin(pictures: int, given: int) -> dict[str, str]:
    """What a recording says of its pictures, of which some were ``given`` with the conditioning, and the others drawn."""
    said = "" if pictures <= given else f"the one given to I²AM Mark Redux, or {DRAWN}" if given else DRAWN
    return {"reference_pictures": said} if said else {}


def named(shown: Sequence[Tensor | None]) -> dict[str, Tensor]:
    """The pictures of references by the names under which a recording keeps them; None: that one has none."""
    names = (NAME if i == 1 else f"{NAME} {i}" for i in range(1, len(shown) + 1))
    return {name: picture for name, picture in zip(names, shown) if picture is not None}


def drawn(model: Any, latents: Sequence[Tensor], parts: Parts = ()) -> list[Tensor]:
    """Pictures of the references of a run, (H, W, 3) uint8, a pixel or more for each cell of the latents.

    Args:
        model: the host's model, whose latent format knows the colours; without colours there are no pictures.
        latents: (B, C, h, w) or (B, C, frames, h, w) as the network takes them; the first of each is drawn.
        parts: for each latent, the rectangles of the pictures that are stitched into it; each gives a picture.
    """
    rects = (*parts, *[()] * len(latents))
    found = []
    for latent, own in zip(latents, rects):
        whole = preview(model.latent_format, latent)
        if whole is not None:
            found += [
                whole[:, _between(top, bottom, 1, whole), _between(left, right, 2, whole)]
                for left, top, right, bottom in own or [(0, 0, 1, 1)]
            ]
    return [thumbnail(picture) for picture in found]


def preview(form: Any, latent: Tensor) -> Tensor | None:
    """A latent's first picture as the host's previews show it, (3, H, W) in 0-1; None: its format has no colours."""
    factors = form.latent_rgb_factors
    if factors is None:
        return None
    latent = latent[:1].detach().float().cpu()
    reshape = getattr(form, "latent_rgb_factors_reshape", None)
    cells = (latent if reshape is None else reshape(latent))[0]
    cells = cells[:, 0] if cells.ndim == 4 else cells  # C, frames, h, w
    bias = form.latent_rgb_factors_bias
    colours = torch.nn.functional.linear(
        cells.movedim(0, -1), torch.tensor(factors).T, None if bias is None else torch.tensor(bias)
    )
    return ((colours + 1) / 2).clamp(0, 1).movedim(-1, 0)


def _between(first: float, last: float, axis: int, picture: Tensor) -> slice:
    """The pixels between two fractions of a picture, at least one."""
    size = picture.shape[axis]
    start = min(round(first * size), size - 1)
    return slice(start, max(round(last * size), start + 1))
