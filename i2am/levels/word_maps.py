"""Maps of words: what each generated patch reads of each word of the prompt, beside pictures and the rest; they add up to 1.

Words are references without places. What a patch's attention spends on their tokens and on pictures comes from one softmax, so
that a word's map can be held against a reference's: no map of a word is stretched to its own range, or normalised apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import UnavailableError, shown
from ..geometry.resample import bilinear
from ..geometry.words import Word, find, repeated
from ..maps.facts import TOGETHER, LayerInfo, Range
from ..maps.kinds import NO_NAMES, NO_WORDS, shown_as
from ..maps.value import AttributionMaps
from .available import refuse_heads
from .choice import EVERYTHING, Choice, check_choice
from .grids import common_grid, is_sized, picture_size
from .heat import Heat
from .presets import preset_of
from .selection import Selection, check_reference, select
from .share import DIRECT, in_percent, mean_shares, part_names
from .steps import steps_label, time_groups, time_mean

SIDE = "words"
TEMPLATE, SPECIAL, FILL, UNNAMED = "the prompt's template", "special tokens", "fill", "further text"
POOLED = {"template": TEMPLATE, "special": SPECIAL, "fill": FILL}
"""What words of these kinds are together."""
MOST = 48
"""Words that get a panel of their own; the others, those that take least, are one together."""
FEW = "further words"
WATCH = "put I²AM Watch Text behind the text encoder to have them"
NAMELESS = f"the words have no names: {WATCH}"
MEAN = "maps of words are kept as their mean over {}"


def word_shares(
    maps: AttributionMaps, choice: Choice = EVERYTHING, *, word: str = "", preset: str = "default", groups: int = 1
) -> Heat:
    """What each generated patch reads of each word of the prompt: adds up to 1 at every patch, with references and the rest.

    Args:
        maps: a recording of joint attention with maps of words.
        choice: what to take of the recording: branch, image and steps; its layers are those that were recorded together.
        word: words or phrases to show alone, such as "dress" or "red dress; shoes"; empty: all parts.
        preset: how pictures of it look.
        groups: time groups; each gives a panel of every part, group after group.

    Returns:
        One panel per part, labelled with its name: the words in order (those of the template, special tokens and fill together,
        and a reference's in the encoder's eyes each as one), then the references, "generated" and "other". With ``word`` one
        panel for each of its parts, the sum over all places where it stands.

    Raises:
        UnavailableError: no maps of words were recorded, the choice does not exist, or a word is not in the prompt.
    """
    rules = preset_of(preset)
    check_choice(choice)
    check_reference(maps, choice.reference)
    selection = _selected(maps, choice)
    layers = selection.layers
    known = maps.words_of(selection.branch)
    tokens = dict(layers[0].words)[selection.branch]
    ranges: list[Range] = [selection.steps]
    few: tuple[str, ...] = ()
    if groups != 1:
        ranges, few = time_groups(maps, selection, groups, choice.steps is not None)
    reads = [_reads(maps, selection, layers[0], steps) for steps in ranges]
    if word.strip():
        named = _named(known or _numbered(tokens), _others(maps, layers, choice))
        parts = _asked(known, named, tokens, word, _why_nameless(maps, selection.branch))
        found = [{name: panel[own].sum(0) for name, own in parts.items()} for panel in reads]
    else:
        parts = _named_parts(maps, selection, choice, reads)
        found = [{name: panel[own].sum(0) for name, own in parts.items()} for panel in reads]
        found = [own | _rest(maps, selection, layers, steps, choice) for own, steps in zip(found, ranges, strict=True)]
    about = [f" · {steps_label(maps, x)}" if groups > 1 else "" for x in ranges]
    grid, (_, said) = common_grid(maps, "generated"), shown_as(SIDE)
    names = () if known or _why_nameless(maps, selection.branch) else (NAMELESS,)
    return Heat(
        values=torch.stack([value for own in found for value in own.values()]),
        side=SIDE,
        picture="generated",
        level="ULAM" if groups == 1 else "TLAM",
        labels=tuple(f"{name}{which}" for own, which in zip(found, about, strict=True) for name in own),
        size=picture_size(grid),
        sized=is_sized(grid),
        rect=grid.rect,
        notes=(*said.notes, DIRECT, together(maps), *names, *few, *maps.notes),
        colours=rules.colours,
        threshold=rules.threshold,
        order=rules.order,
        parts=0 if word.strip() else len(found[0]),
        edge=grid.edge,
    )


def has_word_maps(maps: AttributionMaps, branch: str = "cond") -> bool:
    """Whether a recording has maps of words."""
    return bool(maps.word_layers) and maps.has("word_maps", TOGETHER, branch)


def reads_by_word(maps: AttributionMaps, choice: Choice = EVERYTHING) -> dict[Word, Tensor]:
    """Each word of the text that has a name, of any kind, and what each generated patch reads of it, (h, w).

    Raises:
        UnavailableError: no maps of words were recorded, the choice does not exist, or the words have no names.
    """
    check_choice(choice)
    selection = _selected(maps, choice)
    known = maps.words_of(selection.branch)
    if not known:
        raise UnavailableError(f"words are unavailable: {NAMELESS}")
    reads = _reads(maps, selection, selection.layers[0], selection.steps)
    return {word: reads[word.start : word.stop].sum(0) for word in known}


def reads_by_part(maps: AttributionMaps, choice: Choice, ranges: Sequence[Range]) -> dict[str, Tensor]:
    """What is read of each part of the text, as `word_shares` names them, without references and the rest.

    Args:
        maps: a recording with maps of words.
        choice: what to take of the recording.
        ranges: of steps, each a union of time groups.

    Returns:
        (ranges, h, w) of each part, on the common grid.

    Raises:
        UnavailableError: as `word_shares`.
    """
    check_choice(choice)
    selection = _selected(maps, choice)
    reads = [_reads(maps, selection, selection.layers[0], steps) for steps in ranges]
    named = _named_parts(maps, selection, choice, reads)
    return {name: torch.stack([panel[own].sum(0) for panel in reads]) for name, own in named.items()}


def together(maps: AttributionMaps) -> str:
    """The note on the layers that maps of words are the mean over."""
    names = maps.word_layers
    return MEAN.format(f"the recorded layers ({len(names)})" if len(names) > 3 else ", ".join(names))


def told_words(heat: Heat) -> list[str]:
    """Each part's mean share over the picture, such as "dress: 3.2 %", in the order of the panels.

    Parts that add up to 1 are in whole tenths of a per cent that add up to 100.
    """
    shares = mean_shares(heat)
    if not heat.parts:
        return [f"{name}: {100 * share:.3g} %" for name, share in shares.items()]
    told = []
    for whole in heat.split():
        tenths = in_percent({name: 10 * share for name, share in mean_shares(whole).items()})
        told += [f"{name}: {tenth / 10:.1f} %" for name, tenth in tenths.items()]
    return told


def _selected(maps: AttributionMaps, choice: Choice) -> Selection:
    """The layers that maps of words are the mean over, with the choice's steps, branch and image."""
    if choice.heads is not None:
        refuse_heads(SIDE)
    own = replace(choice, reference=0, layers=maps.word_layers or None)
    selection = select(maps, preset_of("default"), own, side=SIDE)
    if not has_word_maps(maps, selection.branch):
        raise UnavailableError(f"words are unavailable: {NO_WORDS}")
    if choice.layers is not None:
        wanted = {x.name for x in select(maps, preset_of("default"), replace(choice, reference=0), side=SIDE).layers}
        if wanted != set(maps.word_layers):
            raise UnavailableError(
                f"{MEAN.format(', '.join(maps.word_layers))}, so they do not exist for other layers; leave the choice of "
                f"layers out, or record those layers alone"
            )
    return selection


def _reads(maps: AttributionMaps, selection: Selection, layer: LayerInfo, steps: Range) -> Tensor:
    """(T, h, w) on the common grid: what each patch reads of each token of the text."""
    grid = common_grid(maps, "generated")
    (values,) = time_mean(maps, "word_maps", replace(layer, name=TOGETHER), selection, steps)
    return bilinear(values.reshape(-1, layer.grid.rows, layer.grid.columns), (grid.rows, grid.columns))


def _rest(
    maps: AttributionMaps, selection: Selection, layers: Sequence[LayerInfo], steps: Range, choice: Choice
) -> dict[str, Tensor]:
    """(h, w) of each reference and of each part of the keys that is no text, the mean over the same layers."""
    grid, total = common_grid(maps, "generated"), sum(x.heads for x in layers)
    found: dict[str, Tensor] = {}

    def add(name: str, layer: LayerInfo, values: Tensor) -> None:
        panel = values.reshape(-1, layer.grid.rows, layer.grid.columns).mean(0, keepdim=True)
        part = bilinear(panel, (grid.rows, grid.columns))[0] * (layer.heads / total)
        found[name] = found[name] + part if name in found else part

    for layer in layers:
        for i, name in enumerate(part_names(maps, choice)):
            add(name, layer, time_mean(maps, "mass", layer, replace(selection, reference=i), steps))
        rest = time_mean(maps, "rest", layer, selection, steps)
        for i, name in enumerate(layer.rest):
            if name not in layer.texts:
                add(name, layer, rest[:, i])
    return found


def _others(maps: AttributionMaps, layers: Sequence[LayerInfo], choice: Choice) -> set[str]:
    """The names of the parts that are no words."""
    return {*part_names(maps, choice), *(name for layer in layers for name in layer.rest if name not in layer.texts)}


def _numbered(tokens: int) -> tuple[Word, ...]:
    """What tokens are called whose strings are not known, counted from 0 as sinks are."""
    return tuple(Word(f"token {i}", i) for i in range(tokens))


def _named_parts(maps: AttributionMaps, selection: Selection, choice: Choice, reads: Sequence[Tensor]) -> dict[str, list[int]]:
    """The tokens of each part of the text by its name, which no part of the rest has."""
    tokens = dict(selection.layers[0].words)[selection.branch]
    words, others = maps.words_of(selection.branch) or _numbered(tokens), _others(maps, selection.layers, choice)
    parts = _parts(words, _named(words, others), tokens, torch.stack([panel.mean((1, 2)) for panel in reads]).sum(0))
    return dict(zip(repeated(tuple(parts), others), parts.values()))


def _named(words: Sequence[Word], others: Iterable[str]) -> dict[str, Word]:
    """The words that may have a panel of their own, by what it is called: none has the name of another part, ``others`` too."""
    own = [word for word in words if word.kind not in POOLED]
    return dict(zip(repeated([word.name for word in own], (*POOLED.values(), FEW, UNNAMED, *others)), own))


def _parts(words: Sequence[Word], named: Mapping[str, Word], tokens: int, taken: Tensor) -> dict[str, list[int]]:
    """The tokens of each part that is shown, ``taken`` (T,) being what they take; two words of one name have two parts."""
    share = {name: float(taken[word.start : word.stop].sum()) for name, word in named.items()}
    large = set(sorted(named, key=lambda name: -share[name])[:MOST])
    apart = {name: _tokens(word) for name, word in named.items() if name in large}
    further = [token for name, word in named.items() if name not in large for token in _tokens(word)]
    pooled = {name: [t for word in words if word.kind == kind for t in _tokens(word)] for kind, name in POOLED.items()}
    held = {token for word in words for token in _tokens(word)}
    left = [token for token in range(tokens) if token not in held]
    return {name: own for name, own in {**apart, FEW: further, **pooled, UNNAMED: left}.items() if own}


def _tokens(word: Word) -> list[int]:
    return list(range(word.start, word.stop))


def _why_nameless(maps: AttributionMaps, branch: str) -> str:
    """What the recording says of why words have no names, as a part of a sentence; nothing: it does not."""
    told = (NO_NAMES.format(branch), "the words have no names")
    return next((note.partition(": ")[2] for note in maps.notes if note.startswith(told)), "")


def _asked(known: Sequence[Word], named: Mapping[str, Word], tokens: int, text: str, why: str) -> dict[str, list[int]]:
    """The tokens of each word or phrase that a person asked for.

    Args:
        known: the words that have names.
        named: what panels of single words are called, see `_named`.
        tokens: how many the text has.
        text: what was asked for.
        why: there are none, if that is known.

    Raises:
        UnavailableError: one of them is not in the prompt; names what is.
    """
    words, whole = known or _numbered(tokens), text.strip()
    asked: Iterable[str] = [whole]
    if whole not in POOLED.values() and whole not in named and not find(words, whole):
        asked = [part.strip() for part in re.split(r"[,;\n]", whole) if part.strip()]
    found: dict[str, list[int]] = {}
    for part in asked:
        kinds = [kind for kind, name in POOLED.items() if name == part]
        own = [t for word in words if word.kind in kinds for t in _tokens(word)]
        own = own or sorted({t for place in find(words, part) for i in place for t in _tokens(words[i])})
        own = own or (_tokens(named[part]) if part in named else [])
        if not own:
            raise UnavailableError(_not_found(part, known, tokens, why))
        found[part] = own
    if not found:
        raise UnavailableError(
            f"word is {shown(repr(text), 60)}, which names none; give a word of the prompt, or nothing for all"
        )
    return found


def _not_found(wanted: str, known: Sequence[Word], tokens: int, why: str) -> str:
    """That a word is not among those that have names, which of them there are, and what has none."""
    wanted = shown(repr(wanted), 100)
    if not known:
        return (
            f"the word {wanted} cannot be looked for, because the words have no names: {why or WATCH}; until then ask for "
            f"tokens, such as 'token 3' of 'token 0' to 'token {tokens - 1}'"
        )
    names = list(dict.fromkeys(word.name for word in known if word.kind not in POOLED))
    listed = ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")
    loose = tokens - len({token for word in known for token in _tokens(word)})
    behind = (
        f"; {loose} further tokens that a node put behind them (such as Conditioning Concat) have no names" if loose else ""
    )
    return (
        f"the word {wanted} is not in the prompt; its words are: {shown(listed, 600) or 'none'}; several are given with ';' "
        f"between them{behind}"
    )
