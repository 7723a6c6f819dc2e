"""Lettering that stays legible, and sheets of labelled pictures."""

from __future__ import annotations

import numpy as np
import pytest
from drawing import margin_is_white, photo, pixels
from PIL import Image

from i2am.errors import I2AMError
from i2am.pictures import lettering
from i2am.pictures.lettering import draw_text, line_height, text_width, wrap
from i2am.pictures.sheet import sheet

# --- lettering ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [12, 15, 31])
@pytest.mark.parametrize("text", ["steps 0–9 · σ 14.6", "λ = 3, ×10⁻⁴ ≤ 0.4", "A→B ← ≈ − — ≥", "gjpqy|ÅÉ", "1 ×10⁵"])
def test_ink_stays_within_its_line_and_width(text: str, size: int) -> None:
    width, height = text_width(text, size), line_height(size)
    canvas = Image.new("RGB", (round(width) + 40, height + 40), (255, 255, 255))
    draw_text(canvas, (20, 20), text, size)
    ink = np.argwhere(pixels(canvas).min(-1) < 200)
    assert ink[:, 0].min() >= 20
    assert ink[:, 0].max() < 20 + height
    assert ink[:, 1].min() >= 18
    assert ink[:, 1].max() <= 20 + width + 1
    assert ink[:, 1].max() >= 20 + width - 0.5 * size


@pytest.mark.parametrize("sign", sorted(lettering._DRAWN) + sorted(lettering._RAISED))
def test_signs_that_the_font_lacks_are_drawn_and_differ(sign: str) -> None:
    def drawn(text: str) -> np.ndarray:
        canvas = Image.new("RGB", (60, 50), (255, 255, 255))
        draw_text(canvas, (5, 5), text, 30)
        return pixels(canvas)

    assert not lettering._in_font(sign)
    own = drawn(sign)
    assert (own < 128).any()
    for other in "\ufffe-+0123456789":  # the empty box first
        assert (own != drawn(other)).any()


def test_accented_letters_lose_their_accents_rather_than_become_boxes() -> None:
    assert text_width("Élan ü", 20) == text_width("Elan u", 20)


@pytest.mark.parametrize("width", [30, 90, 400])
@pytest.mark.parametrize(
    "text", ["up_blocks.1.attentions.0.transformer_blocks.0.attn2", "one two three σ 4.9–3.6", "x" * 80, "a\nb c"]
)
def test_wrapped_lines_fit_and_lose_nothing(text: str, width: int) -> None:
    lines = wrap(text, 14, width)
    assert all(text_width(line, 14) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_numbers_are_not_broken_at_their_point() -> None:
    assert wrap("steps 20–29 · σ 4.9–3.6", 14, 140) == ["steps 20–29 · σ", "4.9–3.6"]


# --- sheets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 5, 7, 16, 64])
@pytest.mark.parametrize("size", [(24, 16), (40, 90)])
def test_sheet_holds_every_picture_and_label(count: int, size: tuple[int, int]) -> None:
    items = [(photo(*size, seed=i), f"label {i}\ndetail") for i in range(count)]
    out = sheet(items, title="A title", notes=("a note",))
    p, cells = pixels(out), out.info["cells"]
    taken = np.zeros(p.shape[:2], int)
    for (picture, _), (left, top, right, bottom) in zip(items, cells, strict=True):
        assert (p[top:bottom, left:right] == pixels(picture)).all()
        taken[top:bottom, left:right] += 1
        assert (p[top - 6 : top, left:right] == 255).all()  # nothing above reaches down to it
        assert (p[bottom + 2 : bottom + 30, left : left + 40].min(-1) < 120).sum() > 15  # its label
    assert taken.max() == 1
    assert margin_is_white(out, 8)
    assert (p[: cells[0][1]].min(-1) < 120).any()
    assert (p[cells[-1][3] + 40 :].min(-1) < 160).any()
    assert 0.3 < out.width / out.height < 4 or count < 3


def test_sheet_wraps_labels_within_their_column() -> None:
    long = "up_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.and_more"
    out = sheet([(photo(60, 40), long), (photo(60, 40), "")], columns=2)
    (first, second), p = out.info["cells"], pixels(out)
    below = p[first[3] + 1 :].min(-1) < 160
    assert below[:, : second[0] - 6].any()
    assert not below[:, second[0] - 6 :].any()
    assert margin_is_white(out, 8)


def test_sheet_columns_and_mixed_sizes() -> None:
    out = sheet([(photo(h, 40), str(h)) for h in (20, 60, 40, 30)], columns=2)
    tops = [c[1] for c in out.info["cells"]]
    lefts = [c[0] for c in out.info["cells"]]
    assert lefts[0] == lefts[2] < lefts[1] == lefts[3]
    assert max(tops[:2]) < min(tops[2:])
    side = sheet([(photo(40, 40), "x")], beside=Image.new("RGB", (9, 80), (1, 2, 3)))
    assert (pixels(side) == (1, 2, 3)).all(-1).sum() == 720
    assert margin_is_white(side, 8)


def test_sheet_refuses() -> None:
    with pytest.raises(I2AMError, match="at least one picture"):
        sheet([])
    with pytest.raises(I2AMError, match="got 0"):
        sheet([(photo(), "")], columns=0)
