"""Shares in words: what is written adds up to 100 per cent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from i2am.levels.share import in_percent
from i2am.pictures import bars
from i2am.pictures.bars import share_bars, stacked_bar

THIRDS = {"shirt": 1 / 3, "shoes": 1 / 3, "text": 1 / 3}
COLOURS = dict.fromkeys(THIRDS, (0, 90, 160))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9).filter(lambda parts: sum(parts) > 0.01))
def test_whole_per_cents_add_up_and_are_off_by_less_than_one(parts: list[float]) -> None:
    shares = {str(i): part / sum(parts) for i, part in enumerate(parts)}
    found = in_percent(shares)
    assert list(found) == list(shares)
    assert sum(found.values()) == 100
    assert all(abs(found[name] - 100 * share) < 1 + 1e-6 for name, share in shares.items())


@pytest.mark.parametrize("draw", ["bars", "stacked"])
def test_what_bars_say_adds_up(monkeypatch: pytest.MonkeyPatch, draw: str) -> None:
    said: list[str] = []

    def spy(_out: Image.Image, _place: object, text: str, *_: object) -> None:
        said.append(text)

    monkeypatch.setattr(bars, "draw_text", spy)
    if draw == "bars":
        share_bars(THIRDS, COLOURS, 400, 20)
    else:
        stacked_bar(THIRDS, COLOURS, 600, 40)
    assert [text for text in said if text.endswith("%")] == ["34%", "33%", "33%"]
