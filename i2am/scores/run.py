"""IMACS of one image of a run from whatever masks there are, what could not be scored and why, and scores as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from ..errors import MaskError, UnavailableError
from ..geometry.masks import mask_of
from ..levels.heat import THRESHOLD, Heat
from ..maps.value import AttributionMaps
from .imacs import LAMBDA, Score, score_generated, score_reference


@dataclass(frozen=True)
class ImageScores:
    """What one image of a batch scored.

    Attributes:
        image: which image, from 0.
        scores: "g" and "r"; a side that could not be scored has a score of None and its reason as a note.
        heats: the map behind each side that there is one for.
        masks: (H, W), the mask that each of these was scored against.
    """

    image: int
    scores: Mapping[str, Score]
    heats: Mapping[str, Heat] = field(default_factory=dict)
    masks: Mapping[str, Tensor] = field(default_factory=dict)


def score_image(
    maps: AttributionMaps,
    inpaint_mask: Tensor | None,
    reference_mask: Tensor | None,
    *,
    image: int = 0,
    side: str = "R2G",
    placed_only: bool = False,
    preset: str = "default",
    weight: float = LAMBDA,
    level: float = THRESHOLD,
    **choice: Any,
) -> ImageScores:
    """Score one image of a run with the masks that there are.

    Args:
        maps: a recording.
        inpaint_mask: MASK (1 or images, H, W), 1 = repainted; None takes the one given at recording, if any.
        reference_mask: MASK (1 or images, H, W), 1 = the object; or None.
        image: which image of the batch.
        side: which map on the generated image.
        placed_only: that map over the reference's placed tokens only.
        preset: see `ulam`.
        weight: lambda.
        level: the threshold.
        **choice: see `ulam`.

    Raises:
        MaskError: there is no mask at all, or one does not fit the run.
        I2AMError: a mask has another shape than its recorded picture, or a number is out of range.
        UnavailableError: nothing can be scored.
    """
    common: dict[str, Any] = {"preset": preset, "weight": weight, "level": level, "image": image, **choice}
    notes: tuple[str, ...] = ()
    inside, reference = None, None
    if inpaint_mask is not None:
        inside = mask_of(inpaint_mask, image, maps.images, "inpainting mask")
    elif maps.inpaint_mask is not None:
        inside = mask_of(maps.inpaint_mask, image, maps.images, "recorded inpainting mask")
        notes = ("against the inpainting mask that was given at recording",)
    if reference_mask is not None:
        reference = mask_of(reference_mask, image, maps.images, "reference mask")
    if inside is None and reference is None:
        raise MaskError("IMACS needs a mask: connect the inpainting mask, the reference mask, or both")

    found: dict[str, tuple[Score, Heat]] = {}
    missing: dict[str, str] = {}
    if inside is None:
        missing["g"] = "no inpainting mask was given"
    else:
        _try(
            "g", lambda: score_generated(maps, inside, reference, side=side, placed_only=placed_only, **common), found, missing
        )
    if reference is None:
        missing["r"] = "no reference mask was given"
    else:
        _try("r", lambda: score_reference(maps, reference, inside, **common), found, missing)
    if not found:
        raise UnavailableError("; ".join(f"IMACS_{s}: {why}" for s, why in missing.items()))
    scores = {s: found[s][0] if s in found else Score(None, None, None, weight, notes=(missing[s],)) for s in ("g", "r")}
    if notes and "g" in found:
        scores["g"] = replace(scores["g"], notes=(*notes, *scores["g"].notes))
    masks = {s: m for s, m in (("g", inside), ("r", reference)) if m is not None and s in found}
    return ImageScores(image, scores, {s: heat for s, (_, heat) in found.items()}, masks)


def _try(side: str, score: Any, found: dict[str, tuple[Score, Heat]], missing: dict[str, str]) -> None:
    """A map that these recordings cannot give is a reason, not an end: the other side may have its score."""
    try:
        found[side] = score()
    except UnavailableError as error:
        missing[side] = str(error)
