"""The answer in words: a few sentences made from a run's figures, each with the rule by which they became words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..errors import I2AMError, MaskError, UnavailableError
from ..geometry.layout import WHOLE, TokenGrid
from ..geometry.masks import MaskLike, mask_of
from ..geometry.resample import area
from ..geometry.shapes import check_shape
from ..levels.choice import EVERYTHING, Choice
from ..levels.heat import Heat
from ..levels.presets import preset_of
from ..levels.selection import select
from ..maps.value import AttributionMaps
from .carried_by_text import carried_by_text
from .focus import focus
from .looked import Looked, covered, grids, looked, on_grid
from .outside import outside
from .reach import ratio_of, reach, used
from .regions import Region, judge
from .said import Said
from .settled import settled
from .suggestions import suggestions
from .taken import taken
from .thresholds import SHOWN
from .wires import wires
from .words_read import words_read


@dataclass(frozen=True)
class Answer:
    """What is said of one image of a run.

    Attributes:
        said: what looks wrongly connected, findings, those on named regions first, and suggestions (topic "next").
        missing: what cannot be said, and why.
        unanswered: those lines of ``missing`` that are about named regions: an answer that was asked for.
    """

    said: tuple[Said, ...]
    missing: tuple[str, ...] = ()
    unanswered: tuple[str, ...] = ()

    @property
    def sentences(self) -> list[str]:
        """The sentences alone."""
        return [one.text for one in self.said]

    @property
    def rules(self) -> list[str]:
        """How figures became words, by what they are about."""
        return list(dict.fromkeys(f"{one.about or one.topic}: {one.rule}" for one in self.said if one.rule))

    def text(self) -> str:
        """A sentence a line, what cannot be said, and the rules."""
        return "\n".join([*self.sentences, *self.missing, "", "How figures became words:", *self.rules])


def answer(
    maps: AttributionMaps,
    generated: Image.Image,
    references: Sequence[Image.Image | None],
    choice: Choice = EVERYTHING,
    *,
    inpaint_mask: MaskLike | None = None,
    reference_mask: MaskLike | None = None,
    regions: Sequence[Region] = (),
) -> Answer:
    """Put a run into words.

    Args:
        maps: a recording.
        generated: the picture of the image that ``choice`` names.
        references: a picture for each reference; None where it is not known.
        choice: its reference is the one that ``reference_mask``, and all that is said of one reference, is about.
        inpaint_mask: (1 or images, H, W) or (H, W) on the generated picture, 1 = repainted; None: what was given at
            recording, if anything.
        reference_mask: likewise on the reference, 1 = the object.
        regions: parts of references that a person named.

    Raises:
        I2AMError: there are more or fewer pictures than references, or a region lies on a reference that the run did not have,
            or it or a mask has another shape than its picture.
        UnavailableError: the run has no such branch, reference or image.
    """
    select(maps, preset_of("default"), choice)
    count = len(maps.references)
    inpaint_mask = _mask(inpaint_mask, maps, choice, "inpainting mask", (generated.height, generated.width))
    if len(references) != count:
        raise I2AMError(
            f"{len(references)} reference pictures were given, but the run had {count} reference(s); give one for each, None "
            f"where it is not known"
        )
    for region in regions:
        if not 0 <= region.reference < count:
            raise I2AMError(f"{region.name} lies on reference {region.reference + 1}, but the run had {count} reference(s)")
        picture, recorded = references[region.reference], maps.references[region.reference].grid.picture
        size = (recorded or (0, 0)) if picture is None else (picture.height, picture.width)
        check_shape(f"mask of {region.name}", (region.mask.shape[0], region.mask.shape[1]), size, "reference's picture")
    own = references[choice.reference]
    size = (maps.references[choice.reference].grid.picture or (0, 0)) if own is None else (own.height, own.width)
    reference_mask = _mask(reference_mask, maps, choice, "reference mask", size)
    masks = {"inpaint_mask": inpaint_mask, "reference_mask": reference_mask}
    said = [*wires(maps, generated, references, choice.image, **masks), *_of_branch(maps, choice)]
    missing: dict[str, list[str]] = {}
    pictures = [None if one is None else (one.height, one.width) for one in references]
    run = _Run(
        maps,
        generated,
        references,
        choice,
        inpaint_mask,
        reference_mask,
        [_resized(one, pictures[one.reference]) for one in regions],
    )
    for about, ask in run.questions():
        try:
            one = ask()
            said += [] if one is None else [one]
        except (MaskError, UnavailableError) as error:
            missing.setdefault(str(error), []).append(about)
    reasons = {f"Nothing can be said of {', '.join(abouts)}: {reason}": abouts for reason, abouts in missing.items()}
    names = {one.name for one in regions}
    asked = tuple(line for line, abouts in reasons.items() if names.intersection(abouts))
    return Answer((*said, *suggestions(said)), tuple(reasons), asked)


def _of_branch(maps: AttributionMaps, choice: Choice) -> list[Said]:
    """Which half of guidance is spoken of, if it is not the usual one."""
    if choice.branch == "cond":
        return []
    seen = "which did not see the reference" if choice.branch in maps.null_branches else "which is taken from the other"
    text = f"All of this is said of {choice.branch}, the negative half of guidance, {seen}."
    return [Said("branch", text, about=choice.branch)]


def _mask(mask: MaskLike | None, maps: AttributionMaps, choice: Choice, name: str, size: tuple[int, int]) -> Tensor | None:
    """The (H, W) mask of the chosen image; one that has another shape than its picture of (H, W) is refused."""
    if mask is None:
        return None
    own = mask_of(mask, choice.image, maps.images, name)
    check_shape(
        name, (own.shape[0], own.shape[1]), size, "generated picture" if name.startswith("inp") else "reference's picture"
    )
    return own


@dataclass(frozen=True, eq=False)
class _Run:
    """One image of a run and what is known of it."""

    maps: AttributionMaps
    generated: Image.Image
    references: Sequence[Image.Image | None]
    choice: Choice
    given_mask: Tensor | None
    reference_mask: Tensor | None
    regions: Sequence[Region]
    _looked: dict[int, Looked] = field(default_factory=dict)
    _used: dict[int, tuple[Heat, bool]] = field(default_factory=dict)

    @property
    def inpaint(self) -> Tensor | None:
        """(H, W), given or recorded."""
        recorded = self.maps.inpaint_mask
        if self.given_mask is not None or recorded is None or recorded.ndim == 2:
            return recorded if self.given_mask is None else self.given_mask
        return recorded[self.choice.image if len(recorded) > 1 else 0]

    def questions(self) -> Iterator[tuple[str, Callable[[], Said | None]]]:
        """What is asked, in order, with the function that answers it; None: there is nothing to say."""
        maps, choice, inpaint, object_ = self.maps, self.choice, self.inpaint, self.reference_mask
        for region in self.regions:
            yield region.name, lambda region=region: self._region(region)  # type: ignore[misc]
        yield "what was looked at", lambda: reach(*self.used(choice.reference), reference_mask=object_)
        if len(maps.references) > 1:
            yield "which reference was taken from", lambda: taken(maps, choice, inpaint_mask=inpaint)
        yield "what the text carried", lambda: carried_by_text(maps, choice)
        yield "which words were read", lambda: words_read(maps, choice)
        if inpaint is not None and float(inpaint.min()) < 1:
            yield "what lies outside of the mask", lambda: outside(maps, inpaint, choice, reference_mask=object_)
        yield "how the maps came about", lambda: settled(maps, choice)
        yield "how sharp the maps are", self._focus

    def looked(self, reference: int) -> Looked:
        """Where each patch looked on one reference; its parts are the regions there, as far as they lie on it."""
        if reference not in self._looked:
            choice = replace(self.choice, reference=reference)
            _, grid = grids(self.maps, choice)
            there = [one.mask.clamp(0, 1)[None] for one in self.regions if one.reference == reference]
            parts = [area(mask, (grid.rows, grid.columns), grid.rect or WHOLE)[0] for mask in there]
            self._looked[reference] = looked(self.maps, torch.stack(parts) if parts else None, choice)
        return self._looked[reference]

    def used(self, reference: int) -> tuple[Heat, bool]:
        """See `reach.used`."""
        if reference not in self._used:
            self._used[reference] = used(self.maps, replace(self.choice, reference=reference), self.given_mask)
        return self._used[reference]

    def _focus(self) -> Said:
        found = self.looked(self.choice.reference)
        return focus(found, self._inside(found.generated))

    def _region(self, region: Region) -> Said:
        picture, found = self.references[region.reference], self.looked(region.reference)
        on_grid(region.mask, found.reference, f"mask of {region.name}")  # refuses one that lies beyond it
        seen = covered(region.mask, found.reference)
        if round(seen, 2) < SHOWN:
            raise MaskError(
                f"only {seen:.0%} of it lies in the part of the reference that the tokens cover (below {SHOWN:.0%}); use a "
                f"crop of the reference with it further from the edge"
            )
        number = [one for one in self.regions if one.reference == region.reference].index(region)
        found = replace(found, parts=found.parts[number : number + 1])
        heat, _ = self.used(region.reference)
        values = heat.values[0].clamp(min=0)
        own = on_grid(region.mask, TokenGrid(values.shape[0], values.shape[1], rect=heat.rect))
        ratio = ratio_of(values, own, torch.ones_like(values))
        shown = None if picture is None else _tensor(picture)
        return judge(region, found, ratio, shown, _tensor(self.generated), self._inside(found.generated))

    def _inside(self, grid: TokenGrid) -> Tensor | None:
        """(Q,) bool, the patches that the inpainting mask covers by more than half; None: no mask, or it covers none so."""
        if self.inpaint is None:
            return None
        covered = (on_grid(self.inpaint, grid, "inpainting mask") > 0.5).flatten()
        return covered if bool(covered.any()) else None


def _resized(region: Region, size: tuple[int, int] | None) -> Region:
    """The region on a picture of (H, W); None: as it is."""
    if size is None:
        return region
    if tuple(region.mask.shape) == size:
        return region
    mask = F.interpolate(region.mask[None, None].float(), size, mode="area")[0, 0]
    return Region(region.name, mask / mask.max(), region.reference)


def _tensor(picture: Image.Image) -> Tensor:
    """(3, H, W) in 0-1."""
    return torch.from_numpy(np.array(picture.convert("RGB"), dtype=np.float32) / 255).movedim(-1, 0).contiguous()
