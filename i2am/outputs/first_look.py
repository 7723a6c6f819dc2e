"""One sheet that answers a run's first questions in words and maps: where the reference's information went, what was used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from ..answers.answer import Answer, answer
from ..answers.regions import Region
from ..errors import I2AMError, MaskError, UnavailableError
from ..geometry.frames import name_of
from ..geometry.masks import MaskLike, mask_of
from ..levels.batch import images_of
from ..levels.choice import EVERYTHING, Choice
from ..levels.heat import Heat
from ..levels.kept import kept_reference_mask, masks_taken
from ..levels.marginal import ulam
from ..levels.mirror import mirror_of_object
from ..levels.presets import preset_of
from ..levels.selection import select
from ..maps.value import AttributionMaps
from ..pictures.backdrop import Given, backdrop, backdrop_name, known_references, reference_pictures
from ..pictures.matching import check_pictures, one_of, pictures_of, same_size
from ..pictures.sheet import framed, headed, in_a_column, in_a_row
from ..scores.imacs import map_on_generated
from ..scores.run import ImageScores, score_image
from .joint_look import Shown, has_shares, joint_look
from .look_details import HEAD, ScoreLine, details
from .sheet_parts import GAP, PRINT, drawn, height_for, labelled, tall


@dataclass(frozen=True)
class FirstLook:
    """A sheet for each image of a run, all of one size, the scores that the masks allow, and what is said of each image."""

    sheets: list[Image.Image]
    scores: list[ImageScores]
    answers: list[Answer]
    names: Sequence[str] = ()
    """Of the images; empty: image 0, image 1 and so on."""

    @property
    def text(self) -> str:
        """The answers of all images, one after another."""
        if len(self.answers) == 1:
            return self.answers[0].text()
        names = self.names or [f"image {i}" for i in range(len(self.answers))]
        return "\n\n".join(f"{_capital(name)}\n{one.text()}" for name, one in zip(names, self.answers, strict=True))


def first_look(
    maps: AttributionMaps,
    generated: Image.Image | Sequence[Image.Image],
    references: Image.Image | Given = None,
    inpaint_mask: MaskLike | None = None,
    reference_mask: MaskLike | None = None,
    choice: Choice = EVERYTHING,
    *,
    further: Sequence[Given] = (),
    regions: Sequence[Region] = (),
    without_sinks: bool = False,
) -> FirstLook:
    """The answer in words, ULAM on both pictures, and what the masks allow: IMACS, and the mirror of the reference's object.

    Where references are in one sequence with text and picture, the sheet shows how attention was split between them; of
    several references, which of them was taken from.

    Args:
        maps: a recording.
        generated: the generated picture, or one of every image of the run.
        references: the first reference's pictures, one or one per image; None takes what the recording kept, else grey.
            Where the sheet shows one reference and no further pictures are given, those of the chosen one.
        inpaint_mask: (1 or images, H, W), 1 = repainted; None: what was given at recording, if anything.
        reference_mask: (1 or images, H, W), 1 = the object; None: what the recording kept, if anything.
        choice: what to take of the recording; its image is ignored, and all images are shown.
        further: likewise the pictures of the second reference, the third and so on.
        regions: parts of references that a person named; the answer says of each whether it arrived.
        without_sinks: sinks are left out of the shares and of G2R, and a note says so (see `levels.sinks`).

    Raises:
        UnavailableError: the run has no such branch or reference.
        I2AMError: pictures or masks do not fit the run.
    """
    select(maps, preset_of("default"), choice)
    given = tuple(None if one is None else pictures_of(one, "picture of a reference") for one in (references, *further))
    generated = pictures_of(generated, "generated picture")
    _check_first(maps, given[0])
    if reference_mask is not None:
        mask_of(reference_mask, 0, maps.images, "reference mask")  # refuses one that does not fit the run
    taken = masks_taken(maps, inpaint_mask, reference_mask, choice.reference)
    if reference_mask is None:
        reference_mask = kept_reference_mask(maps, choice.reference)
    scores, sheets, answers = [], [], []
    for image in images_of(maps, -1):
        own = choice.on_image(image)
        notes = [taken] if taken else []
        scored, lines = _scores(maps, inpaint_mask, reference_mask, own, notes)
        scores += [] if scored is None else [scored]
        answers.append(_answer(maps, generated, given, inpaint_mask, reference_mask, own, regions))
        drawn_sheet = _sheet(maps, generated, given, reference_mask, own, notes, lines, without_sinks)
        sheets.append(headed(drawn_sheet, *_told(answers[-1]), PRINT))
    names = [name_of(image, maps.frames, maps.images) for image in images_of(maps, -1)]
    return FirstLook(same_size(sheets), scores, answers, names)


def _answer(
    maps: AttributionMaps,
    generated: Sequence[Image.Image],
    given: Sequence[Given],
    inpaint: MaskLike | None,
    reference: MaskLike | None,
    choice: Choice,
    regions: Sequence[Region],
) -> Answer:
    """What is said of one image; a reference whose picture is neither given nor kept is not known."""
    kept = reference_pictures(maps, given, choice.image)
    masks = [
        None if mask is None else mask_of(mask, choice.image, maps.images, name)
        for mask, name in ((inpaint, "inpainting mask"), (reference, "reference mask"))
    ]
    return answer(
        maps,
        one_of(generated, choice.image, maps.images),
        [picture if there else None for picture, there in zip(kept, known_references(maps, given), strict=True)],
        choice,
        inpaint_mask=masks[0],
        reference_mask=masks[1],
        regions=regions,
    )


def _told(found: Answer) -> tuple[list[str], list[str]]:
    """What was asked for and cannot be said, then the findings; and the suggestions."""
    tips = [one.text for one in found.said if one.topic == "next"]
    return [*found.unanswered, *(one.text for one in found.said if one.topic != "next")], tips


def _check_first(maps: AttributionMaps, pictures: Given) -> None:
    """Refuse pictures of all references where those of the first are expected."""
    if pictures is not None and len(pictures) == len(maps.references) and len(pictures) not in (1, maps.images):
        raise I2AMError(
            f"references are the pictures of the first reference, one or one for each of {maps.images} image(s), got "
            f"{len(pictures)}; give those of the others apart: first_look(maps, generated, first, further=[[second], …])"
        )


def _scores(
    maps: AttributionMaps, inpaint: MaskLike | None, reference: MaskLike | None, choice: Choice, notes: list[str]
) -> tuple[ImageScores | None, list[ScoreLine]]:
    """The scores, and the lines of their table; or None, with a note that says why."""
    if inpaint is None and reference is None and maps.inpaint_mask is None:
        notes.append("Connect the masks to score the maps (IMACS).")
        return None, []
    if inpaint is None and maps.inpaint_mask is None:
        notes.append("no IMACS: both scores need the inpainting mask too; connect it.")
        return None, []
    try:
        scored = score_image(maps, inpaint, reference, choice)
    except UnavailableError as error:
        notes.append(f"no IMACS: {error}")
        return None, []
    lines = [("IMACS_g of R2G", scored.scores["g"]), ("IMACS_r of G2R", scored.scores["r"])]
    if reference is not None and "g" in scored.masks:
        mask = mask_of(reference, choice.image, maps.images, "reference mask")
        try:
            score = map_on_generated(maps, scored.masks["g"], mask, choice, side="mirror").score()
        except (MaskError, UnavailableError):  # the sheet says why there is no mirror
            return scored, lines
        lines.insert(0, ("IMACS_g of the mirror", score))
    return scored, lines


def _sheet(
    maps: AttributionMaps,
    generated: Sequence[Image.Image],
    given: Sequence[Given],
    reference_mask: MaskLike | None,
    choice: Choice,
    said: Sequence[str],
    scores: Sequence[ScoreLine],
    without_sinks: bool,
) -> Image.Image:
    """The sheet of one image: where it went and what was used, over the details."""
    picture = one_of(generated, choice.image, maps.images)
    missing: dict[str, list[str]] = {}  # missing maps by reason
    shares = has_shares(maps, choice)
    heats = _on_generated(maps, reference_mask, choice, missing, shares and len(maps.references) > 1)
    for heat in heats.values():
        check_pictures(heat, [picture])
    # the mirror answers by itself; what compares all of the reference is harder to read
    first = {side: heat for side, heat in heats.items() if side == "mirror" or "mirror" not in heats}
    last = details(picture, {side: heat for side, heat in heats.items() if side not in first}, scores, maps.notes)
    if shares:
        shown = [Shown(one, _origin(maps, i, given)) for i, one in enumerate(reference_pictures(maps, given, choice.image))]
        notes = [*said, *_reasons(missing)]
        title = _title(maps, choice)
        return joint_look(
            maps, picture, shown, choice, further=first, last=last, notes=notes, title=title, without_sinks=without_sinks
        )
    if without_sinks:
        said = [*said, "no sinks are left out: they are looked for in joint attention alone"]
    used = list(_on_reference(maps, picture, given, choice, missing))
    shapes = [one.width / one.height for one in (*[picture] * (1 + len(first)), *(shown for shown, _, _ in used))]
    height = height_for(shapes)
    items = [(tall(picture, height), "generated")]
    items += [(drawn(picture, heat, height), labelled(heat, maps.notes)) for heat in first.values()]
    items += [(tall(shown, height) if heat is None else drawn(shown, heat, height), caption) for shown, heat, caption in used]
    rows, heads = [in_a_row(items, PRINT, GAP, least=10 * PRINT)], [""]
    if last is not None:
        rows.append(last)
        heads.append(HEAD)
    notes = list(dict.fromkeys([*said, *_reasons(missing), *maps.notes]))
    return framed(in_a_column(rows, PRINT, heads), _title(maps, choice), notes, PRINT)


def _on_generated(
    maps: AttributionMaps, reference_mask: MaskLike | None, choice: Choice, missing: dict[str, list[str]], several: bool
) -> Mapping[str, Heat]:
    """The maps that go on the generated picture, by side: of several references the mirror alone."""
    found: dict[str, Heat | None] = {}
    if reference_mask is not None:
        found["mirror"] = _mirror(maps, reference_mask, choice, missing)
    if not several:
        for side in ("R2G", "R2G-balanced"):
            found[side] = _map(maps, side, choice, missing)
    return {side: heat for side, heat in found.items() if heat is not None}


def _on_reference(
    maps: AttributionMaps, picture: Image.Image, given: Sequence[Given], choice: Choice, missing: dict[str, list[str]]
) -> Iterator[tuple[Image.Image, Heat | None, str]]:
    """The chosen reference, if there is anything to see of it, and its G2R, with their labels."""
    references, index = given[0], choice.reference
    if any(pictures is not None for pictures in given[1:]):
        references = [reference_pictures(maps, given, choice.image)[index]]
    size = maps.references[index].grid.picture or (picture.height, picture.width)
    kept = backdrop(maps, "reference", index, size)
    shown = kept if references is None else one_of(references, choice.image, maps.images)
    if references is not None or maps.references[index].grid.placed:
        yield shown, None, "reference"
    heat = _map(maps, "G2R", choice, missing)
    if heat is not None:
        yield shown, heat, labelled(heat, maps.notes)


def _reasons(missing: dict[str, list[str]]) -> list[str]:
    """Which maps there are not, and why."""
    return [f"no {', '.join(sides)}: {reason}" for reason, sides in missing.items()]


def _title(maps: AttributionMaps, choice: Choice) -> str:
    every = len(maps.default_layers) == len(maps.layers)
    whole = f"Over the whole run: all steps{', heads and layers' if every else ' and heads'} (ULAM)"
    name = _capital(name_of(choice.image, maps.frames, maps.images))
    return whole if maps.images == 1 else f"{name} · {whole[0].lower()}{whole[1:]}"


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]


def _origin(maps: AttributionMaps, reference: int, given: Sequence[Given]) -> str:
    """Where a reference's picture is from, if it was not given."""
    if reference < len(given) and given[reference] is not None:
        return ""
    if backdrop_name("reference", reference) not in maps.thumbnails:
        return "no picture of it was given"
    return str(maps.run.extra.get("reference_pictures", ""))


def _map(maps: AttributionMaps, side: str, choice: Choice, missing: dict[str, list[str]]) -> Heat | None:
    """A map; or None, with the reason put into ``missing``."""
    try:
        return ulam(maps, side, choice)
    except UnavailableError as error:
        missing.setdefault(str(error).removeprefix(f"{side} is unavailable: "), []).append(side)
        return None


def _mirror(maps: AttributionMaps, reference_mask: MaskLike, choice: Choice, missing: dict[str, list[str]]) -> Heat | None:
    """The mirror of the object; or None, with the reason put into ``missing``."""
    try:
        return mirror_of_object(maps, reference_mask, choice)
    except (MaskError, UnavailableError) as error:
        missing.setdefault(str(error).removeprefix("mirror is unavailable: "), []).append("mirror")
        return None
