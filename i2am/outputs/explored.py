"""What the pins of a run give: a marked picture, a map for each pin, masks, and a table of what each looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from ..answers.answer import answer
from ..answers.regions import Region
from ..errors import UnavailableError
from ..geometry.cells import Cell, cell_box
from ..geometry.layout import TokenGrid
from ..geometry.pins import GENERATED, Pin
from ..levels.choice import EVERYTHING, Choice
from ..levels.grids import common_grid, reference_grid
from ..levels.heat import Heat
from ..levels.marginal import ulam
from ..levels.pinned import Pinned, check_reference, pin_heat
from ..maps.kinds import all_shown
from ..maps.value import AttributionMaps
from ..pictures.marks import enlarge
from ..pictures.pins import Mark, draw_marks
from ..pictures.sheet import in_a_column, in_a_row
from .compared import Compared, compare, difference_rows
from .pin_table import pin_table
from .second import SecondRun
from .viewer_data import viewer_data
from .viewer_file import viewer_file

TALL, GAP, PRINT = 512, 24, 20
"""Of the marked pictures: their height, the space between them and the size of their labels, in pixels."""
MOST = 20_000_000
"""Bytes of the patch maps that a graph's viewer gets, so that with all else its file stays below `viewer_file.LARGEST`."""


@dataclass(frozen=True)
class Explored:
    """What the pins give.

    Attributes:
        marked: the generated picture beside the references, with the pins, and a ring where each looks most; with a second run
            its pictures below, and then the differences.
        heats: one map for each pin on each picture that it is seen on; without pins, the map of the whole picture.
        pictures: for each of these, the picture that it lies on.
        region: (H, W), 1 = in a pin on the generated picture.
        reference_region: (H, W), 1 = in a pin on the chosen reference.
        points: middles of the pins on the generated picture, (x, y) in pixels.
        at: the middle of the first pin, in whole pixels; without pins, that of the generated picture.
        table: the figures as text; with a second run those of both, and their differences.
        answer: the run in words; pins on references are named regions of it.
    """

    marked: Image.Image
    heats: list[Heat]
    pictures: list[Image.Image]
    region: Tensor
    reference_region: Tensor
    points: list[tuple[float, float]]
    at: tuple[int, int]
    table: str
    answer: str


def explore(
    maps: AttributionMaps,
    generated: Image.Image,
    references: Sequence[Image.Image],
    pins: Sequence[Pin],
    choice: Choice = EVERYTHING,
    *,
    inpaint_mask: Tensor | None = None,
    reference_mask: Tensor | None = None,
    known: Sequence[bool] | None = None,
    second: SecondRun | None = None,
) -> Explored:
    """Look every pin up on the other pictures.

    Args:
        generated: the picture of the image that ``choice`` names.
        references: one picture for each reference.
        pins: in pixels of the picture that each lies on.
        choice: its reference is that of ``reference_mask`` and of ``reference_region``.
        inpaint_mask: (H, W), 1 = repainted; the table then says how much of each mirror lies inside.
        reference_mask: (H, W), 1 = the object on the chosen reference; likewise for each SRAM.
        known: for each reference, whether its picture shows it: the answer compares no grey; None: all do.
        second: a run to compare with; ``choice`` is taken of both, and masks are meant for both.

    Raises:
        I2AMError: a pin lies on a reference that the run did not have, or outside of what the tokens cover; or the second run
            cannot be compared, see `SecondRun.checked`.
        UnavailableError: there are pins, and the recording has no patch maps for one of them.
    """
    for pin in pins:
        check_reference(maps, pin)
    pictures = [generated, *references]
    found, missing = _looked_up(maps, pins, pictures, choice)
    compared = None if second is None else compare(maps, second, found, choice, generated)
    first = pins[0].middle if pins else (generated.width / 2, generated.height / 2)
    masks = {GENERATED: inpaint_mask, f"reference {choice.reference + 1}": reference_mask}
    chosen = references[choice.reference]
    return Explored(
        marked=_marked(maps, pictures, pins, found)
        if compared is None or second is None
        else _both_marked(maps, pictures, pins, found, second, compared),
        heats=[one.heat for _, one in found] or [_whole(maps, choice)],
        pictures=[pictures[index] for index, _ in found] or [generated],
        region=_region(found, None, generated),
        reference_region=_region(found, choice.reference, chosen),
        points=[pin.middle for pin in pins if pin.reference is None],
        at=(int(first[0]), int(first[1])),
        table=pin_table(maps, found, masks, pictures, choice, missing)
        if compared is None
        else pin_table(maps, found, masks, pictures, choice, [*missing, *compared.lines()], compared.beside),
        answer=answer(
            maps,
            generated,
            [one if there else None for one, there in zip(references, known or [True] * len(references), strict=True)],
            choice,
            inpaint_mask=inpaint_mask,
            reference_mask=reference_mask,
            regions=_regions(found, references),
        ).text(),
    )


def explorer_file(
    maps: AttributionMaps,
    generated: Image.Image,
    references: Sequence[Image.Image],
    choice: Choice = EVERYTHING,
    reference_mask: Tensor | None = None,
    second: SecondRun | None = None,
) -> bytes:
    """The file that the viewer in a graph shows; see `viewer_file`.

    Args:
        choice: its branch and image are shown; ``reference_mask`` is of its reference.
        reference_mask: (H, W), 1 = the object; the viewer then opens with where it went, if it is on the first reference.
        second: a run to compare with; the two share the room of the file.

    Raises:
        I2AMError: as `viewer_data`.
    """
    mask = reference_mask if choice.reference == 0 else None
    data = viewer_data(
        maps,
        generated,
        references,
        reference_mask=mask,
        branch=choice.branch,
        image=choice.image,
        second=second,
        most=MOST,
    )
    return viewer_file(data)


def _looked_up(
    maps: AttributionMaps, pins: Sequence[Pin], pictures: Sequence[Image.Image], choice: Choice
) -> tuple[list[tuple[int, Pinned]], list[str]]:
    """Every pin on every picture that it can be seen on, with that picture's index; and why it cannot on others."""
    found: list[tuple[int, Pinned]] = []
    missing: dict[str, None] = {}
    for pin in pins:
        picture = pictures[0 if pin.reference is None else pin.reference + 1]
        failed: UnavailableError | None = None
        before = len(found)
        for reference in range(len(maps.references)) if pin.reference is None else (pin.reference,):
            try:
                one = pin_heat(maps, pin, (picture.height, picture.width), replace(choice, reference=reference))
            except UnavailableError as error:
                failed = error
                missing[f"{pin.name} on reference {reference + 1}: {error}"] = None
            else:
                found.append((reference + 1 if pin.reference is None else 0, one))
        if failed is not None and len(found) == before:
            raise UnavailableError(f"pin {pin.name!r} cannot be looked up: {failed}")
    return found, list(missing)


def _whole(maps: AttributionMaps, choice: Choice) -> Heat:
    """The map on the generated picture that readers see first: the available one of the lowest rank."""
    every = (x for kind, x in all_shown() if kind.calls == "any" and kind.levels and x.picture == GENERATED)
    sides = sorted(every, key=lambda x: x.rank)
    for shown in sides[:-1]:
        try:
            return ulam(maps, shown.side, choice)
        except UnavailableError:  # the next one may exist; the last says why it does not
            continue
    return ulam(maps, sides[-1].side, choice)


def _region(found: Sequence[tuple[int, Pinned]], on: int | None, picture: Image.Image) -> Tensor:
    """(H, W), 1 in the cells of the pins on one picture."""
    size = (picture.height, picture.width)
    mask = torch.zeros(size)
    for one in (one for _, one in found if one.pin.reference == on):
        for cell in one.cells:
            left, top, right, bottom = (max(round(v), 0) for v in cell_box(one.grid, *cell, size))
            mask[top:bottom, left:right] = 1
    return mask


def _regions(found: Sequence[tuple[int, Pinned]], references: Sequence[Image.Image]) -> list[Region]:
    """The pins on references as regions: their own pixels, or of a point the cell below it."""
    regions = []
    for one in (one for _, one in found if one.pin.reference is not None):
        pin, picture = one.pin, references[one.pin.reference or 0]
        mask = _region([(0, one)], pin.reference, picture)
        if pin.is_region:
            exact = torch.zeros_like(mask)
            exact[_whole_pixels(pin.y, pin.height), _whole_pixels(pin.x, pin.width)] = 1
            mask = exact if bool(exact.any()) else mask
        if bool(mask.any()):
            regions.append(Region(pin.name, mask, pin.reference or 0))
    return regions


def _whole_pixels(start: float, length: float) -> slice:
    return slice(max(round(start), 0), max(round(start + length), 0))


def _marked(
    maps: AttributionMaps,
    pictures: Sequence[Image.Image],
    pins: Sequence[Pin],
    found: Sequence[tuple[int, Pinned]],
    seen: Sequence[tuple[int, Pinned]] | None = None,
) -> Image.Image:
    """The pictures side by side, with pins and peaks; of a second run the peaks are those ``seen`` there."""
    numbers = {pin: number for number, pin in enumerate(pins, 1)}
    items = []
    for index, picture in enumerate(pictures):
        grid = common_grid(maps, GENERATED) if index == 0 else reference_grid(maps, index - 1)
        drawn = _tall(picture)
        for on, one in found if seen is None else seen:
            if on == index:
                drawn = draw_marks(drawn, _of_heat(one.heat), [Mark("", one.pin.colour, (peak_of(one.heat),), peak=True)])
        own = {one.pin: one for _, one in found if one.pin.reference == (None if index == 0 else index - 1)}
        for pin, one in own.items():
            drawn = draw_marks(drawn, one.grid, [Mark(f"{numbers[pin]} {pin.name}", pin.colour, one.cells)])
        label = GENERATED if index == 0 else maps.references[index - 1].name
        items.append((drawn, label if grid.placed else f"{label}\nits tokens have no places"))
    return in_a_row(items, PRINT, GAP)


def _both_marked(
    maps: AttributionMaps,
    pictures: Sequence[Image.Image],
    pins: Sequence[Pin],
    found: Sequence[tuple[int, Pinned]],
    second: SecondRun,
    compared: Compared,
) -> Image.Image:
    """The pictures of both runs, each with its peaks, and below them the differences."""
    names, others = compared.beside.names, [second.generated, *second.pictures(maps, pictures[1:])]
    seen = [(index, other) for (index, _), other in zip(found, compared.beside.found, strict=True) if other is not None]
    rows = [
        (names[0], _marked(maps, pictures, pins, found)),
        (names[1], _marked(second.maps, others, pins, found, seen)),
        *difference_rows(pictures, found, compared, TALL, PRINT, GAP),
    ]
    return in_a_column([row for _, row in rows], PRINT, [title for title, _ in rows])


def _tall(picture: Image.Image) -> Image.Image:
    base = enlarge(picture, TALL)[0] if picture.height < TALL else picture.convert("RGB")
    return base.resize((max(1, round(base.width * TALL / base.height)), TALL), Image.Resampling.LANCZOS)


def _of_heat(heat: Heat) -> TokenGrid:
    return TokenGrid(heat.values.shape[1], heat.values.shape[2], rect=heat.rect)


def peak_of(heat: Heat) -> Cell:
    """The (row, column) of the highest value of a heat's only panel."""
    row, column = divmod(int(heat.values[0].argmax()), heat.values.shape[2])
    return row, column
