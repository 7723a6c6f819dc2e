"""From a try-on's pictures to what a sampler needs: channels in the family's order, tokens, and their layout beside them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ..errors import I2AMError
from ..geometry.layout import Layout
from ..geometry.masks import has_two_sides
from ..geometry.resample import Size
from ..geometry.shapes import check_shape
from ..maps.facts import REFERENCE_MASK
from .carried import Carried, Conditioning, carried_by, carry
from .family import KEEP_MASK, LATENT_CHANNELS, MASKS, Family, Pictures
from .pictures import as_many, channels_first, mask_to_size, one_channel, thumbnail, to_size
from .resizing import by_area

log = logging.getLogger("i2am")

GREY = 0.5
"""What the agnostic picture shows where the garment was."""
MASK_SIDE = 512
"""The most pixels along a side of the object's mask that is kept with a recording."""
PICTURE_MASKS = ("inpaint_mask", "hands_mask")
"""The pictures of the person that are masks."""

Encode = Callable[[Tensor], Tensor]
"""Pictures (B, H, W, 3) in 0-1 to the VAE's latents (B, 4, h, w), unscaled."""


class Encoder(Protocol):
    """A reference encoder, with the family that it belongs to.

    Attributes:
        family: what its model needs beside the reference's tokens.
        size: (H, W) of the generated picture in pixels.
        reference_size: (H, W) of the reference picture that `encode` takes, in pixels.
    """

    family: Family
    size: Size
    reference_size: Size

    def encode(self, reference: Tensor) -> Tensor:
        """Reference pictures (B, 3, H, W) in 0-1 to tokens (B, S, C)."""

    def null(self, batch: int) -> Tensor:
        """Tokens that stand for "no reference", (batch, S, C)."""

    def layout(self) -> Layout:
        """What the tokens are."""

    def layers(self) -> dict[str, Layout]:
        """What the keys are in layers that attend to something other than these tokens, by layer name."""


@dataclass(frozen=True)
class Ready:
    """What a sampler needs: both conditionings, and the latent to start from (B, 4, h, w), as the VAE gives it."""

    positive: Conditioning
    negative: Conditioning
    latent: Tensor


def assemble(
    encoder: Encoder,
    encode: Encode,
    reference: Tensor,
    pictures: Mapping[str, Tensor | None],
    reference_mask: Tensor | None = None,
) -> Ready:
    """Conditioning for a family's U-Net, in its own order of channels, and the latent that its sampler starts from.

    Args:
        encoder: the reference encoder.
        encode: the VAE's.
        reference: (B, H, W, 3) reference pictures.
        pictures: "agnostic" or "person" (B, H, W, 3) and what `Family.needs` and `Family.takes` name; "inpaint_mask"
            (B, H, W) with 1 = repaint, "hands_mask" (B, H, W) with 1 = hands and arms, both in 0-1. "agnostic" may be left
            out where "person" and "inpaint_mask" are given.
        reference_mask: (B, H, W) in 0-1, 1 = the object; some encoders see the reference cut to it.

    Raises:
        I2AMError: a picture is missing, their numbers or shapes do not fit, or the latents are another model's.
        MaskError: a mask is none, or holds values outside of 0-1.
    """
    family = encoder.family
    unused = {"hands_mask"} - set(family.takes)
    given = {
        name: one_channel(picture, name)[:, 0] if name in PICTURE_MASKS else picture
        for name, picture in pictures.items()
        if picture is not None and name not in unused
    }
    _check_given(family, given)
    count = max(len(picture) for picture in (reference, *given.values()))
    fitted = _fitted(encoder, given, reference, count)
    shown = to_size(reference, encoder.reference_size)
    tokens = as_many(encoder.encode(_seen(encoder, reference, reference_mask)), count, "reference")
    known, start = _latents(encoder, encode, fitted, count)
    layout = _on_picture(encoder.layout(), _size(reference))
    if layout.key_count != tokens.shape[1]:
        raise I2AMError(f"the {family.name} encoder gave {tokens.shape[1]} tokens where its layout says {layout.key_count}")
    layers = {name: _on_picture(lying, _size(reference)) for name, lying in encoder.layers().items()}
    kept = {"reference": thumbnail(shown[0]), **_kept_mask(reference_mask)}
    mask = _inpaint_mask(fitted)
    one = Carried(layout, encoder.size, thumbnails=kept, layers=layers, inpaint_mask=mask)
    none = Carried(layout, encoder.size, null=True, layers=layers, inpaint_mask=mask)
    return Ready(
        carry([[tokens, {"noise_concat": known}]], one),
        carry([[encoder.null(count).to(tokens), {"noise_concat": known}]], none),
        start,
    )


def joined(parts: Sequence[Ready]) -> Ready:
    """What several images need, of one family, as one batch in their order.

    Raises:
        I2AMError: their tokens do not lie alike.
    """
    if len(parts) == 1:
        return parts[0]
    halves = []
    for half in ("positive", "negative"):
        tokens, options = zip(*(getattr(part, half)[0] for part in parts), strict=True)
        first, *others = (carried_by(option) for option in options)
        assert first is not None
        if any(other is None or (other.layout, other.layers) != (first.layout, first.layers) for other in others):
            raise I2AMError("the references of one batch must be pictures of one size; give them one by one")
        known = torch.cat([option["noise_concat"] for option in options])
        masks = [one.inpaint_mask for one in (first, *others) if one is not None and one.inpaint_mask is not None]
        thumbnails = {name: picture for name, picture in (first.thumbnails or {}).items() if name != REFERENCE_MASK}
        whole = replace(first, thumbnails=thumbnails, inpaint_mask=torch.cat(masks) if len(masks) == len(parts) else None)
        halves.append(carry([[torch.cat(tokens), {"noise_concat": known}]], whole))
    return Ready(halves[0], halves[1], torch.cat([part.latent for part in parts]))


def _inpaint_mask(fitted: Mapping[str, Tensor]) -> Tensor | None:
    """(count, H, W) at the model's size; None where there is none, or one that covers everything or nothing."""
    mask = fitted.get("inpaint_mask")
    return None if mask is None or not has_two_sides(mask[:, 0]) else mask[:, 0].detach().cpu().float().clone()


def _kept_mask(reference_mask: Tensor | None) -> dict[str, Tensor]:
    """The object's mask as a small picture under its name; nothing without one, or where images have masks of their own."""
    if reference_mask is None:
        return {}
    mask = one_channel(reference_mask, "reference_mask").detach().cpu()
    if not torch.equal(mask, mask[:1].expand_as(mask)) or not bool((mask > 0.5).any()):
        return {}
    height, width = mask.shape[-2:]
    part = min(1.0, MASK_SIDE / max(height, width))
    small = mask[:1] if part == 1 else by_area(mask[:1], (max(1, round(height * part)), max(1, round(width * part))))
    return {REFERENCE_MASK: thumbnail(small[0].expand(3, -1, -1))}


def _check_given(family: Family, given: Mapping[str, Tensor]) -> None:
    """Refuse pictures of which one is missing, or that are not of the person's shape."""
    missing = [name for name in family.needs if name not in given]
    if "agnostic" not in given and not {"person", "inpaint_mask"} <= set(given):
        missing.append("agnostic (or person with inpaint_mask)")
    if missing:
        raise I2AMError(f"the {family.name} model also needs {' and '.join(missing)}; connect it")
    shown_on = given["person" if "person" in given else "agnostic"]
    for name, picture in given.items():
        if name not in PICTURE_MASKS and picture.ndim != 4:
            raise I2AMError(f"the {name} has the shape {tuple(picture.shape)}, expected (B, H, W, 3)")
        check_shape(name, _size(picture), _size(shown_on), "picture of the person")


def _seen(encoder: Encoder, reference: Tensor, masks: Tensor | None) -> Tensor:
    """What the encoder sees of the reference pictures, (B, 3, h, w)."""
    family, pictures = encoder.family, channels_first(reference)
    cut_to = None
    if family.crops_reference:
        if masks is None:
            log.warning(
                "%s's authors cut the reference to its mask for the encoder; without reference_mask it sees the whole picture",
                family.title,
            )
        else:
            cut_to = as_many(one_channel(masks, "reference_mask"), len(pictures), "reference_mask")
    return family.see(pictures, cut_to, encoder.size, encoder.reference_size)


def _fitted(encoder: Encoder, given: Mapping[str, Tensor], reference: Tensor, count: int) -> dict[str, Tensor]:
    """All pictures (count, 3, H, W) at the model's size, those that are made of others too, and masks (count, 1, H, W)."""
    family = encoder.family
    fitted = {}
    for name, picture in given.items():
        if name in PICTURE_MASKS:
            resized = mask_to_size(picture, encoder.size, family.resize_mask)
        else:
            resized = to_size(picture, encoder.size, family.resize)
        fitted[name] = as_many(resized, count, name)
    if "agnostic" not in fitted:
        hole = fitted["inpaint_mask"] * (1 - fitted.get("hands_mask", torch.zeros(())))
        fitted["agnostic"] = fitted["person"] * (1 - hole) + GREY * hole
    fitted["reference"] = as_many(to_size(reference, encoder.size, family.resize), count, "reference")
    return fitted | {name: compose(fitted) for name, compose in family.composed.items()}


def _latents(encoder: Encoder, encode: Encode, pictures: Pictures, count: int) -> tuple[Tensor, Tensor]:
    """What stands behind the noisy latents, (count, C, h, w) scaled, and what the sampler starts from, unscaled."""
    family = encoder.family
    shape = (LATENT_CHANNELS, *family.latent_size(encoder.size))
    taken = (*family.known, *([] if family.start is None else [family.start]))
    latents = {}
    for name in dict.fromkeys(taken):
        if name in MASKS:
            continue
        made = encode(pictures[name].contiguous().movedim(1, -1))
        if tuple(made.shape[1:]) != shape:
            raise I2AMError(
                f"the VAE makes latents of shape {tuple(made.shape[1:])} where the {family.name} model needs {shape}; "
                f"connect the VAE that belongs to this model"
            )
        latents[name] = made * family.scale
    like = next(iter(latents.values()))
    known = [_mask(name, pictures, like) if name in MASKS else latents[name] for name in family.known]
    start = torch.zeros(count, *shape) if family.start is None else latents[family.start] / family.scale
    return torch.cat(known, 1), start


def _mask(name: str, pictures: Pictures, latents: Tensor) -> Tensor:
    """A mask's channel (B, 1, h, w) as the originals bring it to the latents' size: bilinear and unrounded.

    It is torchvision's resizing of tensors: without antialias in all of their versions, with it from 0.17 on.
    """
    mask = pictures["inpaint_mask"]
    turned = 1 - mask if name == KEEP_MASK else mask
    return torch.nn.functional.interpolate(turned, latents.shape[-2:], mode="bilinear").to(latents)


def _on_picture(layout: Layout, size: Size) -> Layout:
    """The layout with its references on a picture of ``size``, unless they already name theirs."""
    lying = (r if r.grid.picture else replace(r, grid=replace(r.grid, picture=size)) for r in layout.references)
    return replace(layout, references=tuple(lying))


def _size(picture: Tensor) -> Size:
    """(H, W) of pictures (B, H, W, C) or masks (B, H, W)."""
    height, width = picture.shape[1:3]
    return int(height), int(width)
