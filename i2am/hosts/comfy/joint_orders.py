"""The orders in which families of joint-attention networks put the tokens of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...geometry.sequence import Sequence, text

if TYPE_CHECKING:
    from .joint_sequence import Given


def references_last(given: Given) -> Sequence:
    """[text, generated, reference 1, reference 2, …]."""
    return Sequence.of(text(given.words), given.generated, *given.pictures)


def generated_last(given: Given) -> Sequence:
    """[text, reference 1, reference 2, …, generated]."""
    return Sequence.of(text(given.words), *given.pictures, given.generated)
