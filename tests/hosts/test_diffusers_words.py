"""Words of a text that a caller of `record` names: in the maps of a transformer with joint attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from joint_models import BRANCHES, CASES

from i2am.errors import LayoutError
from i2am.hosts.diffusers.record import record
from i2am.levels.word_maps import word_shares
from i2am.maps.value import AttributionMaps

TOKENS = ["▁put", "▁the", "▁dr", "ess", "</s>"]


def run(words: Any, cfg: bool = False, **options: Any) -> tuple[torch.Tensor, AttributionMaps]:
    """FLUX's class with five tokens of text, guided by a text of three."""
    case = CASES["FLUX.1"]
    model, inputs = case.model(), case.inputs(cfg=cfg)
    keep = BRANCHES[: 1 + inputs.cfg]
    recording = record(model, steps=len(inputs.times), images=inputs.images, keep=keep, words=words, word_maps=True, **options)
    with recording:
        out = case.run(model, inputs)
    assert torch.equal(out, case.run(model, inputs))
    return out, recording.maps


def test_a_word_has_its_map_and_all_parts_add_up_to_1() -> None:
    _, maps = run(TOKENS)
    heat = word_shares(maps)
    assert heat.labels[:4] == ("put", "the", "dress", "special tokens")
    torch.testing.assert_close(heat.values.sum(0), torch.ones(heat.values.shape[1:]))


def test_each_branch_has_its_own_words() -> None:
    _, maps = run({"cond": TOKENS, "uncond": ["▁bad", "▁hat", "</s>"]}, cfg=True)
    assert [word.name for word in maps.words_of()] == ["put", "the", "dress", "</s>"]
    assert [word.name for word in maps.words_of("uncond")] == ["bad", "hat", "</s>"]


def test_words_that_the_text_has_not_are_said_in_a_note_and_the_maps_are_kept() -> None:
    _, maps = run([*TOKENS, "<pad>"])
    assert maps.words_of() == ()
    assert any("reach to token 6 of the text, but 5 tokens of text were recorded" in note for note in maps.notes)


@pytest.mark.parametrize("words", ["put the dress", [1, 2], [], {"cond": "put"}])
def test_what_are_no_strings_of_tokens_is_refused_before_the_run(words: Any) -> None:
    with pytest.raises(LayoutError, match="strings of"):
        record(CASES["FLUX.1"].model(), steps=1, words=words)
