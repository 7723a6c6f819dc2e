"""What a cut removes from a call, stated once more from counts alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from i2am.errors import LayoutError
from i2am.geometry.layout import Layout, Reference, TokenGrid
from i2am.geometry.sequence import Sequence, Span, generated, reference, text
from i2am.interventions.plan import Cut
from i2am.interventions.removal import Removal, groups, of_layout, of_sequence, seen_by

SHIRT, SHOE = TokenGrid(2, 3), TokenGrid(2, 2, leading=1)
# text 0-1, generated 2-7, shirt 8-13, shoe 14 + 15-18
JOINT = Sequence.of(text(2), generated(TokenGrid(3, 2)), reference(SHIRT, "shirt"), reference(SHOE, "shoe"))
LEFT = torch.tensor([[1.0, 0.0]])
EVERY = [*range(19)]


def of(cut: Cut, sequence: Sequence = JOINT) -> tuple[list[int], list[int]] | None:
    found = of_sequence(cut, sequence)
    if found is None:
        return None
    asked = sum(b - a for a, b in sequence.queries) or sequence.keys
    return found.keys.tolist(), [*range(asked)] if found.rows is None else found.rows.tolist()


@pytest.mark.parametrize(
    ("given", "keys", "rows"),
    [
        ({}, [*range(8, 14)], EVERY),
        ({"reference": 1}, [*range(14, 19)], EVERY),
        ({"what": "all references"}, [*range(8, 19)], EVERY),
        ({"what": "text"}, [0, 1], EVERY),
        ({"what": "text", "tokens": (1,)}, [1], EVERY),
        ({"route": "generated"}, [*range(8, 14)], [*range(2, 8)]),
        ({"route": "text"}, [*range(8, 14)], [0, 1]),
        ({"route": "references"}, [*range(8, 14)], [*range(14, 19)]),
        ({"what": "all references", "route": "references"}, [*range(8, 19)], [*range(8, 19)]),
        ({"what": "text", "route": "references"}, [0, 1], [*range(8, 19)]),
        ({"region": torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])}, [10], EVERY),
        ({"reference": 1, "region": LEFT}, [15, 17], EVERY),
        ({"route": "generated", "where": LEFT}, [*range(8, 14)], [2, 4, 6]),
    ],
)
def test_a_joint_call(given: dict[str, Any], keys: list[int], rows: list[int]) -> None:
    assert of(Cut(**given)) == (keys, rows)


def test_a_call_that_keeps_its_references_keys_has_queries_of_the_rest_alone() -> None:
    kept = Sequence(JOINT.spans, queries=((0, 8),))
    assert of(Cut(route="generated"), kept) == ([*range(8, 14)], [*range(2, 8)])
    assert of(Cut(), kept) == ([*range(8, 14)], [*range(8)])
    assert of(Cut(route="references"), kept) is None
    silent = Sequence(JOINT.spans, queries=((2, 8),))
    assert of(Cut(route="generated"), silent) == ([*range(8, 14)], [*range(6)])
    assert of(Cut(route="text"), silent) is None


def test_spans_on_a_canvas_and_grids_beyond_their_picture() -> None:
    canvas = Sequence((Span("generated", TokenGrid(2, 2), "generated", 0, 5), Span("reference", SHIRT, "shirt", 2, 5)))
    assert of(Cut(region=torch.tensor([[0.0, 0.0], [1.0, 1.0]])), canvas) == ([7, 8, 9], [*range(10)])
    # the last column reaches beyond the picture by half: what lies in the picture counts
    wide = TokenGrid(1, 2, rect=(0.0, 0.0, 4 / 3, 1.0))
    edge = Sequence.of(generated(TokenGrid(1, 1)), reference(wide, "shirt"))
    assert of(Cut(region=torch.tensor([[1.0, 1.0, 0.0]])), edge) == ([1], [*range(3)])
    assert of(Cut(region=torch.tensor([[0.0, 0.0, 1.0]])), edge) == ([2], [*range(3)])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"reference": 2}, r"reference number 2 is to be cut, but the run has 2: number 0 is shirt, 1 is shoe"),
        ({"what": "text", "tokens": (0, 2)}, "token 2 of the text is to be cut, but the text has 2 tokens"),
        ({"region": torch.eye(40)[:2] * 0.1}, "covers less than half of each of its 2 x 3 tokens.*paint a larger one"),
    ],
)
def test_what_is_not_there_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(LayoutError, match=says):
        of_sequence(Cut(**given), JOINT)


def test_a_region_needs_places_and_its_own_picture() -> None:
    learned = Sequence.of(generated(TokenGrid(1, 1)), reference(TokenGrid(0, 0, 4), "tokens"))
    with pytest.raises(LayoutError, match="its tokens have no places; cut the whole reference"):
        of_sequence(Cut(region=LEFT), learned)
    unknown = Sequence.of(generated(TokenGrid(1, 1)), reference(TokenGrid(2, 2, rect=None), "tokens"))
    with pytest.raises(LayoutError, match="it is not known which part of its picture"):
        of_sequence(Cut(region=LEFT), unknown)
    tall = Sequence.of(generated(TokenGrid(1, 1)), reference(TokenGrid(2, 2, picture=(64, 32)), "shirt"))
    with pytest.raises(LayoutError, match="the region is 2 x 1 pixels, but shirt is 32 x 64; paint it on that picture"):
        of_sequence(Cut(region=LEFT), tall)


CROSS = Layout((Reference(TokenGrid(2, 2, 1), 3, "shirt"), Reference(TokenGrid(0, 0, 4), 0, "adapter", 1)), keys=10)
GRID = TokenGrid(2, 2)


@pytest.mark.parametrize(
    ("given", "softmax", "keys"),
    [
        ({}, 0, [*range(3, 8)]),
        ({}, 1, None),
        ({"reference": 1}, 0, None),
        ({"reference": 1}, 1, [0, 1, 2, 3]),
        ({"what": "all references"}, 0, [*range(3, 8)]),
        ({"what": "all references"}, 1, [0, 1, 2, 3]),
        ({"what": "text"}, 0, [0, 1, 2, 8, 9]),
        ({"what": "text", "tokens": (2, 3)}, 0, [2, 8]),
        ({"what": "text"}, 1, None),
        ({"region": LEFT}, 0, [4, 6]),
        ({"what": "nothing"}, 0, None),
    ],
)
def test_a_cross_attention_call(given: dict[str, Any], softmax: int, keys: list[int] | None) -> None:
    found = of_layout(Cut(**given), CROSS, softmax, 10 if softmax == 0 else 4, GRID)
    assert (None if found is None else found.keys.tolist()) == keys


def test_a_region_of_the_picture_that_is_cut_from_by_cross_attention() -> None:
    found = of_layout(Cut(route="generated", where=LEFT, heads=(1,)), CROSS, 0, 10, GRID)
    assert found is not None
    assert found.rows is not None
    assert (found.rows.tolist(), found.heads) == ([0, 2], (1,))
    with pytest.raises(LayoutError, match="only the generated picture looks at others; set it to 'all' or 'generated'"):
        of_layout(Cut(route="text"), CROSS, 0, 10, GRID)


REMOVALS = (
    Removal(torch.tensor([0, 2]), torch.tensor([1, 2]), (0, 2)),
    Removal(torch.tensor([1, 2, 4]), torch.tensor([2, 4])),
)


def seen_one_by_one() -> torch.Tensor:
    seen = torch.ones(3, 5, 6, dtype=torch.bool)
    for removal in REMOVALS:
        for head in removal.heads or range(3):
            for row in [] if removal.rows is None else removal.rows.tolist():
                seen[head, row, removal.keys] = False
    return seen


def test_groups_are_all_queries_and_heads_once() -> None:
    seen, taken = torch.zeros(3, 5, 6, dtype=torch.bool), torch.zeros(3, 5, dtype=torch.int32)
    for group in groups(REMOVALS, 5, 3, 6):
        for head in torch.arange(3)[slice(None) if group.heads is None else group.heads]:
            for row in torch.arange(5)[slice(None) if group.rows is None else group.rows]:
                taken[head, row] += 1
                seen[head, row, slice(None) if group.keys is None else group.keys] = True
    assert torch.equal(taken, torch.ones_like(taken))
    assert torch.equal(seen, seen_one_by_one())


@pytest.mark.parametrize("rows", [slice(0, 5), slice(1, 3), slice(2, 3), slice(3, 4)], ids=str)
def test_what_the_wanted_queries_see(rows: slice) -> None:
    found = seen_by(groups(REMOVALS, 5, 3, 6), 5, 3, 6, lambda every: every[rows])
    want = seen_one_by_one()[None, :, rows]
    assert torch.equal(found.expand_as(want), want)


def test_what_is_the_same_for_all_has_axes_of_one() -> None:
    whole = groups((Removal(torch.tensor([0, 1])),), 5, 3, 6)
    assert [(g.rows, g.heads, g.keys) for g in whole] == [(None, None, slice(2, 6))]
    assert seen_by(whole, 5, 3, 6, lambda every: every).shape == (1, 1, 1, 6)
    rows = groups((Removal(torch.tensor([0, 1]), torch.tensor([1, 2])),), 5, 3, 6)
    assert seen_by(rows, 5, 3, 6, lambda every: every[1:3]).tolist() == [[[[False, False, True, True, True, True]]]]


def test_spare_keys_are_seen_where_no_other_is_left() -> None:
    found = groups((Removal(torch.arange(3), torch.tensor([1])),), 2, 1, 3, spare=2)
    assert [(g.rows, g.keys) for g in found] == [(slice(0, 1), slice(0, 3)), (slice(1, 2), slice(3, 5))]
    assert seen_by(found, 2, 1, 3, lambda every: every).tolist() == [[[[True] * 3, [False] * 3]]]
    assert groups((Removal(torch.arange(3)),), 2, 1, 3)[0].blind


def test_a_head_that_is_not_there_is_refused() -> None:
    with pytest.raises(LayoutError, match="head 2 is to be cut, but the layer has 2, counted from 0"):
        groups((Removal(torch.arange(1), None, (0, 2)),), 2, 2, 3)
