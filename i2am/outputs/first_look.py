"""One sheet that answers a run's first question: where the reference's information went, and which parts of it were used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from ..errors import MaskError, UnavailableError
from ..geometry.masks import mask_of
from ..levels.batch import images_of
from ..levels.choice import EVERYTHING, Choice
from ..levels.heat import Heat
from ..levels.marginal import ulam
from ..levels.mirror import mirror_of_object
from ..levels.presets import preset_of
from ..levels.selection import select
from ..maps.value import AttributionMaps
from ..pictures.backdrop import backdrop
from ..pictures.marks import enlarge
from ..pictures.matching import check_pictures, one_of, same_size
from ..pictures.overlay import overlay
from ..pictures.sheet import sheet
from ..scores.imacs import Score, score_generated
from ..scores.run import ImageScores, score_image

TALL = 448
"""The height of every picture on the sheet, in pixels."""
PRINT = 25
"""The labels' text size, in pixels: legible when a node shows the sheet at half its size."""


@dataclass(frozen=True)
class FirstLook:
    """A sheet for each image of a run, all of one size, and the scores that the masks allow."""

    sheets: list[Image.Image]
    scores: list[ImageScores]


def first_look(
    maps: AttributionMaps,
    generated: Sequence[Image.Image],
    references: Sequence[Image.Image] | None = None,
    inpaint_mask: Tensor | None = None,
    reference_mask: Tensor | None = None,
    choice: Choice = EVERYTHING,
) -> FirstLook:
    """ULAM on both pictures, and what the masks allow: IMACS, and the mirror of the reference's object.

    Args:
        maps: a recording.
        generated: the generated picture of every image of the run.
        references: the reference pictures, one or one per image; None takes what the recording kept, else grey.
        inpaint_mask: (1 or images, H, W), 1 = repainted; None: what was given at recording, if anything.
        reference_mask: (1 or images, H, W), 1 = the object; or None.
        choice: what to take of the recording; its image is ignored, and all images are shown.

    Raises:
        UnavailableError: the run has no such branch or reference.
        I2AMError: pictures or masks do not fit the run.
    """
    select(maps, preset_of("default"), choice)
    scores, sheets = [], []
    for image in images_of(maps, -1):
        own = choice.on_image(image)
        notes: list[str] = []
        scored = _scores(maps, inpaint_mask, reference_mask, own, notes)
        scores += [] if scored is None else [scored]
        sheets.append(_sheet(maps, generated, references, reference_mask, own, notes))
    return FirstLook(same_size(sheets), scores)


def _scores(
    maps: AttributionMaps, inpaint: Tensor | None, reference: Tensor | None, choice: Choice, notes: list[str]
) -> ImageScores | None:
    """The scores, also put into words in the notes; or None, with a note that says why."""
    if inpaint is None and reference is None and maps.inpaint_mask is None:
        notes.append("Connect the masks to score the maps (IMACS).")
        return None
    try:
        scored = score_image(maps, inpaint, reference, choice)
    except UnavailableError as error:
        notes.append(f"no IMACS: {error}")
        return None
    notes += [_score_line("g", "R2G", scored.scores["g"]), _score_line("r", "", scored.scores["r"])]
    if reference is not None and "g" in scored.masks:
        mask = mask_of(reference, choice.image, maps.images, "reference mask")
        try:
            score, _ = score_generated(maps, scored.masks["g"], mask, choice, side="mirror")
        except (MaskError, UnavailableError):  # the sheet says why there is no mirror
            return scored
        notes.insert(1, _score_line("g", "the mirror", score))
    return scored


def _sheet(
    maps: AttributionMaps,
    generated: Sequence[Image.Image],
    references: Sequence[Image.Image] | None,
    reference_mask: Tensor | None,
    choice: Choice,
    said: Sequence[str],
) -> Image.Image:
    picture = one_of(generated, choice.image, maps.images)
    items = [(_tall(picture), "generated")]
    missing: dict[str, list[str]] = {}  # missing maps by reason
    on_generated = {}
    if reference_mask is not None:
        on_generated["mirror: where the object went"] = _mirror(maps, reference_mask, choice, missing)
    on_generated |= {
        f"{side}: where all of the reference went": _map(maps, side, choice, missing) for side in ("R2G", "R2G-balanced")
    }
    for label, heat in on_generated.items():
        if heat is not None:
            check_pictures(heat, [picture])
            items.append((_drawn(picture, heat), f"{label}\n{_remark(heat)}"))
    index = choice.reference
    size = maps.references[index].grid.picture or (picture.height, picture.width)
    kept = backdrop(maps, "reference", index, size)
    shown = kept if references is None else one_of(references, choice.image, maps.images)
    if references is not None or maps.references[index].grid.placed:
        items.append((_tall(shown), "reference"))
    heat = _map(maps, "G2R", choice, missing)
    if heat is not None:
        items.append((_drawn(shown, heat), f"G2R: what was used\n{_remark(heat)}"))
    notes = [f"no {', '.join(sides)}: {reason}" for reason, sides in missing.items()]
    title = "Attribution" if maps.images == 1 else f"Attribution · image {choice.image}"
    return sheet(items, len(items), title, notes=list(dict.fromkeys([*said, *notes, *maps.notes])), text=PRINT)


def _map(maps: AttributionMaps, side: str, choice: Choice, missing: dict[str, list[str]]) -> Heat | None:
    """A map; or None, with the reason put into ``missing``."""
    try:
        return ulam(maps, side, choice)
    except UnavailableError as error:
        missing.setdefault(str(error).removeprefix(f"{side} is unavailable: "), []).append(side)
        return None


def _mirror(maps: AttributionMaps, reference_mask: Tensor, choice: Choice, missing: dict[str, list[str]]) -> Heat | None:
    """The mirror of the object; or None, with the reason put into ``missing``."""
    try:
        return mirror_of_object(maps, reference_mask, choice)
    except (MaskError, UnavailableError) as error:
        missing.setdefault(str(error).removeprefix("mirror is unavailable: "), []).append("mirror")
        return None


def _tall(picture: Image.Image) -> Image.Image:
    base = enlarge(picture, TALL)[0] if picture.height < TALL else picture
    return base.resize((max(1, round(base.width * TALL / base.height)), TALL), Image.Resampling.LANCZOS)


def _drawn(picture: Image.Image, heat: Heat) -> Image.Image:
    return overlay(_tall(picture), heat, colour_bar=False, caption=False, min_side=1)


def _remark(heat: Heat) -> str:
    unplaced = f"{heat.unplaced[0]:.0%} on tokens without a place" if heat.unplaced else ""
    return " · ".join([*heat.notes, *([unplaced] if unplaced else [])]) or " "


def _score_line(letter: str, of: str, s: Score) -> str:
    """One score in words, given its letter "g" or "r" and the name of its map.

    >>> _score_line("g", "R2G", Score(0.5, 0.6, 0.1, auc=0.75, shifted=-0.25))
    'IMACS_g of R2G 0.50 (shifted −0.25), AUC 0.75'
    """
    if s.score is None:
        return f"IMACS_{letter}: none ({'; '.join(s.notes)})"
    chance = [f"{name} {value:.2f}" for name, value in (("shifted", s.shifted), ("random", s.random)) if value is not None]
    beside = f" ({', '.join(chance)})" if chance else ""
    auc = "" if s.auc is None else f", AUC {s.auc:.2f}"
    name = f"IMACS_{letter} of {of}" if of else f"IMACS_{letter}"
    return f"{name} {s.score:.2f}{beside}{auc}".replace("-", "−")
