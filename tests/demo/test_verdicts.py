"""The measurement of the answer in words: what counts as what, and a real batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from i2am.demo.card.verdicts_text import verdicts_text
from i2am.demo.evaluate.reader import garment_to_pixel, glyph_places
from i2am.demo.evaluate.verdicts import Letter, figures_of, main
from i2am.drawn.draw import draw_pairs
from i2am.drawn.letters import letter_mask
from i2am.drawn.seeds import HELD_OUT
from i2am.drawn.spec import draw_pair


def letters() -> list[Letter]:
    """Four pairs: of three lost letters two are named, of five kept ones one."""
    words = [(True, "drawn differently"), (True, "nobody"), (True, "arrived"), (False, "drawn differently")]
    words += [(False, word) for word in ("arrived", "another colour", "placed", "diffuse")]
    return [Letter(i // 2, lost, word, 0.1 * i, 0.1 * i) for i, (lost, word) in enumerate(words)]


def test_shares_are_counted_by_hand() -> None:
    found = figures_of(letters())
    assert found["counts"] == {"pairs": 4, "letters": 8, "lost": 3, "named": 3, "named_rightly": 2}
    assert found["found"]["value"] == pytest.approx(2 / 3)
    assert found["wolf"]["value"] == pytest.approx(1 / 5)
    assert found["right"]["value"] == pytest.approx(2 / 3)
    assert found["auc"]["value"] == 1.0  # the lost ones have the least structure
    assert found["found"]["low"] <= 2 / 3 <= found["found"]["high"]


def test_the_text_says_what_the_figures_say() -> None:
    setup = {"steps": 20, "cfg": 5.0, "threshold": 0.7}
    text = verdicts_text({"setup": setup, **figures_of(letters())})
    assert "Of 3 lost letters, the answer names 67%" in text
    assert "Of 5 letters that were drawn right, it cries wolf over 20%" in text
    assert "3 of the letters were not looked at in one place" in text


def test_a_letters_mask_is_the_box_of_where_it_is_printed() -> None:
    pair = draw_pair(HELD_OUT + 3)
    x, y = garment_to_pixel([pair.flat], *glyph_places(pair.garment.glyphs[:1]))
    mask = letter_mask(pair)
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    assert (int(rows.min()), int(columns.min())) == (int(y.min()), int(x.min()))
    assert (int(rows.max()), int(columns.max())) == (int(y.max()), int(x.max()))
    inside = draw_pairs([pair]).reference_mask[0, 0][mask > 0]
    assert float(inside.mean()) > 0.95


def test_two_pairs_are_measured_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "new" / "verdicts.json"
    threads = torch.get_num_threads()
    assert main(["--pairs", "2", "--batch", "2", "--steps", "2", "--json", str(file)]) == 0
    assert torch.get_num_threads() == threads
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["setup"]["complete"]
    assert found["counts"]["pairs"] == 2
    assert sum(found["verdicts"].values()) == found["counts"]["letters"] >= 2
