"""Adapters: references that a model's options add to those of its conditioning, each with its own softmax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...geometry.layout import Layout, Reference, TokenGrid

Key = tuple[int, int]
"""Identifies an adapter; the same in every layer."""


@dataclass(frozen=True)
class Adapter:
    """One applied adapter.

    Attributes:
        name: for the reader.
        key: what identifies it.
        grid: the tokens of one of its pictures.
        pictures: how many pictures it joins in one softmax.
        about: its settings, for the reader.
    """

    name: str
    key: Key
    grid: TokenGrid
    pictures: int
    about: str


def with_adapters(layout: Layout | None, adapters: Sequence[Adapter]) -> Layout | None:
    """A conditioning's layout, if any, followed by the adapters' references: softmax 1 for the first adapter, and so on."""
    if not adapters:
        return layout
    references = [] if layout is None else list(layout.references)
    for softmax, adapter in enumerate(adapters, 1):
        for picture in range(adapter.pictures):
            of = "" if adapter.pictures == 1 else f", picture {picture + 1}"
            references.append(Reference(adapter.grid, picture * adapter.grid.tokens, adapter.name + of, softmax))
    return Layout(tuple(references), None if layout is None else layout.keys)
