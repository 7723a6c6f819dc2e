"""Z-Image with references in diffusers: [texts, references, generated, vision tokens], each piece of which is filled up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ....errors import LayoutError
from ....geometry.sequence import Sequence, Span, generated, other, text
from .family import Grid, Said, picture_grid, reference_spans

FILL = 32
"""A multiple of how many tokens each text, picture and vision encoder's view is filled up to; a missing one has as many."""
LOOKING = (
    "before its main blocks, this network lets the generated picture and all references look at each other without the text, "
    "so that what is a reference's may arrive that way, or by way of another's; maps and cuts are of the main blocks alone"
)


class ZImage:
    """`ZImageTransformer2DModel`, where it is given lists of pictures, as `ZImageOmniPipeline` does.

    Its pipeline evaluates both branches of guidance in one call, cond's rows first; each row is filled up to the longest.
    """

    takes: ClassVar[str] = "Z-Image with references"
    network: ClassVar[str] = "ZImageTransformer2DModel"
    blocks: ClassVar[tuple[str, ...]] = ("layers",)
    patch: ClassVar[int] = 2
    factor: ClassVar[int] = 8

    def read(self, given: Mapping[str, Any], pixels: int | None) -> Said:
        """See `Family`."""
        pictures = [item if isinstance(item, list) else [item] for item in given["x"]]
        _check(given, pictures)
        own = torch.stack([row[-1] for row in pictures])
        time, grid = given["t"], _grid(own[0])
        now = 1 - float(time.flatten()[0] if isinstance(time, Tensor) else time)  # it counts up to 1, where nothing is noise
        references = [picture for picture in pictures[0][:-1] if picture is not None]
        if not references:
            return Said(None, own, grid, time=now)
        parts = [_parts(given, i, row, pixels) for i, row in enumerate(pictures)]
        keys = max(part.keys for part in parts)
        rows = tuple(Sequence(part.spans, keys) for part in parts)
        seen = torch.cat([reference.flatten() for reference in references])
        return Said(rows[0], own, grid, seen, (LOOKING,), rows, now)


def _check(given: Mapping[str, Any], pictures: list[list[Tensor | None]]) -> None:
    """Refuse what is no generated picture behind references, or another one in each row."""
    if given.get("patch_size", ZImage.patch) != ZImage.patch or given.get("f_patch_size", 1) != 1:
        raise LayoutError(f"this model is called with another patch_size than {ZImage.patch}, which is not recorded")
    shapes = {None if row[-1] is None else tuple(row[-1].shape) for row in pictures}
    if len(shapes) > 1 or None in shapes or {len(shape or ()) for shape in shapes} != {4}:
        raise LayoutError(f"the last pictures of x are {shapes}, expected latents (channels, 1, rows, columns) of one size")
    frames = {picture.shape[1] for row in pictures for picture in row if picture is not None}
    if frames != {1}:
        raise LayoutError(f"the pictures of x have {frames} frames, expected 1 each: no video")
    if len({any(picture is not None for picture in row[:-1]) for row in pictures}) > 1:
        raise LayoutError("some rows of x have references, and others none; call the model once for each kind")
    told = given.get("image_noise_mask") or [[*[0] * (len(row) - 1), 1] for row in pictures]
    for row, noisy in zip(pictures, told, strict=True):
        if list(noisy) != [*[0] * (len(row) - 1), 1]:
            raise LayoutError(
                f"image_noise_mask is {noisy} for {len(row)} pictures, expected 0 for each reference and 1 for the last, the "
                f"generated one"
            )


def _grid(latent: Tensor) -> Grid:
    return latent.shape[-2] // ZImage.patch, latent.shape[-1] // ZImage.patch


def _parts(given: Mapping[str, Any], row: int, pictures: list[Tensor | None], pixels: int | None) -> Sequence:
    """The sequence of one row: the texts before, between and behind the pictures, these, and what a vision encoder sees."""
    pieces: list[Span | None] = [text(len(words)) for words in given["cap_feats"][row]]
    shown = iter(reference_spans((_grid(p) for p in pictures[:-1] if p is not None), pixels))
    pieces += [None if picture is None else next(shown) for picture in pictures[:-1]]
    assert pictures[-1] is not None
    pieces.append(generated(picture_grid(_grid(pictures[-1]), None)))
    views = given.get("siglip_feats") or [None]
    if views[0] is not None and getattr(given["self"], "siglip_embedder", None) is not None:
        pieces += [None if view is None else other(view.shape[0] * view.shape[1], "vision tokens") for view in views[row]]
    spans: list[Span] = []
    for piece in pieces:
        fill = FILL if piece is None else -piece.grid.tokens % FILL
        spans += [*([] if piece is None else [piece]), *([other(fill)] if fill else [])]
    placed = Sequence.of(*spans)
    return Sequence(tuple(span for span in placed.spans if span.grid.tokens), placed.keys)
