"""Which of the chosen layers can give a map, and why the others cannot."""

from __future__ import annotations

from ..errors import UnavailableError
from ..maps.facts import LayerInfo
from ..maps.kinds import over_reference, shown_as
from ..maps.value import AttributionMaps
from .selection import Selection


def multi_token(maps: AttributionMaps, selection: Selection, what: str) -> tuple[LayerInfo, ...]:
    """The chosen layers whose maps over the reference are meaningful.

    Raises:
        UnavailableError: every chosen layer has a single key, the reference's tokens have no places on its picture, or
            the branch's keys are null tokens.
    """
    chosen = selection.layers
    if over_reference(what) and selection.branch in maps.null_branches:
        chosen = tuple(x for x in chosen if x.beside)  # these see the reference in both branches
        if not chosen:
            swapped = selection.branch == "cond"
            remedy = "positive and negative are swapped: connect them anew" if swapped else "use branch 'cond'"
            raise UnavailableError(
                f"{what} of branch {selection.branch!r} is refused: its keys stand for 'no reference', so no place on the "
                f"reference was looked at; {remedy}"
            )
    layers = tuple(x for x in chosen if not is_single(x, selection.reference))
    if not layers:
        raise UnavailableError(
            f"{what} is unavailable: the chosen layers attend to a single token, and a softmax over one key is 1 "
            f"whatever the reference is; R2G is still defined"
        )
    if over_reference(what) and not any(selection.reference_of(x).grid.placed for x in layers):
        reference = selection.reference_of(layers[0])
        raise UnavailableError(
            f"{what} is unavailable: the {reference.grid.tokens} tokens of {reference.name!r} have no places on its picture, "
            f"since its encoder mixes the whole picture into each; R2G and R2G-balanced are still defined"
        )
    return layers


def layers_for(maps: AttributionMaps, selection: Selection, side: str, placed_only: bool = False) -> tuple[LayerInfo, ...]:
    """The chosen layers that a side's map is made from.

    Raises:
        UnavailableError: the side is meaningless for these layers.
    """
    if placed_only and not any(selection.reference_of(x).grid.placed for x in selection.layers):
        raise UnavailableError("placed_only leaves nothing: none of the reference's tokens has a place; switch it off")
    _, shown = shown_as(side)
    if shown.one_key:
        return selection.layers
    layers = multi_token(maps, selection, side)
    if not shown.every_key:
        whole = [x for x in layers if selection.reference_of(x).grid.tokens == x.keys_of(selection.reference, selection.branch)]
        whole = [x for x in whole if not (placed_only and selection.reference_of(x).grid.leading)]
        if whole:
            raise UnavailableError(
                f"the {side} of layer {whole[0].name!r} is refused: the reference's tokens are all the keys of the call, so "
                f"the {side} is 1 everywhere; use placed_only where there are leading tokens, or another side"
            )
    return layers


def refuse_heads(side: str) -> None:
    """Refuse to tell heads apart in a map that is kept as its mean over them.

    Raises:
        UnavailableError: it is one.
    """
    kind, _ = shown_as(side)
    if not kind.by_head:
        raise UnavailableError(
            f"{side} is kept as its mean over heads: what a text token reads with one head, all heads read of it; leave out "
            f"the choice of heads, or use ULAM, TLAM or LLAM"
        )


SINGLE = "single-token reference: these weights cannot affect the picture"


def is_single(layer: LayerInfo, reference: int) -> bool:
    """Whether a reference's softmax has a single key, so that its weights are 1 whatever q and k are."""
    return layer.keys_of(reference) == 1
