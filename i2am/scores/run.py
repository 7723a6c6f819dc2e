"""IMACS of one image of a run with whatever masks there are; what could not be scored, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from ..errors import MaskError, UnavailableError
from ..geometry.masks import MaskLike, mask_of
from ..levels.choice import EVERYTHING, Choice, check_choice
from ..levels.heat import Heat
from ..levels.kept import RECORD, inpaint_mask_from, kept_reference_mask
from ..levels.presets import THRESHOLD
from ..maps.value import AttributionMaps
from .imacs import LAMBDA, Score, map_on_generated, map_on_reference


@dataclass(frozen=True)
class ImageScores:
    """The scores of one image of a batch, by letter: "g" for IMACS_g on the generated image, "r" for IMACS_r on the reference.

    Attributes:
        image: which image, from 0.
        scores: "g" and "r"; a score that is unavailable is None, with the reason as a note.
        heats: the map behind each score that there is.
        masks: (H, W), the mask that each of these maps was scored against.
    """

    image: int
    scores: Mapping[str, Score]
    heats: Mapping[str, Heat] = field(default_factory=dict)
    masks: Mapping[str, Tensor] = field(default_factory=dict)


def score_image(
    maps: AttributionMaps,
    inpaint_mask: MaskLike | None,
    reference_mask: MaskLike | None,
    choice: Choice = EVERYTHING,
    *,
    side: str = "R2G",
    placed_only: bool = False,
    preset: str = "default",
    weight: float = LAMBDA,
    threshold: float = THRESHOLD,
) -> ImageScores:
    """Score one image of a run with whatever masks there are.

    Args:
        maps: a recording.
        inpaint_mask: MASK (1 or images, H, W), 1 = repainted; None takes the one given at recording, if any.
        reference_mask: MASK (1 or images, H, W), 1 = the object; None takes the one that the recording kept, if any.
        choice: what to take of the recording, and which image of the batch to score.
        side: which map on the generated image.
        placed_only: take that map over the reference's placed tokens only.
        preset: see `ulam`.
        weight: lambda.
        threshold: values of the min-maxed map not above it count as 0.

    Raises:
        MaskError: there is no mask at all, or one does not fit the run.
        I2AMError: a mask has another shape than its recorded picture, or a number is out of range.
        UnavailableError: nothing can be scored.
    """
    check_choice(choice)
    image = choice.image
    notes: tuple[str, ...] = ()
    inside, reference = None, None
    if inpaint_mask is not None:
        inside = mask_of(inpaint_mask, image, maps.images, "inpainting mask")
    elif maps.inpaint_mask is not None:
        inside = mask_of(maps.inpaint_mask, image, maps.images, "recorded inpainting mask")
        source = inpaint_mask_from(maps)
        notes = (f"against the inpainting mask {'that was given at recording' if source == RECORD else f'of {source}'}",)
    if reference_mask is not None:
        reference = mask_of(reference_mask, image, maps.images, "reference mask")
    else:
        reference = kept_reference_mask(maps, choice.reference)
    if inside is None and reference is None:
        raise MaskError("no mask is given, and IMACS needs a mask; connect the inpainting mask, the reference mask, or both")

    found: dict[str, tuple[Score, Heat]] = {}
    missing: dict[str, str] = {}  # why a score is missing; if one map is unavailable, the other is still scored
    if inside is None:
        missing["g"] = "no inpainting mask was given"
    else:
        try:
            on_generated = map_on_generated(maps, inside, reference, choice, preset=preset, side=side, placed_only=placed_only)
            found["g"] = on_generated.score(weight, threshold), on_generated.heat
        except UnavailableError as error:
            missing["g"] = str(error)
    if reference is None:
        missing["r"] = "no reference mask was given"
    else:
        try:
            on_reference = map_on_reference(maps, reference, inside, choice, preset=preset)
            found["r"] = on_reference.score(weight, threshold), on_reference.heat
        except UnavailableError as error:
            missing["r"] = str(error)
    if not found:
        raise UnavailableError("; ".join(f"IMACS_{letter}: {why}" for letter, why in missing.items()))
    scores = {x: found[x][0] if x in found else Score(None, None, None, weight, notes=(missing[x],)) for x in ("g", "r")}
    if notes and "g" in found:
        scores["g"] = replace(scores["g"], notes=(*notes, *scores["g"].notes))
    if reference_mask is None and "r" in found:
        scores["r"] = replace(scores["r"], notes=("against the reference mask that was kept", *scores["r"].notes))
    masks = {x: mask for x, mask in (("g", inside), ("r", reference)) if mask is not None and x in found}
    return ImageScores(image, scores, {letter: heat for letter, (_, heat) in found.items()}, masks)
