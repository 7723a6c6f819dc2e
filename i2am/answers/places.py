"""Names of places: where in an object, or in a picture, a part lies."""

from __future__ import annotations

import torch
from torch import Tensor

ROWS, COLUMNS = ("upper", "", "lower"), ("left", "middle", "right")


def name_of_place(row: int, column: int) -> str:
    """The name of one of nine parts.

    >>> name_of_place(0, 1), name_of_place(1, 1), name_of_place(1, 2)
    ('upper middle', 'middle', 'right')
    """
    return " ".join(word for word in (ROWS[row], COLUMNS[column]) if word)


def ninths(weights: Tensor) -> dict[str, Tensor]:
    """An object (rows, columns) of weights 0-1, split into the nine parts of its bounding box, each of the same shape.

    A part that holds nothing is left out; together they are the object.

    >>> list(ninths(torch.ones(1, 3)))
    ['left', 'middle', 'right']
    """
    thirds = [_thirds(weights.sum(axis) > 0) for axis in (1, 0)]
    found = {}
    for i, rows in enumerate(thirds[0]):
        for j, columns in enumerate(thirds[1]):
            part = weights * rows[:, None] * columns[None]
            if float(part.sum()) > 0:
                found[name_of_place(i, j)] = part
    return found


def _thirds(used: Tensor) -> list[Tensor]:
    """How much of each line lies in each third of the stretch from the first used one to the last.

    No third is less than a line: of two lines the first and the last third have one each, and a single one is the middle.
    """
    lines = used.nonzero().flatten()
    count = len(used)
    first, length = (int(lines[0]), int(lines[-1]) + 1 - int(lines[0])) if len(lines) else (0, count)
    at = torch.arange(count, dtype=torch.float32)
    steps = {1: (0, 0, 1, 1), 2: (0, 1, 1, 2)}.get(length, (0, length / 3, 2 * length / 3, length))
    edges = [first + step for step in steps]
    return [
        ((at + 1).clamp(max=high) - at.clamp(min=low)).clamp(min=0) for low, high in zip(edges[:-1], edges[1:], strict=True)
    ]


def place_of(weights: Tensor) -> str:
    """Which ninth of its whole grid holds the largest part of some weights (rows, columns), by name.

    >>> place_of(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    'upper right'
    """
    held = {name: float((weights * part).sum()) for name, part in ninths(torch.ones_like(weights)).items()}
    return max(held, key=lambda name: held[name])
