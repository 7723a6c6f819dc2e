"""The sheet of a run of joint attention: what attention went to, which reference was taken from, what of each, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from PIL import Image

from ..errors import UnavailableError
from ..levels.choice import Choice
from ..levels.grids import reference_grid
from ..levels.heat import Heat
from ..levels.marginal import ulam
from ..levels.share import DIRECT, has_routes, in_percent, mean_shares, share, which_reference
from ..levels.sinks import sinks
from ..levels.sinks import without_sinks as without_sinks_of
from ..maps.kinds import UNASKED
from ..maps.value import AttributionMaps
from ..pictures.bars import share_bars, stacked_bar
from ..pictures.lettering import PAPER
from ..pictures.look import Look
from ..pictures.matching import check_pictures
from ..pictures.overlays import overlays
from ..pictures.parts import colour_of_reference, colours_of_parts, told_apart
from ..pictures.sheet import framed, in_a_column, in_a_row
from ..pictures.which import paint_which, which_key
from .look_details import HEAD
from .route_bars import Routed
from .sheet_parts import CAPTIONS, GAP, PRINT, TALL, WIDE, drawn, labelled, tall
from .word_row import HEAD as WORDS_HEAD
from .word_row import word_row

BARS = 400
"""The width of the bars of shares."""
NARROW = 150
"""The least width of a picture of the strip, in pixels, so that its bar can be read."""
GROUPS = 5
"""Time groups of the strip, if the run has as many."""
MOST = 4
"""References in a row."""


@dataclass(frozen=True)
class Shown:
    """A reference's picture, and where it is from if not given."""

    picture: Image.Image
    remark: str = ""


def has_shares(maps: AttributionMaps, choice: Choice) -> bool:
    """Whether a recording says how attention was split between references, text and the picture."""
    return any(maps.has("rest", layer.name, choice.branch) for layer in maps.layers)


def joint_look(
    maps: AttributionMaps,
    generated: Image.Image,
    references: Sequence[Shown],
    choice: Choice,
    *,
    further: Mapping[str, Heat] = MappingProxyType({}),
    last: Image.Image | None = None,
    notes: Sequence[str] = (),
    title: str = "",
    without_sinks: bool = False,
) -> Image.Image:
    """One sheet of one image.

    With a single reference there is no picture of which reference was taken from: it would be of one colour.

    Args:
        maps: a recording with shares.
        generated: the generated picture.
        references: the picture of each reference.
        choice: what to take of the recording; of several references its own does not matter.
        further: maps of the generated picture that go beside it, by side; of several references those of the chosen one.
        last: what stands below all else, see `look_details.details`.
        notes: what is said below.
        title: written above everything.
        without_sinks: sinks are left out of the shares and of G2R, and a note says so.

    Raises:
        UnavailableError: the recording has no shares.
        I2AMError: the generated picture has another shape than the recorded one.
    """
    parts = share(maps, choice)
    check_pictures(parts, [generated])
    of_all, names = mean_shares(parts), list(parts.labels[: len(maps.references)])
    routed = Routed.of(maps, choice, names, without_sinks) if has_routes(maps, choice) else None
    bars = [(_bars(names, of_all, routed), "")]
    several = len(names) > 1
    count = 1 + several + len(further)
    room = WIDE - GAP * (count - 1) - (BARS + GAP) * several
    picture = tall(generated, min(TALL, int(room * generated.height / generated.width / count)))
    first = [(picture, "generated")]
    if several:
        first.append((paint_which(picture, which_reference(maps, choice)), "which reference was taken from most"))
    of = names[choice.reference] if several else ""
    first += [(drawn(picture, heat, picture.height), labelled(heat, maps.notes, of)) for heat in further.values()]
    rows, heads = [in_a_row([*first, *(bars if several else [])], PRINT, GAP)], [""]
    percents = in_percent(of_all)
    if several:
        for start in range(0, len(names), MOST):
            indices = range(start, min(start + MOST, len(names)))
            labels = [f"{name}: {f'{percents[name]}%' if routed is None else routed.told(name)}" for name in names]
            rows.append(_used(maps, references, choice, labels, indices, without_sinks))
            heads.append(f"What was used of each reference (G2R), and its share; {CAPTIONS['G2R'][1]}" if not start else "")
    else:
        rows.append(_used_alone(maps, references[0], choice, names[0], bars, without_sinks))
        heads.append("What was used of the reference (G2R), and what attention went to")
    strip = _strip(maps, picture, choice, max(row.width for row in rows))
    if strip is not None:
        rows.append(strip)
        heads.append(f"Over time, from noise to picture: {_over_time_what(maps)}, and the shares")
    words = word_row(maps, picture, choice)
    if words is not None:
        rows.append(words)
        heads.append(WORDS_HEAD)
    if last is not None:
        rows.append(last)
        heads.append(HEAD)
    if without_sinks and routed is not None and strip is not None:
        notes = [*notes, "the shares over time have the sinks in them"]
    if without_sinks and routed is None:
        notes = [*notes, f"no sinks are left out of the shares: {UNASKED}"]
    own = parts.notes if routed is None else (*routed.notes, *(note for note in parts.notes if note != DIRECT))
    said = dict.fromkeys([*notes, *own])
    return framed(in_a_column(rows, PRINT, heads), title, list(said), PRINT)


def joint_pictures(maps: AttributionMaps, generated: Image.Image, choice: Choice) -> dict[str, Image.Image]:
    """What a page shows beside its maps, by caption: shares as bars, and a small picture of each time group.

    There is nothing of a recording without shares.

    Args:
        maps: a recording.
        generated: the generated picture.
        choice: what to take of the recording.
    """
    if not has_shares(maps, choice):
        return {}
    of_all, count = mean_shares(share(maps, choice)), len(maps.references)
    names = list(of_all)[:count]
    routed = Routed.of(maps, choice, names) if has_routes(maps, choice) else None
    found = {"what attention went to": _bars(names, of_all, routed)}
    over_time = _over_time(maps, choice)
    if over_time is not None:
        cells = _cells(maps, generated, choice, over_time, NARROW)
        found |= {f"{time}: {_over_time_what(maps)}, and the shares": cell for cell, time in cells}
    return found


def _bars(names: Sequence[str], of_all: dict[str, float], routed: Routed | None) -> Image.Image:
    """The shares of the whole picture as bars, by route where known; of several references with the key to their colours."""
    colours = colours_of_parts(list(of_all), len(names))
    bars = share_bars(of_all, colours, BARS, PRINT) if routed is None else routed.bars(BARS, PRINT)
    parts, heads = [bars], ["Shares of attention"]
    if len(names) > 1:
        parts.append(which_key(names, BARS, PRINT, named=False))
        heads.append("Which reference: its share among references")
    return in_a_column(parts, PRINT, heads)


def _used(
    maps: AttributionMaps,
    references: Sequence[Shown],
    choice: Choice,
    labels: Sequence[str],
    indices: Sequence[int],
    without: bool,
) -> Image.Image:
    """References side by side, of one height, each with its G2R."""
    shapes = [references[i].picture.width / references[i].picture.height for i in indices]
    height = min(TALL, int((WIDE - GAP * (len(indices) - 1)) / sum(shapes)))
    items = []
    for i in indices:
        heat = _g2r(maps, replace(choice, reference=i), without)
        items.append((drawn(references[i].picture, heat, height), f"{labels[i]}\n{references[i].remark}"))
    return in_a_row(items, PRINT, GAP, swatches=[colour_of_reference(i) for i in indices])


def _used_alone(
    maps: AttributionMaps,
    reference: Shown,
    choice: Choice,
    name: str,
    bars: Sequence[tuple[Image.Image, str]],
    without: bool,
) -> Image.Image:
    """The only reference, its G2R, and what stands beside them."""
    shape = reference.picture.width / reference.picture.height
    height = min(TALL, int((WIDE - BARS - 2 * GAP) / shape / 2))
    heat = _g2r(maps, choice, without)
    used = drawn(reference.picture, heat, height), labelled(heat, maps.notes)
    return in_a_row([(tall(reference.picture, height), f"{name}\n{reference.remark}"), used, *bars], PRINT, GAP)


def _g2r(maps: AttributionMaps, choice: Choice, without: bool) -> Heat:
    """G2R of a reference, without its sinks if asked for."""
    heat = ulam(maps, "G2R", choice)
    if not without:
        return heat
    return without_sinks_of(heat, sinks(maps, choice), choice.reference, reference_grid(maps, choice.reference))


def _over_time_what(maps: AttributionMaps) -> str:
    return "which reference" if len(maps.references) > 1 else "how much of the reference, on one scale"


def _strip(maps: AttributionMaps, picture: Image.Image, choice: Choice, width: int) -> Image.Image | None:
    """A small picture for each time group, over its shares; None: the run has no two groups that were kept apart."""
    of_all = _over_time(maps, choice)
    if of_all is None:
        return None
    gap, count = GAP // 2, len(of_all.split())
    most = (width - gap * (count - 1)) // count
    each = min(most, max(NARROW, picture.width * TALL * 2 // 3 // picture.height))
    cells = _cells(maps, picture, choice, of_all, each)
    return in_a_row([(cell, time.replace(" · ", "\n")) for cell, time in cells], PRINT, gap)


def _cells(
    maps: AttributionMaps, picture: Image.Image, choice: Choice, of_all: Heat, width: int
) -> list[tuple[Image.Image, str]]:
    """A small picture for each time group, over its shares, and the time."""
    base, bar = tall(picture, round(width * picture.height / picture.width)), round(PRINT * 1.1)
    cells = []
    for shown, parts in zip(_small(maps, base, choice, of_all), of_all.split(), strict=True):
        time, names = told_apart(parts.labels)
        cell = Image.new("RGB", (width, base.height + bar + 4), PAPER)
        cell.paste(shown, (0, 0))
        shares = dict(zip(names, mean_shares(parts).values(), strict=True))
        cell.paste(stacked_bar(shares, colours_of_parts(names, len(maps.references)), width, bar), (0, base.height + 4))
        cells.append((cell, time))
    return cells


def _small(maps: AttributionMaps, base: Image.Image, choice: Choice, of_all: Heat) -> list[Image.Image]:
    """A picture for each time group: which reference, or how much of the only one, all on one scale."""
    firsts = range(0, len(of_all.labels), of_all.parts)
    if len(maps.references) == 1:
        return overlays([base], of_all.panels(firsts), Look(scale="shared"), colour_bar=False)
    return [paint_which(base, one) for one in which_reference(maps, choice, groups=len(firsts)).split()]


def _over_time(maps: AttributionMaps, choice: Choice) -> Heat | None:
    """All shares of each time group; as many groups as the recording allows."""
    for groups in range(GROUPS, 1, -1):
        try:
            found = share(maps, choice, groups=groups)
        except UnavailableError:  # steps that were kept together
            continue
        return None if len(found.labels) == found.parts else found  # None: a single step
    return None
