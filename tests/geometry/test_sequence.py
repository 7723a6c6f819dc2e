"""A joint call is brought to one order: each token of the sequence is found where the layout says, for every way of lying."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from i2am.errors import LayoutError
from i2am.geometry.layout import Layout, Reference, Stretch, TokenGrid
from i2am.geometry.sequence import Sequence, Span, generated, in_windows, other, reference, text

PLAIN = Sequence.of(
    text(5), generated(TokenGrid(3, 2)), reference(TokenGrid(2, 2), "shirt"), reference(TokenGrid(1, 4, 1), "shoes")
)
CACHED = Sequence(PLAIN.spans, queries=((0, 11),))
"""The references' keys are kept from an earlier step: only text and picture are queries."""
SPLIT = Sequence(
    (
        Span("reference", TokenGrid(2, 2), "shirt", 5),
        Span("generated", TokenGrid(3, 2), "generated", 9),
        Span("text", TokenGrid(0, 0, 5), "text", 0),
    ),
    queries=((0, 5), (9, 15)),
)
"""Text, references, picture; queries of text and picture alone."""
CANVAS = Sequence(
    (
        Span("generated", TokenGrid(3, 2), "generated", 0, pitch=5),
        Span("reference", TokenGrid(3, 2), "shirt", 3, pitch=5),
        Span("text", TokenGrid(0, 0, 4), "text", 15),
    )
)
"""Two pictures side by side, between them a column of both, and text behind."""
WINDOWS = Sequence(
    (
        Span("text", TokenGrid(0, 0, 3), "prompt", 0),
        Span("reference", TokenGrid(3, 4, 1), "shirt", 3, order=in_windows(3, 4, 2)),
        Span("text", TokenGrid(0, 0, 2), "after", 16),
        Span("generated", TokenGrid(2, 2), "generated", 18),
    ),
    keys=25,
)
"""A reference that a language model saw in windows, within the text; three keys of nobody."""
ALL = {"plain": PLAIN, "cached": CACHED, "split": SPLIT, "canvas": CANVAS, "windows": WINDOWS}


def marked(sequence: Sequence) -> dict[str, list[int]]:
    """Where each token of each span lies, written out token by token."""
    places = {}
    for span in sequence.spans:
        grid, found = span.grid, [span.start + i for i in range(span.grid.leading)]
        for row in range(grid.rows):
            for column in range(grid.columns):
                place = row * (span.pitch or grid.columns) + column
                if span.order:
                    place = span.order[row * grid.columns + column]
                found.append(span.start + grid.leading + place)
        places[span.name] = found
    return places


def brought(sequence: Sequence) -> tuple[Layout, Tensor, Tensor, Tensor]:
    """The layout; which query and which key each brought one is; and the brought mask of (query, key) numbers."""
    queries = [i for a, b in sequence.queries or ((0, sequence.keys),) for i in range(a, b)]
    keys = torch.arange(sequence.keys)
    q, k = torch.tensor(queries).view(1, 1, -1, 1).float(), keys.view(1, 1, -1, 1).float()
    mask = q * 1000 + k[..., 0][..., None, :]
    out = sequence.bring(q, k, k + 0.5, mask, q + 0.5)
    assert out.v is not None
    assert out.output is not None
    assert torch.equal(out.v, out.k + 0.5)
    assert torch.equal(out.output, out.q + 0.5)
    assert out.grid == sequence.generated.grid
    assert out.mask is not None
    return out.layout, out.q.flatten().int(), out.k.flatten().int(), out.mask[0, 0]


@pytest.mark.parametrize("name", ALL)
def test_every_token_is_where_the_layout_says(name: str) -> None:
    sequence = ALL[name]
    layout, q, k, mask = brought(sequence)
    places = marked(sequence)
    layout.check("call", len(k))
    assert [r.name for r in layout.references] == [span.name for span in sequence.references]
    for part in (*layout.references, *layout.rest):
        assert k[part.start : part.stop].tolist() == places[part.name], part.name
    assert sorted(k.tolist()) == list(range(sequence.keys))
    assert q.tolist() == places["generated"]
    assert torch.equal(mask, q[:, None] * 1000.0 + k)


def test_whole_spans_are_taken_without_a_copy() -> None:
    q, k = torch.randn(1, 2, 20, 4), torch.randn(1, 2, 20, 4)
    out = PLAIN.bring(q, k, None, None, None)
    assert out.k.data_ptr() == k.data_ptr()
    assert out.q.untyped_storage().data_ptr() == q.untyped_storage().data_ptr()
    assert out.layout.rest == (Stretch("text", 0, 5), Stretch("generated", 5, 6))


def test_a_mask_that_broadcasts_stays_as_it_is() -> None:
    q, k, mask = torch.randn(1, 1, 19, 2), torch.randn(1, 1, 19, 2), torch.randn(1, 1, 1, 19)
    out = CANVAS.bring(q, k, None, mask, None)
    assert out.mask is not None
    assert out.mask.shape == (1, 1, 1, 19)
    assert out.mask[0, 0, 0, :6].tolist() == [float(mask[0, 0, 0, i]) for i in (3, 4, 8, 9, 13, 14)]


def test_in_windows_is_the_order_in_which_windows_are_read() -> None:
    rows, columns, window = 6, 10, 4
    order = in_windows(rows, columns, window)
    tokens = [
        (r, c)
        for top in range(0, rows, window)
        for left in range(0, columns, window)
        for r in range(top, min(top + window, rows))
        for c in range(left, min(left + window, columns))
    ]
    assert [tokens[token] for token in order] == [(r, c) for r in range(rows) for c in range(columns)]
    assert sum(token != place for place, token in enumerate(order)) > 30


def test_references_are_counted_from_the_first_key_however_the_text_is() -> None:
    long = Sequence.of(text(50), *PLAIN.spans[1:]).layout()
    assert long.references[0].start == 56
    assert long.in_order() == PLAIN.layout().in_order()
    assert [(r.start, r.stop) for r in long.in_order()] == [(0, 4), (4, 9)]
    adapter = Reference(TokenGrid(2, 2), 0, "style", 1)
    assert Layout((*long.references, adapter), long.keys).in_order()[-1] == adapter


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Sequence.of(text(3), generated(TokenGrid(2, 2))), "no reference"),
        (lambda: Sequence.of(text(3), reference(TokenGrid(2, 2), "shirt")), "one generated picture"),
        (lambda: Sequence((*PLAIN.spans, Span("other", TokenGrid(0, 0, 2), "pad", 4))), "overlap"),
        (lambda: Sequence(PLAIN.spans, keys=19), "reach beyond its 19 keys"),
        (lambda: Sequence((CANVAS.spans[0], Span("reference", TokenGrid(3, 2), "shirt", 1, pitch=5))), "overlap"),
        (lambda: Sequence(PLAIN.spans, queries=((0, 8), (8, 20))), "not all in one of the ranges"),
        (lambda: Span("garment", TokenGrid(1, 1), "shirt"), "role"),
        (lambda: Span("reference", TokenGrid(2, 4), "shirt", pitch=3), "at least its 4 columns"),
        (lambda: Span("reference", TokenGrid(2, 2), "shirt", order=(0, 1, 1, 3)), "each of its 4 places once"),
        (lambda: generated(TokenGrid(2, 2, 1)), "all have a place"),
        (lambda: Layout((Reference(TokenGrid(1, 2), 1),), 4, rest=(Stretch("text", 0, 2),)), "overlaps another"),
        (lambda: Layout((Reference(TokenGrid(1, 2)),), 4, rest=(Stretch("text", 2, 3),)), "reaches too far"),
    ],
)
def test_what_cannot_be_is_refused(make: object, words: str) -> None:
    with pytest.raises(LayoutError, match=words):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(("queries", "keys"), [(20, 21), (21, 20), (11, 20)])
def test_a_call_of_another_length_is_refused_with_both_numbers(queries: int, keys: int) -> None:
    with pytest.raises(LayoutError, match=rf"{queries} queries and {keys} keys, expected 20 and 20: text 5 \+ generated 3 x 2"):
        PLAIN.bring(torch.zeros(1, 1, queries, 2), torch.zeros(1, 1, keys, 2), None, None, None)


def test_filled_up_tokens_belong_to_nobody() -> None:
    sequence = Sequence.of(text(3), other(5, "filled up"), generated(TokenGrid(2, 2)), reference(TokenGrid(1, 2), "shirt"))
    assert [part.name for part in sequence.layout().rest] == ["text", "filled up", "generated"]
