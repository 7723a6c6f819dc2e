"""The picture of a file's name."""

from __future__ import annotations

import numpy as np
from PIL import Image

from i2am.outputs.file_card import EDGE, WIDTH, file_card


def ink(card: Image.Image) -> np.ndarray:
    """Where a card is not white, (height, width)."""
    return np.asarray(card.convert("L")) < 200


def test_a_file_s_name_stands_on_the_card_within_its_edges() -> None:
    card = file_card("I2AM/report_00001_.html", "7.7 MB in ComfyUI's output folder")
    assert card.width == WIDTH
    marked = ink(card)
    assert marked.sum() > 500
    assert not marked[:, : EDGE - 2].any()
    assert not marked[:, -EDGE + 2 :].any()
    other = file_card("I2AM/report_00002_.html", "7.7 MB in ComfyUI's output folder")
    assert (ink(other) != marked).any()


def test_a_long_name_takes_more_lines_and_none_leaves_the_card() -> None:
    short, long = file_card("maps.safetensors", "1 MB"), file_card("I2AM/" + "a_long_name_" * 12 + ".safetensors", "1 MB")
    assert long.height > short.height
    assert not ink(long)[:, -EDGE + 2 :].any()
