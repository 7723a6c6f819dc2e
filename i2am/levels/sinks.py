"""Sinks: tokens that take much attention whatever a patch shows. They are found, and told with their shares.

A softmax has to put its weight somewhere. Where a patch has nothing to look for, models learn to put it on some token that
brings little. Such tokens stand out among all others, and take about the same from every patch, other than a part of a
reference that some patches show. Attention to them is real, but it says little of where the picture was taken from. They can be
left out, and then a note says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import UnavailableError
from ..geometry.layout import TokenGrid
from ..geometry.pooling import cell_of_each
from ..geometry.thinning import weights_of
from ..geometry.words import Word
from ..maps.facts import LayerInfo
from ..maps.value import AttributionMaps
from .choice import EVERYTHING, Choice
from .heat import Heat
from .presets import preset_of
from .selection import Selection, select
from .share import DIRECTLY, ITSELF, THROUGH, mean_shares, part_names, route_layers, routes
from .steps import time_mean
from .words import words

LEAST = 0.01
"""A sink takes at least this share of all attention,"""
FAR = 20.0
"""and at least this multiple of what each token would get if all got the same,"""
STEADY = 0.5
"""and the standard deviation of its share over the generated patches is at most this part of its mean."""
MOST_TOLD = 6
"""Tokens or words that are named one by one."""
QUOTED = ("word", "template", "special")
"""Kinds of words that are told as they stand in the text."""
RULE = (
    f"a sink is a token that takes at least {LEAST:.0%} of all attention and {FAR:g} times an even share, and about the same "
    f"from every patch: the standard deviation is at most {STEADY:g} of the mean"
)


@dataclass(frozen=True)
class Sink:
    """A token that takes much attention whatever a patch shows.

    Attributes:
        of: "text", or the reference's name.
        reference: which one, counted from 0; None: it is of the text.
        token: which of the text's or the reference's tokens, counted from 0, the reference's leading ones first.
        share: of all attention, the mean over the patches.
        variation: its standard deviation over them, as a part of the share.
        handed_on: of a token of the text, what goes on through it to each reference, in order.
        layers: in which it is a sink; ``share`` and ``handed_on`` are those of these layers, as parts of the mean over all
            chosen ones, and ``variation`` is the largest.
        word: of a token of the text, the word that it belongs to; None: its words have no names.
    """

    of: str
    reference: int | None
    token: int
    share: float
    variation: float
    handed_on: tuple[float, ...] = ()
    layers: tuple[str, ...] = ()
    word: Word | None = None

    def in_all(self, weight: float) -> Sink:
        """A sink of one layer as its part of the mean over several."""
        return replace(self, share=weight * self.share, handed_on=tuple(weight * part for part in self.handed_on))

    def and_in(self, other: Sink) -> Sink:
        """The same token's parts in further layers."""
        return replace(
            self,
            share=self.share + other.share,
            variation=max(self.variation, other.variation),
            handed_on=tuple(a + b for a, b in zip(self.handed_on, other.handed_on, strict=True)),
            layers=(*self.layers, *other.layers),
        )


@dataclass(frozen=True)
class Sinks:
    """The sinks of a run, the largest first, and what could not be looked at."""

    found: tuple[Sink, ...]
    notes: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """What they take together."""
        return sum(sink.share for sink in self.found)


def sinks(maps: AttributionMaps, choice: Choice = EVERYTHING, *, preset: str = "default") -> Sinks:
    """The tokens of the text and of references that are sinks by `RULE` in at least one of the chosen layers.

    Of the text's tokens the variation is over the recorded patches; of a reference's it is that of the cell that the token lies
    in, over the cells of the generated picture (see `Recorder`: cells), so it is known where pairwise maps were kept.

    Args:
        maps: a recording of joint attention.
        choice: what to take of the recording; which reference it names does not matter.
        preset: decides which layers to take if the choice leaves them open.

    Raises:
        UnavailableError: the choice does not exist.
    """
    layers = select(maps, preset_of(preset), replace(choice, reference=0), side="share").layers
    total, found = sum(x.heads for x in layers), dict[tuple[int | None, int], Sink]()
    failed: dict[str, dict[str, str]] = {}
    for layer in layers:
        own = replace(choice, layers=(layer.name,))
        for of, reference in [("text", None), *((r.name, i) for i, r in enumerate(maps.references))]:
            try:
                new = list(_of_text(maps, own, preset) if reference is None else _of_reference(maps, own, preset, reference))
            except UnavailableError as error:
                failed.setdefault("the text" if reference is None else of, {})[layer.name] = str(error)
                continue
            for one in new:
                part, place = one.in_all(layer.heads / total), (reference, one.token)
                found[place] = found[place].and_in(part) if place in found else part
    notes = []
    for of, why in failed.items():
        where = "" if len(why) == len(layers) else f" in {', '.join(why)}"
        notes.append(f"sinks of {of} were not looked for{where}: {next(iter(why.values()))}")
    return Sinks(tuple(sorted(found.values(), key=lambda sink: -sink.share)), tuple(notes))


def _of_text(maps: AttributionMaps, choice: Choice, preset: str) -> Iterator[Sink]:
    """Those of one layer."""
    text = words(maps, replace(choice, reference=0), preset=preset)
    for i in _far(text.share, text.keys):
        share, spread = float(text.share[i]), float(text.spread[i])
        if spread <= STEADY * share:
            word = next((word for word in text.names if word.start <= i < word.stop), None)
            yield Sink("text", None, i, share, spread / share, tuple(text.handed_on[:, i].tolist()), _names(choice), word)


def _names(choice: Choice) -> tuple[str, ...]:
    return tuple(choice.layers or ())


def _far(share: Tensor, keys: int) -> list[int]:
    """The tokens that take enough."""
    return [int(i) for i in (share >= max(LEAST, FAR / keys)).nonzero()[:, 0]]


def _of_reference(maps: AttributionMaps, choice: Choice, preset: str, index: int) -> Iterator[Sink]:
    """Those of one layer."""
    selection = select(maps, preset_of(preset), replace(choice, reference=index), side="G2R")
    (layer,) = selection.layers
    share = time_mean(maps, "g2r", layer, selection, selection.steps).mean(0)
    far = _far(share, layer.keys_of(index, choice.branch))
    if not far:
        return
    variation = _variation(maps, selection, layer.references[index].grid)
    for token in far:
        if float(variation[token]) <= STEADY:
            name = maps.references[index].name
            yield Sink(name, index, token, float(share[token]), float(variation[token]), (), _names(choice))


def _variation(maps: AttributionMaps, selection: Selection, grid: TokenGrid) -> Tensor:
    """(S,): of each token's cell, the standard deviation of its share over the generated cells as a part of its mean."""
    names = {x.name for x in selection.layers}
    pairs = maps.pair_layers(selection.branch, selection.reference)
    layers = [x for x in pairs if x.name in names or len(pairs) == 1]
    if not layers:
        raise UnavailableError("no pairwise maps were kept of the chosen layers, which tell how even it is")
    spreads, means = zip(*(_spread(maps, x, selection) for x in layers), strict=True)
    mean = torch.stack(means).sum(0)
    of_cell = torch.stack(spreads).sum(0) / mean.clamp_min(torch.finfo(torch.float32).tiny)
    cell = cell_of_each(grid, max(x.cells for x in layers))
    return torch.cat([of_cell[: grid.leading], of_cell[grid.leading :][cell]])


def _spread(maps: AttributionMaps, layer: LayerInfo, selection: Selection) -> tuple[Tensor, Tensor]:
    """(cells,) each: standard deviation and mean over the generated cells of the mean over time groups and heads."""
    start, stop = selection.steps
    inside = [i for i, (a, b) in enumerate(maps.groups) if a < stop and b > start]
    count = torch.tensor([maps.steps_seen(maps.groups[i], selection.reference) for i in inside], dtype=torch.float32)
    rows = maps.pairwise(layer.name, selection.branch, selection.reference)[selection.image, inside].mean(1)  # (groups, N, S)
    whole = (rows * (count / count.sum().clamp_min(1))[:, None, None]).sum(0)
    weights = weights_of(layer.grid)
    weights = weights / weights.sum()
    mean = weights @ whole
    return (weights @ (whole - mean).square()).sqrt(), mean


def shares_without(maps: AttributionMaps, choice: Choice = EVERYTHING) -> tuple[dict[str, float], str]:
    """The mean shares by route with the sinks left out, which add up to 1 again, and the note that says so.

    Args:
        maps: a recording with routes.
        choice: what to take of the recording; layers without the route are left out.

    Raises:
        UnavailableError: see `share.routes`.
    """
    shares, names = mean_shares(routes(maps, choice)), part_names(maps, choice)
    found = sinks(maps, replace(choice, layers=route_layers(maps, choice)))
    for sink in found.found:
        if sink.reference is not None:
            shares[f"{names[sink.reference]} {DIRECTLY}"] -= sink.share
            continue
        for name, through in zip(names, sink.handed_on, strict=True):
            shares[f"{name} {THROUGH}"] -= through
        shares[ITSELF] -= sink.share - sum(sink.handed_on)
    left = {name: max(0.0, share) for name, share in shares.items()}
    total = sum(left.values())
    return {name: share / total for name, share in left.items()} if total > 0 else left, left_out(found)


def without_sinks(heat: Heat, found: Sinks, reference: int, grid: TokenGrid) -> Heat:
    """A G2R map with a reference's sinks set to 0 and a note that says so; unchanged where there are none.

    Args:
        heat: on the grid of the reference.
        found: of the same choice.
        reference: which one, counted from 0.
        grid: its tokens.

    Raises:
        UnavailableError: the map lies on another grid.
    """
    own = [sink for sink in found.found if sink.reference == reference]
    if not own:
        return heat
    if tuple(heat.values.shape[1:]) != (grid.rows, grid.columns):
        raise UnavailableError("sinks can be left out of a map on the reference's own tokens; choose layers of one grid")
    values = heat.values.clone()
    for sink in own:
        if sink.token >= grid.leading:
            values.flatten(1)[:, sink.token - grid.leading] = 0
    return replace(heat, values=values, notes=(left_out(Sinks(tuple(own))), *heat.notes))


def told(found: Sinks) -> str:
    """What is said of a run's sinks, in a sentence: those of the text by their words, with the share of each, where known.

    >>> told(Sinks((Sink("text", None, 3, 0.21, 0.1, (), ("a",)), Sink("text", None, 0, 0.2, 0.1, (), ("a",)))))
    'sinks take 41 % of the attention: tokens 0 and 3 of the text, in the layer a'
    >>> told(Sinks((Sink("text", None, 0, 0.37, 0.1, (), ("a",), Word("<s>", 0, 1, "special")),)))
    'sinks take 37 % of the attention: "<s>" (37 %) of the text, in the layer a'
    """
    if not found.found:
        return ""
    places = []
    for name, index in dict.fromkeys((sink.of, sink.reference) for sink in found.found):
        own = [sink for sink in found.found if (sink.of, sink.reference) == (name, index)]
        listed = _by_word(own) if any(sink.word for sink in own) else _by_token(own)
        places.append(f"{listed} of {'the text' if index is None else name}")
    layers = list(dict.fromkeys(layer for sink in found.found for layer in sink.layers))
    where = f"in the layer {layers[0]}" if len(layers) == 1 else f"in {len(layers)} layers"
    return f"sinks take {100 * found.share:.2g} % of the attention: {', '.join(places)}, {where}"


def _by_token(own: Sequence[Sink]) -> str:
    """Sinks by their numbers."""
    tokens = sorted(sink.token for sink in own)
    return f"token{'s' if len(own) > 1 else ''} {_few([str(token) for token in tokens])}"


def _by_word(own: Sequence[Sink]) -> str:
    """Sinks by the words that they belong to, each with what its sinks take, the largest first."""
    shares: dict[str, float] = {}
    for sink in own:
        word = sink.word
        name = f"token {sink.token}" if word is None else f'"{word.name}"' if word.kind in QUOTED else word.name
        shares[name] = shares.get(name, 0.0) + sink.share
    ordered = sorted(shares, key=lambda name: -shares[name])
    return _few([f"{name} ({100 * shares[name]:.2g} %)" for name in ordered])


def _few(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    few, more = list(names[:MOST_TOLD]), len(names) - MOST_TOLD
    listed = few[0] if len(few) == 1 else f"{', '.join(few[:-1])} and {few[-1]}"
    return f"{listed} and {more} more" if more > 0 else listed


def left_out(found: Sinks) -> str:
    """The note of what shows no sinks."""
    return f"left out: {told(found)}" if found.found else "no sinks were found, so none is left out"
