"""Which tokens of a text are a picture's: found by their values, and written beside the conditioning."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from i2am.errors import LayoutError
from i2am.geometry.layout import TokenGrid
from i2am.models.marked import KEY, Marked, mark, marked_by, probe
from i2am.models.redux import Style, locate, mark_style


def numbers(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("times", [0.001, 1.0, 7.0])
def test_a_multiple_is_found_in_every_precision(dtype: torch.dtype, times: float) -> None:
    tokens = numbers(9, 64)
    text = torch.cat([numbers(5, 64, seed=2), times * tokens, numbers(3, 64, seed=3), tokens]).to(dtype)
    assert locate(text, tokens.to(dtype)) == [5, 17]


def test_what_is_another_is_not_found() -> None:
    text, tokens = numbers(20, 64), numbers(9, 64, seed=2)
    assert locate(text, tokens) == []
    assert locate(torch.cat([text, -tokens]), tokens) == []
    assert locate(torch.cat([text, tokens[:8]]), tokens) == []
    assert locate(torch.cat([text, tokens[:4], tokens[5:], tokens[4:5]]), tokens) == []
    assert locate(torch.cat([text, tokens]), numbers(9, 32)) == []
    assert locate(torch.cat([text, 0 * tokens]), 0 * tokens) == []


@pytest.mark.parametrize(
    ("tokens", "seen", "grid"), [(9, 9, (3, 3, 0)), (10, 10, (3, 3, 1)), (11, 11, (0, 0, 11)), (9, 16, (0, 0, 9))]
)
def test_only_tokens_made_one_by_one_of_a_square_have_places(tokens: int, seen: int, grid: tuple[int, int, int]) -> None:
    style = Style(numbers(1, tokens, 16), seen, 44)
    ((_, about),) = mark_style([[torch.cat([numbers(1, 4, 16, seed=5), style.tokens], 1), {}]], style)
    (found,) = marked_by(about, torch.cat([numbers(1, 4, 16, seed=5), style.tokens], 1))
    assert (found.grid.rows, found.grid.columns, found.grid.leading, found.start) == (*grid, 4)


def test_only_the_entry_that_holds_it_is_marked_and_nothing_is_changed_in_place() -> None:
    style = Style(numbers(1, 9, 16), 9)
    own, other = numbers(1, 12, 16, seed=4), numbers(1, 12, 16, seed=5)
    given = [[torch.cat([own, style.tokens], 1), {"guidance": 3.5}], [other, {}]]
    (first, second) = mark_style(given, style)
    assert KEY in first[1]
    assert first[1]["guidance"] == 3.5
    assert second[1] == given[1][1] == {}
    assert given[0][1] == {"guidance": 3.5}
    assert first[0] is given[0][0]


def test_a_newer_format_and_another_text_are_refused() -> None:
    text = numbers(1, 12, 16)
    ((_, about),) = mark([[text, {}]], [[Marked(2, TokenGrid(3, 3), probe(text, 2, 11))]])
    assert marked_by(about, text)[0].grid == TokenGrid(3, 3)
    for other in (None, text[:, :10], text.flip(1), 0.5 * text):
        with pytest.raises(LayoutError, match="tokens 2 to 11 of the text were marked as a picture's"):
            marked_by(about, other)
    about[KEY][0]["format"] = 2
    with pytest.raises(LayoutError, match="marks of format 2, this version reads 1"):
        marked_by(about, text)
