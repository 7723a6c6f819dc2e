"""How each generated patch's attention is split: between references, text and the picture itself, or between references alone.

Joint attention has all of them in one softmax, so that their shares add up to 1 at every patch. A map of one reference says
where it was taken from; these say what it was taken beside. `share` and `which_reference` are of the direct way alone: in these
models the text reads the references too, and hands on what it read. `routes` takes that part of the text's share apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import UnavailableError
from ..geometry.layout import TokenGrid
from ..geometry.resample import bilinear
from ..geometry.thinning import weights_of
from ..maps.facts import LayerInfo, Range
from ..maps.kinds import UNASKED, shown_as
from ..maps.value import AttributionMaps
from .choice import EVERYTHING, Choice, check_choice
from .grids import common_grid, is_sized, picture_size
from .heat import Heat
from .presets import preset_of
from .selection import Selection, check_reference, select
from .steps import steps_label, time_groups, time_mean

DIRECT = "direct attention alone: text tokens read the references too, and hand on what they read"
SIDES = ("share", "which reference", "routes")
DIRECTLY, THROUGH, ITSELF = "directly", "via text", "the text itself"
"""How the labels of routes end, and what they call that part of the text's share that goes on to no reference."""


def share(
    maps: AttributionMaps,
    choice: Choice = EVERYTHING,
    *,
    preset: str = "default",
    groups: int = 1,
    one_by_one: bool = False,
) -> Heat:
    """What each generated patch spends on each reference, each text and the generated picture: adds up to 1 at every patch.

    Args:
        maps: a recording of joint attention.
        choice: what to take of the recording; which reference it names does not matter, as long as there is one of this number.
        preset: decides which layers to take if the choice leaves them open.
        groups: time groups; each gives a panel of every part, group after group.
        one_by_one: each layer gives a panel of every part, layer after layer, in place of their mean; then ``groups`` is 1.

    Returns:
        One panel per part, labelled with its name: the references in order, then texts, "generated" and "other".

    Raises:
        UnavailableError: the choice does not exist, the recording is not of joint attention, ``groups`` is less than 1, or
            there are several beside ``one_by_one``.
    """
    return _split(maps, "share", choice, preset, groups, one_by_one)


def which_reference(
    maps: AttributionMaps,
    choice: Choice = EVERYTHING,
    *,
    preset: str = "default",
    groups: int = 1,
    one_by_one: bool = False,
) -> Heat:
    """How what each generated patch takes from references is split between them: the shares among references alone.

    One panel per reference. See `share`; a patch that takes nothing from any reference gives each an equal part.
    """
    return _split(maps, "which reference", choice, preset, groups, one_by_one)


def routes(
    maps: AttributionMaps,
    choice: Choice = EVERYTHING,
    *,
    preset: str = "default",
    groups: int = 1,
    one_by_one: bool = False,
) -> Heat:
    """By which way each generated patch takes from each reference: adds up to 1 at every patch.

    The share of the text, Σ_t A[g, t], is split by what its tokens look at in their turn, Σ_t A[g, t] · mass_r(t) for each
    reference r (see `recording.text_route`); what is left of it is the text's itself.

    See `share`.

    Returns:
        One panel per part: of each reference, "… directly" and "… via text"; then "the text itself", "generated" and "other".

    Raises:
        UnavailableError: as `share`; or the text's own queries were not recorded.
    """
    return _split(maps, "routes", choice, preset, groups, one_by_one)


def routes_of(shares: Mapping[str, float], name: str) -> tuple[float, float]:
    """What goes to a reference directly, and via text, of means by label as `mean_shares` gives them of `routes`."""
    return shares[f"{name} {DIRECTLY}"], shares[f"{name} {THROUGH}"]


def route_layers(maps: AttributionMaps, choice: Choice = EVERYTHING, *, preset: str = "default") -> tuple[str, ...]:
    """The names of those of the chosen layers that have the route via text.

    Raises:
        UnavailableError: the choice does not exist.
    """
    layers = select(maps, preset_of(preset), replace(choice, reference=0), side="routes").layers
    return tuple(x.name for x in layers if maps.has("via_text", x.name, choice.branch))


def has_routes(maps: AttributionMaps, choice: Choice = EVERYTHING) -> bool:
    """Whether a recording has the route via text."""
    return any(maps.has("via_text", layer.name, choice.branch) for layer in maps.layers)


def mean_shares(heat: Heat) -> dict[str, float]:
    """The mean of each panel over the picture's tokens by its label, such as for a bar; shares add up to 1.

    Cells at the edge that hold fewer tokens count less.
    """
    _, rows, columns = heat.values.shape
    weights = weights_of(TokenGrid(rows, columns, edge=heat.edge)).double()
    means = heat.values.flatten(1).double() @ weights / weights.sum()
    return dict(zip(heat.labels, means.tolist(), strict=True))


def in_percent(shares: Mapping[str, float]) -> dict[str, int]:
    """Shares in whole per cent that add up to what the shares do, 100 for all parts, by the method of the largest remainder.

    >>> in_percent({"shirt": 1 / 3, "shoes": 1 / 3, "text": 1 / 3})
    {'shirt': 34, 'shoes': 33, 'text': 33}
    """
    whole = {name: math.floor(100 * share + 1e-9) for name, share in shares.items()}
    missing = round(100 * sum(shares.values())) - sum(whole.values())
    for name in sorted(shares, key=lambda name: whole[name] - 100 * shares[name])[:missing]:
        whole[name] += 1
    return whole


def _split(maps: AttributionMaps, side: str, choice: Choice, preset: str, groups: int, one_by_one: bool) -> Heat:
    rules = preset_of(preset)
    check_choice(choice)
    check_reference(maps, choice.reference)
    if one_by_one and groups != 1:
        raise UnavailableError(
            f"shares are shown by layer or by time, got one_by_one and {groups} groups; leave one of them out"
        )
    selection = select(maps, rules, replace(choice, reference=0), side=side, one_by_one=one_by_one)
    layers = tuple(x for x in selection.layers if maps.has("rest", x.name, selection.branch))
    apart = side == "routes"
    notes: tuple[str, ...] = ()
    if apart and layers:
        every, layers = layers, tuple(x for x in layers if maps.has("via_text", x.name, selection.branch))
        missing = [x.name for x in every if x not in layers]
        notes = (f"layers without the route via text are left out: {', '.join(missing)}",) if missing else ()
        if not layers:
            raise UnavailableError(f"{side} is unavailable: {UNASKED}")
    if not layers:
        raise UnavailableError(
            f"{side} is unavailable: the chosen layers attend to references alone, or they were recorded before I2AM kept the "
            f"shares of text and picture; use the mass of a reference"
        )
    ranges: list[Range] = [selection.steps]
    if groups != 1:
        ranges, few = time_groups(maps, selection, groups, choice.steps is not None)
        notes = (*notes, *few)
    if one_by_one:
        level, about = "LLAM", [f" · {layer.name}" for layer in layers]
        parts = [_parts(maps, selection, (layer,), selection.steps, apart) for layer in layers]
    else:
        level, about = "ULAM" if groups == 1 else "TLAM", [f" · {steps_label(maps, x)}" if groups > 1 else "" for x in ranges]
        parts = [_parts(maps, selection, layers, steps, apart) for steps in ranges]
    if side == "which reference":
        parts = [{name: values[name] for name in _names(maps, layers)} for values in parts]
        parts = [_out_of_all(values) for values in parts]
    grid, (_, shown) = common_grid(maps, "generated"), shown_as(side)
    return Heat(
        values=torch.stack([value for values in parts for value in values.values()]),
        side=side,
        picture="generated",
        level=level,
        labels=tuple(f"{name}{which}" for values, which in zip(parts, about, strict=True) for name in values),
        size=picture_size(grid),
        sized=is_sized(grid),
        rect=grid.rect,
        notes=(*shown.notes, *(() if apart else (DIRECT,)), *notes, *maps.notes),
        colours=rules.colours,
        threshold=rules.threshold,
        order=rules.order,
        parts=len(parts[0]),
        edge=grid.edge,
    )


def part_names(maps: AttributionMaps, choice: Choice = EVERYTHING) -> list[str]:
    """The names that shares and routes give the references."""
    layers = tuple(x for x in maps.layers if maps.has("rest", x.name, choice.branch))
    return _names(maps, layers)


def _names(maps: AttributionMaps, layers: tuple[LayerInfo, ...]) -> list[str]:
    """The references' names; those that another reference or a part has too, with their numbers."""
    names, rest = [r.name for r in maps.references], {name for layer in layers for name in layer.rest}
    taken = rest | {name for name in names if names.count(name) == 1}
    found = []
    for i, name in enumerate(names):
        if name in rest or names.count(name) > 1:
            name = f"{name} ({i + 1})"
            while name in taken:
                name += "′"
            taken.add(name)
        found.append(name)
    return found


def _parts(
    maps: AttributionMaps, selection: Selection, layers: tuple[LayerInfo, ...], steps: Range, apart: bool
) -> dict[str, Tensor]:
    """Each part's share on the common grid, (h, w), the mean over layers and heads; ``apart``: by routes."""
    grid = common_grid(maps, "generated")
    found: dict[str, Tensor] = {}
    heads = [len(selection.heads_of(x)) for x in layers]

    def add(name: str, layer: LayerInfo, weight: float, values: Tensor) -> None:
        panel = values.reshape(-1, layer.grid.rows, layer.grid.columns).mean(0, keepdim=True)
        resized = bilinear(panel, (grid.rows, grid.columns))[0] * weight
        found[name] = found[name] + resized if name in found else resized

    names = _names(maps, layers)
    for layer, count in zip(layers, heads, strict=True):
        for i, name in enumerate(names):
            of = replace(selection, reference=i)
            add(f"{name} {DIRECTLY}" if apart else name, layer, count / sum(heads), time_mean(maps, "mass", layer, of, steps))
            if apart:
                through = time_mean(maps, "via_text", layer, of, steps)
                add(f"{name} {THROUGH}", layer, count / sum(heads), through)
                add(ITSELF, layer, -count / sum(heads), through)
        rest = time_mean(maps, "rest", layer, replace(selection, reference=0), steps)  # (heads, P, N)
        for i, name in enumerate(layer.rest):
            add(ITSELF if apart and name in layer.texts else name, layer, count / sum(heads), rest[:, i])
    if apart:
        itself = found.pop(ITSELF).clamp_min(0)  # rounding alone may bring it below
        ways = 2 * len(names)
        parts = list(found.items())
        found = {**dict(parts[:ways]), ITSELF: itself, **dict(parts[ways:])}
    return found


def _out_of_all(values: dict[str, Tensor]) -> dict[str, Tensor]:
    total = torch.stack(list(values.values())).sum(0)
    tiny = torch.finfo(total.dtype).tiny
    return {n: torch.where(total > tiny, v / total.clamp_min(tiny), 1 / len(values)) for n, v in values.items()}


SHARES: dict[str, Callable[..., Heat]] = {"share": share, "which reference": which_reference, "routes": routes}
"""By side."""


def split_of(maps: AttributionMaps, level: str, side: str, choice: Choice, *, groups: int = 5, preset: str = "default") -> Heat:
    """A level of `share`, `which_reference` or `routes`, given by name, for "ULAM", "TLAM" and "LLAM".

    Raises:
        UnavailableError: there is no such level of it; else as `share`.
    """
    if level not in ("ULAM", "TLAM", "LLAM"):
        raise UnavailableError(
            f"{side} exists as ULAM, TLAM and LLAM, got {level}; to see it per head, choose heads one by one (heads)"
        )
    return SHARES[side](maps, choice, preset=preset, groups=groups if level == "TLAM" else 1, one_by_one=level == "LLAM")
