"""Colours that tell references, text and the picture itself apart, also for the colour-blind."""

from __future__ import annotations

from collections.abc import Sequence

Colour = tuple[int, int, int]

OKABE_ITO: tuple[Colour, ...] = (
    (230, 159, 0),
    (0, 114, 178),
    (0, 158, 115),
    (204, 121, 167),
    (213, 94, 0),
    (86, 180, 233),
    (240, 228, 66),
)
"""Okabe and Ito's palette (2008) without its black, its most different colours first."""
PALETTE: tuple[Colour, ...] = (*OKABE_ITO, (68, 0, 102), (170, 17, 255), (102, 0, 0), (68, 0, 170), (170, 34, 0))
"""Of references, in order. The last five are as far from the others as these are from each other, to all kinds of sight."""
GREYS: tuple[Colour, ...] = ((84, 88, 94), (128, 132, 138), (106, 110, 116))
"""Of texts, in order."""
LIGHT: dict[str, Colour] = {"generated": (206, 208, 211), "other": (232, 233, 235)}
"""Of what is neither a reference nor a text, by its name among the shares."""


def colour_of_reference(index: int) -> Colour:
    """The colour of a reference, counted from 0; after the last of the palette it begins anew, which legends say.

    >>> colour_of_reference(1)
    (0, 114, 178)
    """
    return PALETTE[index % len(PALETTE)]


def colours_run_out(references: int) -> str:
    """What a legend must say of so many references: nothing, or which of them have the same colour.

    >>> colours_run_out(12), colours_run_out(13)
    ('', 'colours begin anew after 12 references')
    """
    return f"colours begin anew after {len(PALETTE)} references" if references > len(PALETTE) else ""


def colours_of_parts(names: Sequence[str], references: int) -> dict[str, Colour]:
    """The colour of each part of the shares by its name, of which the first ``references`` are references.

    >>> list(colours_of_parts(("shirt", "text", "generated"), 1).values())
    [(230, 159, 0), (84, 88, 94), (206, 208, 211)]
    """
    rest = names[references:]
    texts = [name for name in rest if name not in LIGHT]
    greys = {name: GREYS[i % len(GREYS)] for i, name in enumerate(texts)}
    return {name: colour_of_reference(i) for i, name in enumerate(names[:references])} | {
        name: {**LIGHT, **greys}[name] for name in rest
    }


def paler(colour: Colour) -> Colour:
    """Half way to white: of what comes another way to the same.

    >>> paler((230, 159, 0))
    (242, 207, 127)
    """
    return tuple((x + 255) // 2 for x in colour)  # type: ignore[return-value]


def told_apart(labels: Sequence[str]) -> tuple[str, list[str]]:
    """What the labels of parts have in common, such as their time, and what is each one's own, such as its name.

    >>> told_apart(("shirt · steps 0–1", "shoes · steps 0–1"))
    ('steps 0–1', ['shirt', 'shoes'])
    """
    pieces = [label.split(" · ") for label in labels]
    common = [piece for piece in pieces[0] if len(labels) > 1 and all(piece in other for other in pieces[1:])]
    return " · ".join(common), [" · ".join(piece for piece in own if piece not in common) for own in pieces]
