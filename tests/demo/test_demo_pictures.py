"""What the demo's nodes draw: another print on the same cut, and the true correspondence."""

from __future__ import annotations

import pytest
import torch

from i2am.drawn.draw import draw_pairs
from i2am.drawn.restyle import restyle
from i2am.drawn.seeds import HELD_OUT
from i2am.drawn.spec import COLOUR_NAMES, GLYPHS, PATTERNS, draw_pair
from i2am.drawn.truth_picture import truth_picture

PAIR = draw_pair(HELD_OUT + 4)


@pytest.mark.parametrize("change", [{"pattern": list(PATTERNS)[-1]}, {"colour": "teal"}, {"letter": "S"}])
def test_another_print_leaves_the_cut(change: dict[str, str]) -> None:
    other = PAIR.wearing(restyle(PAIR.garment, **change))
    before, after = draw_pairs([PAIR]), draw_pairs([other])
    assert not torch.equal(before.reference, after.reference)
    assert torch.equal(before.reference_mask, after.reference_mask)
    assert torch.equal(before.truth, after.truth)


def test_names_are_checked_and_nothing_means_as_drawn() -> None:
    assert restyle(PAIR.garment) == PAIR.garment
    for change in ({"pattern": "plaid"}, {"colour": "mauve"}, {"letter": "?"}):
        with pytest.raises(ValueError, match="is none of"):
            restyle(PAIR.garment, **change)
    assert restyle(PAIR.garment, colour=COLOUR_NAMES[3]).base == 3
    assert restyle(PAIR.garment, letter=GLYPHS[2]).glyphs[0].index == 2


def test_the_same_colour_marks_the_same_place() -> None:
    """A garment pixel of the person and the reference pixel that it came from have nearly one colour."""
    pairs = draw_pairs([PAIR])
    plain = truth_picture(pairs)[0]
    reference, person = plain[:, :, :112], plain[:, 16:144, 112:]
    inside = (pairs.visible[0, 0] > 0).nonzero()
    close = []
    for row, column in inside[::7].tolist():
        x, y = pairs.truth[0, :, row, column].round().long().clamp(max=torch.tensor([111, 159])).tolist()
        seen = person[:, row, column] - 0.3 * pairs.person[0, :, row, column]  # the print shines through
        wanted = reference[:, y, x] - 0.3 * pairs.reference[0, :, y, x]
        close.append(bool((seen - wanted).abs().max() < 0.12))
    assert sum(close) / len(close) > 0.8
