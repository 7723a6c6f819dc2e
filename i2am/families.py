"""A try-on family's pictures to conditioning: which are needed, at what size, in which channel order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .batch import check_shape
from .errors import I2AMError
from .hosts.carried import Carried, Conditioning, carry
from .layout import Layout
from .pictures import as_many, mask_to_size, thumbnail, to_size
from .resample import Size

CHANNELS = 4
"""Of a latent."""
GREY = 0.5
"""What the agnostic picture shows where the garment was."""


class Family(Protocol):
    """A reference encoder and what its model needs beside the reference."""

    name: str
    size: Size
    reference_size: Size
    factor: int

    def encode(self, reference: Tensor) -> Tensor:
        """Reference pictures (B, 3, H, W) in 0-1 to tokens (B, S, C)."""

    def null(self, batch: int) -> Tensor:
        """Tokens that stand for "no reference", (batch, S, C)."""

    def layout(self) -> Layout:
        """What the tokens are."""


@dataclass(frozen=True)
class Ready:
    """What a sampler needs: both conditionings, and an empty latent (B, 4, h, w)."""

    positive: Conditioning
    negative: Conditioning
    latent: Tensor


def assemble(
    family: Family, encode: Callable[[Tensor], Tensor], reference: Tensor, pictures: Mapping[str, Tensor | None]
) -> Ready:
    """Conditioning for a family of the custom model's kind: noisy, agnostic and densepose latents, all patch tokens.

    Args:
        family: the reference encoder.
        encode: pictures (B, H, W, 3) in 0-1 to scaled latents (B, 4, h, w).
        reference: (B, H, W, 3) reference pictures.
        pictures: "agnostic" and "densepose", (B, H, W, 3); instead of "agnostic" also "person" with "inpaint_mask" (B, H, W).

    Raises:
        I2AMError: a picture is missing, their numbers or shapes do not fit, or the latents are another model's.
    """
    given = {name: picture for name, picture in pictures.items() if picture is not None}
    missing = [name for name in ("densepose",) if name not in given]
    if "agnostic" not in given and not {"person", "inpaint_mask"} <= set(given):
        missing.append("agnostic (or person with inpaint_mask)")
    if missing:
        raise I2AMError(f"the {family.name} model also needs {' and '.join(missing)}; connect it")
    shown_on = given["agnostic" if "agnostic" in given else "person"]
    for name in {"densepose", "warped", "inpaint_mask"} & set(given):
        check_shape(name, _size(given[name]), _size(shown_on), "picture of the person")
    count = max(len(picture) for picture in (reference, *given.values()))
    fitted = {
        name: as_many(to_size(picture, family.size), count, name) for name, picture in given.items() if name != "inpaint_mask"
    }
    if "agnostic" not in fitted:
        mask = as_many(mask_to_size(given["inpaint_mask"], family.size), count, "inpaint_mask")
        fitted["agnostic"] = fitted["person"] * (1 - mask) + GREY * mask
    shown = to_size(reference, family.reference_size)
    tokens = as_many(family.encode(shown), count, "reference")
    latents = [encode(fitted[name].movedim(1, -1)) for name in ("agnostic", "densepose")]
    expected = (CHANNELS, *(side // family.factor for side in family.size))
    if tuple(latents[0].shape[1:]) != expected:
        raise I2AMError(
            f"the VAE makes latents of shape {tuple(latents[0].shape[1:])} where the {family.name} model needs {expected}; "
            f"connect the VAE that belongs to this model"
        )
    known = torch.cat(latents, 1)
    options = {"noise_concat": known}
    layout = family.layout()
    if layout.key_count != tokens.shape[1]:
        raise I2AMError(f"the {family.name} encoder gave {tokens.shape[1]} tokens where its layout says {layout.key_count}")
    one = Carried(layout, family.size, thumbnails={"reference": thumbnail(shown[0])})
    none = Carried(layout, family.size, null=True)
    return Ready(
        carry([[tokens, dict(options)]], one),
        carry([[family.null(count).to(tokens), dict(options)]], none),
        torch.zeros(count, CHANNELS, *known.shape[-2:]),
    )


def _size(picture: Tensor) -> Size:
    """(H, W) of pictures (B, H, W, C) or masks (B, H, W) or (H, W)."""
    height, width = picture.shape[1:3] if picture.ndim > 2 else picture.shape
    return int(height), int(width)
