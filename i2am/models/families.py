"""A try-on family's pictures to conditioning: which are needed, at what size, in which channel order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ..errors import I2AMError
from ..geometry.layout import Layout
from ..geometry.resample import Size
from ..geometry.shapes import check_shape
from .carried import Carried, Conditioning, carry
from .pictures import as_many, mask_to_size, thumbnail, to_size, to_size_cropped

CHANNELS = 4
"""Of a latent."""
GREY = 0.5
"""What the agnostic picture shows where the garment was."""


Pictures = Mapping[str, Tensor]
"""Pictures (B, 3, H, W) in 0-1, "reference" among them, and "inpaint_mask" (B, 1, H, W), 1 = repaint, by name."""
Encode = Callable[[Tensor], Tensor]
"""Pictures (B, 3, H, W) in 0-1 to scaled latents (B, 4, h, w)."""


@dataclass(frozen=True)
class Kind:
    """What a U-Net takes beside the noisy latents, and where its sampler starts.

    Attributes:
        pictures: what must be given beside the reference and the person without the garment.
        known: the channels that stand behind the noisy ones, (B, C, h, w).
        start: latents to start from, (B, 4, h, w); None: empty ones.
        cfg: the authors' scale of classifier-free guidance; 1 is without.
        steps: the authors' number of sampler steps.
        cropped: whether the reference encoder sees the reference cut to its mask, where there is one.
    """

    pictures: tuple[str, ...]
    known: Callable[[Pictures, Encode], Tensor]
    start: Callable[[Pictures, Encode], Tensor] | None = None
    cfg: float = 5.0
    steps: int = 50
    cropped: bool = False


def _beside_densepose(pictures: Pictures, encode: Encode) -> Tensor:
    """The custom model: agnostic and densepose latents."""
    return torch.cat([encode(pictures["agnostic"]), encode(pictures["densepose"])], 1)


def _keep(pictures: Pictures, latents: Tensor) -> Tensor:
    """The mask turned round, 1 = keep, as the originals bring it to the latents' size: bilinear and unrounded."""
    return torch.nn.functional.interpolate(1 - pictures["inpaint_mask"], latents.shape[-2:], mode="bilinear").to(latents)


def _with_mask(pictures: Pictures, encode: Encode) -> Tensor:
    """Paint-by-Example: latents of the picture with a grey hole, and the mask of what to keep."""
    latents = encode(pictures["agnostic"])
    return torch.cat([latents, _keep(pictures, latents)], 1)


def _pasted(pictures: Pictures) -> Tensor:
    """DCI-VTON: the warped garment in the hole."""
    return pictures["agnostic"] * (1 - pictures["inpaint_mask"]) + pictures["warped"] * pictures["inpaint_mask"]


def _with_warped(pictures: Pictures, encode: Encode) -> Tensor:
    latents = encode(_pasted(pictures))
    return torch.cat([latents, _keep(pictures, latents)], 1)


def _beside_garment(pictures: Pictures, encode: Encode) -> Tensor:
    """StableVITON: agnostic latents, mask and densepose latents; behind them the garment's, which its own encoder takes."""
    latents = encode(pictures["agnostic"])
    return torch.cat([latents, _keep(pictures, latents), encode(pictures["densepose"]), encode(pictures["reference"])], 1)


KINDS = {
    "demo": Kind(("densepose",), _beside_densepose),
    "custom": Kind(("densepose",), _beside_densepose),
    "paint-by-example": Kind(("inpaint_mask",), _with_mask),
    "dci-vton": Kind(
        ("inpaint_mask", "warped"),
        _with_warped,
        lambda pictures, encode: encode(_pasted(pictures)),
        cfg=1.0,
        steps=100,
        cropped=True,
    ),
    "stableviton": Kind(
        ("person", "inpaint_mask", "densepose"),
        _beside_garment,
        lambda pictures, encode: encode(pictures["person"]),
        cfg=1.0,
    ),
}
"""By the name of a family."""


class Family(Protocol):
    """A reference encoder and what its model needs beside the reference.

    ``scale`` is what the model's latents are multiplied by after the VAE: 0.18215 for those of Stable Diffusion 1.
    """

    name: str
    size: Size
    reference_size: Size
    factor: int
    scale: float

    def encode(self, reference: Tensor) -> Tensor:
        """Reference pictures (B, 3, H, W) in 0-1 to tokens (B, S, C)."""

    def null(self, batch: int) -> Tensor:
        """Tokens that stand for "no reference", (batch, S, C)."""

    def layout(self) -> Layout:
        """What the tokens are."""

    def layers(self) -> dict[str, Layout]:
        """What the keys are in layers that attend to something else than these tokens, by layer name."""


@dataclass(frozen=True)
class Ready:
    """What a sampler needs: both conditionings, and the latent to start from (B, 4, h, w), as the VAE gives it."""

    positive: Conditioning
    negative: Conditioning
    latent: Tensor


def assemble(
    family: Family,
    encode: Callable[[Tensor], Tensor],
    reference: Tensor,
    pictures: Mapping[str, Tensor | None],
    reference_mask: Tensor | None = None,
) -> Ready:
    """Conditioning for a family's U-Net, in its own order of channels, and the latent that its sampler starts from.

    Args:
        family: the reference encoder.
        encode: pictures (B, H, W, 3) in 0-1 to the VAE's latents (B, 4, h, w).
        reference: (B, H, W, 3) reference pictures.
        pictures: "agnostic" or "person" (B, H, W, 3) and what the family's `Kind` names, "inpaint_mask" (B, H, W) with
            1 = repaint. "agnostic" may be left out where "person" and "inpaint_mask" are given.
        reference_mask: (B, H, W) in 0-1, 1 = the object; DCI-VTON's encoder sees the reference cut to it.

    Raises:
        I2AMError: a picture is missing, their numbers or shapes do not fit, or the latents are another model's.
    """
    given = {name: picture for name, picture in pictures.items() if picture is not None}
    kind = KINDS[family.name]
    missing = [name for name in kind.pictures if name not in given]
    if "agnostic" not in given and not {"person", "inpaint_mask"} <= set(given):
        missing.append("agnostic (or person with inpaint_mask)")
    if missing:
        raise I2AMError(f"the {family.name} model also needs {' and '.join(missing)}; connect it")
    shown_on = given["agnostic" if "agnostic" in given else "person"]
    for name in {"densepose", "warped", "inpaint_mask"} & set(given):
        check_shape(name, _size(given[name]), _size(shown_on), "picture of the person")
    count = max(len(picture) for picture in (reference, *given.values()))
    fitted = {
        name: as_many((mask_to_size if name == "inpaint_mask" else to_size)(picture, family.size), count, name)
        for name, picture in given.items()
    }
    if "agnostic" not in fitted:
        mask = fitted["inpaint_mask"]
        fitted["agnostic"] = fitted["person"] * (1 - mask) + GREY * mask
    fitted["reference"] = as_many(to_size(reference, family.size), count, "reference")
    shown = to_size(reference, family.reference_size)
    seen = shown
    if kind.cropped and reference_mask is not None:
        seen = to_size_cropped(reference, reference_mask, family.reference_size)
    tokens = as_many(family.encode(seen), count, "reference")
    expected = (CHANNELS, *(side // family.factor for side in family.size))

    def scaled(picture: Tensor) -> Tensor:
        latents = encode(picture.movedim(1, -1))
        if tuple(latents.shape[1:]) != expected:
            raise I2AMError(
                f"the VAE makes latents of shape {tuple(latents.shape[1:])} where the {family.name} model needs {expected}; "
                f"connect the VAE that belongs to this model"
            )
        return latents * family.scale

    known = kind.known(fitted, scaled)
    start = torch.zeros(count, *expected) if kind.start is None else kind.start(fitted, scaled) / family.scale
    options = {"noise_concat": known}
    layout = _on_picture(family.layout(), _size(reference))
    if layout.key_count != tokens.shape[1]:
        raise I2AMError(f"the {family.name} encoder gave {tokens.shape[1]} tokens where its layout says {layout.key_count}")
    layers = {name: _on_picture(lying, _size(reference)) for name, lying in family.layers().items()}
    one = Carried(layout, family.size, thumbnails={"reference": thumbnail(shown[0])}, layers=layers)
    none = Carried(layout, family.size, null=True, layers=layers)
    return Ready(
        carry([[tokens, dict(options)]], one),
        carry([[family.null(count).to(tokens), dict(options)]], none),
        start,
    )


def _on_picture(layout: Layout, size: Size) -> Layout:
    """The layout with its references on a picture of this size, where they do not know theirs."""
    lying = (r if r.grid.picture else replace(r, grid=replace(r.grid, picture=size)) for r in layout.references)
    return replace(layout, references=tuple(lying))


def _size(picture: Tensor) -> Size:
    """(H, W) of pictures (B, H, W, C) or masks (B, H, W) or (H, W)."""
    height, width = picture.shape[1:3] if picture.ndim > 2 else picture.shape
    return int(height), int(width)
