"""Checks that facts are consistent, and that a file's tensors match them, by their names, types and shapes alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from .bounds import MOST_PICTURES, MOST_PIXELS, MOST_SIDE, MOST_VALUES
from .facts import TOGETHER, Facts, Key, LayerInfo, Range
from .kinds import Kind, tensor_kinds

MASK, THUMBNAIL = "inpaint_mask", "thumbnail|"
"""The names of the inpainting mask, and of a small picture up to its own name."""


@dataclass(frozen=True)
class Shape:
    """What is known of a tensor before it is read: the name of its type, such as "float32", and its size."""

    dtype: str
    size: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {self.size}"


def check_tensors(facts: Facts, names: Sequence[str], shape_of: Callable[[str], Shape]) -> None:
    """Refuse facts that contradict each other, and tensors that do not match them.

    Args:
        facts: within the bounds of the schema.
        names: of every tensor in the file.
        shape_of: gives a tensor's type and size by its name; called only after all names were checked.

    Raises:
        ValueError: something is missing, unknown or of another type or shape.
    """
    _check_facts(facts)
    pictures = [name for name in names if name.startswith(THUMBNAIL)]
    if len(pictures) > MOST_PICTURES:
        raise ValueError(f"{len(pictures)} small pictures, expected at most {MOST_PICTURES}")
    keys = [key_of(name) for name in names if name != MASK and not name.startswith(THUMBNAIL)]
    _check_keys(facts, set(keys))
    if MASK in names:
        _check_mask(facts, shape_of(MASK))
    for name in pictures:
        _check_thumbnail(name[len(THUMBNAIL) :], shape_of(name))
    kinds, layers = tensor_kinds(), {x.name: x for x in facts.layers}
    if facts.layers:
        layers[TOGETHER] = _all_layers(facts)
    for key in keys:
        expected, shape = _shapes(facts, kinds[key[0]], layers[key[1]], key), shape_of(name_of(key))
        if shape not in expected:
            raise ValueError(f"the tensor {name_of(key)!r:.50} is {shape!s:.40}, expected {expected[-1]}")


def key_of(name: str) -> Key:
    """The key of a map's name in a file; the inverse of `name_of`.

    Raises:
        ValueError: it is not the name of a map.

    >>> key_of("r2g|mid|dle|cond|0")
    ('r2g', 'mid|dle', 'cond', 0)
    """
    kind, *rest = name.split("|", 1)
    parts = rest[0].rsplit("|", 2) if rest else []
    if len(parts) != 3 or not (parts[2].isdecimal() and parts[2].isascii() and len(parts[2]) < 5):
        raise ValueError(f"there is a tensor {name!r:.60}, which is not described")
    key = (kind, parts[0], parts[1], int(parts[2]))
    if name_of(key) != name:
        raise ValueError(f"there is a tensor {name!r:.60}, which is not described")
    return key


def name_of(key: Key) -> str:
    """A map's name in a file."""
    return "|".join(map(str, key))


def _check_keys(facts: Facts, keys: Set[Key]) -> None:
    kinds = tensor_kinds()
    together = {key for key in keys if key[1] == TOGETHER}
    cells = {(layer, branch, reference) for _, layer, branch, reference in keys - together}
    every = ((x.name, b, r) for x in facts.layers for b in facts.branches for r in range(len(facts.references)))
    # an adapter need not be in all layers; what every layer attends to is
    slots = {s for s in every if s in cells or not facts.references[s[2]].softmax}
    layers = {x.name: x for x in facts.layers} | ({TOGETHER: _all_layers(facts)} if facts.layers else {})
    needed = ((name, *s) for s in sorted(slots) for name in _needed(layers[s[0]], s[2]))
    missing: Key | None = next((key for key in needed if key not in keys), None)
    if missing or not slots:
        raise ValueError(f"there is no tensor {name_of(missing)!r:.70}" if missing else "there is no tensor of any layer")
    own = {(TOGETHER, b, r) for b in facts.branches for r in range(len(facts.references))}
    unknown = next(
        (
            key
            for key in sorted(keys)
            if key[0] not in kinds or key[1:] not in (own if key in together else slots) or _misplaced(key, layers)
        ),
        None,
    )
    if unknown:
        raise ValueError(f"there is a tensor {name_of(unknown)!r:.60}, which is not described")


def _all_layers(facts: Facts) -> LayerInfo:
    """What maps of all layers together are of: layers of the same size, of which some may have no words."""
    words = next((x.words for x in facts.layers if x.name in facts.word_layers), facts.layers[0].words)
    return replace(facts.layers[0], name=TOGETHER, words=words)


def _needed(layer: LayerInfo, reference: int) -> Iterator[str]:
    """The tensors that a layer must have of a reference."""
    # without leading tokens, a joint call's maps over placed tokens are those over all tokens
    same = bool(layer.rest) and not layer.references[reference].grid.leading
    for name, kind in tensor_kinds().items():
        if not kind.optional and not (same and name != kind.name):
            yield name


def _misplaced(key: Key, layers: Mapping[str, LayerInfo]) -> bool:
    """Whether something kept once per call is not of the first reference, or is no layer's, or of a text without queries."""
    kind = tensor_kinds()[key[0]]
    misplaced = not kind.of_all_layers if key[1] == TOGETHER else kind.together
    if (kind.each == "call" and key[3] != 0) or misplaced:
        return True
    return kind.by_text and key[2] not in dict(layers[key[1]].words)


def _shapes(facts: Facts, kind: Kind, layer: LayerInfo, key: Key) -> list[Shape]:
    """What a map's tensor may be: (images, ranges, heads or 1, ...)."""
    _, _, branch, reference = key
    seen = layer.paired() if kind.paired else layer
    n, s = seen.grid.placed, seen.references[reference].grid.tokens
    words = dict(layer.words).get(branch, 0)
    last = {
        "queries": (n,),
        "tokens": (s,),
        "pairs": (n, s),
        "rest": (len(layer.rest), n),
        "words": (words,),
        "words by queries": (words, n),
    }
    ranges = len(facts.bins if kind.per == "step" else facts.groups)
    counts = (1,) if kind.together else (1, layer.heads)
    return [Shape(kind.dtype, (facts.images, ranges, heads, *last.get(kind.along, ()))) for heads in counts]


def _check_mask(facts: Facts, shape: Shape) -> None:
    size = shape.size
    if shape.dtype != "float32" or len(size) != 3 or size[0] not in (1, facts.images) or not _is_picture(size[1:]):
        raise ValueError(f"the inpainting mask is {shape!s:.40}, expected float32 ({facts.images} or 1, height, width)")


def _check_thumbnail(name: str, shape: Shape) -> None:
    size = shape.size
    if shape.dtype != "uint8" or len(size) != 3 or size[2] != 3 or not _is_picture(size[:2]) or len(name) > 256:
        raise ValueError(f"the small picture {name[:20]!r} is {shape!s:.40}, expected uint8 (height, width, 3)")


def _is_picture(size: Sequence[int]) -> bool:
    return all(1 <= side <= MOST_SIDE for side in size) and math.prod(size) <= MOST_PIXELS


def _check_facts(facts: Facts) -> None:
    run = facts.run
    for name, ranges in (("bins", facts.bins), ("groups", facts.groups)):
        if not _fill(ranges, run.steps):
            raise ValueError(f"{name} do not fill {run.steps} steps")
    if not facts.recorded or not _ascending(facts.recorded) or facts.recorded[-1] >= run.steps:
        raise ValueError(f"recorded is not a list of ascending steps below {run.steps}")
    known = set(facts.recorded)
    if len(facts.active) != len(facts.references) or not all(_ascending(a) and known.issuperset(a) for a in facts.active):
        raise ValueError(f"active does not list recorded steps for each of {len(facts.references)} references")
    for name, names in (("layers", [x.name for x in facts.layers]), ("branches", facts.branches)):
        if len(set(names)) != len(names):
            raise ValueError(f"two of the {name} have the same name")
    if not set(facts.null_branches) <= set(facts.branches):
        raise ValueError("null_branches holds one that is not among branches")
    for what in _wrong_layers(facts):
        raise ValueError(what)


def _wrong_layers(facts: Facts) -> Iterator[str]:
    if len({branch for branch, _ in facts.words} & set(facts.branches)) != len(facts.words):
        yield "words holds a branch that is not among branches, or one twice"
    if not set(facts.word_layers) <= {x.name for x in facts.layers if x.words}:
        yield "word_layers holds a layer that has no words"
    for i, layer in enumerate(facts.layers):
        if not layer.grid.placed or layer.grid.leading:
            yield f"layers.{i}.grid has generated tokens without a place"
        if not {branch for branch, _ in layer.words} <= set(facts.branches):
            yield f"layers.{i}.words holds a branch that is not among branches"
        if not set(layer.texts) <= set(layer.rest):
            yield f"layers.{i}.texts holds a part that is not among rest"
        if [x.softmax for x in layer.references] != [x.softmax for x in facts.references]:
            yield f"layers.{i} has other references than the run"
    if math.prod(facts.generated_size) > MOST_PIXELS:
        yield f"a generated picture of {facts.generated_size}, expected at most {MOST_PIXELS} pixels"
    if facts.layers:
        heads = sum(x.heads for x in facts.layers)
        grids = [x.grid.placed for x in facts.layers] + [r.grid.placed for x in facts.layers for r in x.references]
        if heads * max(grids) > MOST_VALUES:
            yield f"{heads} heads on a grid of {max(grids)} tokens, expected at most {MOST_VALUES} in all"


def _fill(ranges: Sequence[Range], steps: int) -> bool:
    edges = [0, *(b for _, b in ranges)]
    return [a for a, _ in ranges] == edges[:-1] and _ascending(edges) and edges[-1] == steps


def _ascending(steps: Sequence[int]) -> bool:
    return all(a < b for a, b in zip(steps, steps[1:]))
