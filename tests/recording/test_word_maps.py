"""Maps of words: exact against every logit in float64, of the layers that they say, within the budget, and dropped if torn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import statement
import torch
from blocks import kept_tokens
from joint_run import JointRun, flux_like
from text_route import PICTURE_ALONE, WHOLE, lacking
from torch import Tensor

from i2am.errors import LayoutError, MapsFileError, RecordingError
from i2am.geometry.words import Word, words_of
from i2am.hosts.attention import Attention
from i2am.maps.facts import TOGETHER, Facts
from i2am.maps.value import AttributionMaps
from i2am.recording.budget import LayerCost, bytes_of, plan
from i2am.recording.recorder import Recorder


def by_hand(run: JointRun, layers: tuple[str, ...], branch: str, step: int, stride: int = 1) -> Tensor:
    """(images, T, n) float64: the mean over layers and heads of the softmax over all keys, at the text's."""
    sequence = run.sequences[branch]
    texts = torch.cat([span.positions() for span in sequence.rest if span.role == "text"])
    kept = kept_tokens(sequence.generated.grid, stride)
    found = [statement.real_attention(run.attention(name, branch, step))[..., texts].mean(1) for name in layers]
    return torch.stack(found).mean(0)[:, kept].mT


@pytest.mark.parametrize("stride", [1, 2])
def test_each_tokens_map_is_the_mean_over_layers_and_heads(stride: int) -> None:
    run = JointRun({"cond": flux_like(7), "uncond": flux_like(4)})
    maps = run.record(stride=stride, word_maps=True)
    assert maps.word_layers == run.layers
    for branch in run.sequences:
        for step in range(2):  # a group each
            seen = maps.grouped("word_maps", TOGETHER, branch)[:, step, 0].double()
            torch.testing.assert_close(seen, by_hand(run, run.layers, branch, step, stride), rtol=1e-5, atol=1e-7)


def test_their_mean_over_the_patches_is_what_is_kept_of_the_words_already() -> None:
    run = JointRun({"cond": flux_like(7)})
    maps = run.record(word_maps=True)
    both = torch.stack([maps.grouped("words", layer) for layer in run.layers]).mean(0)
    torch.testing.assert_close(maps.grouped("word_maps", TOGETHER).mean(-1), both)


def test_nothing_else_changes_and_nothing_is_kept_unasked() -> None:
    plain, asked = JointRun({"cond": flux_like(7)}).record(), JointRun({"cond": flux_like(7)}).record(word_maps=True)
    assert plain.word_layers == ()
    assert not plain.has("word_maps", TOGETHER)
    for key, tensor in plain._tensors.items():
        assert torch.equal(tensor, asked._tensors[key])
    assert set(asked._tensors) - set(plain._tensors) == {("word_maps", TOGETHER, "cond", 0)}


def test_layers_that_are_named_are_those_that_they_are_the_mean_over() -> None:
    run = JointRun({"cond": flux_like(7)})
    maps = run.record(word_maps=True, word_layers=("single.1", "single.99"))
    assert maps.word_layers == ("single.1",)
    seen = maps.grouped("word_maps", TOGETHER)[:, 1, 0].double()
    torch.testing.assert_close(seen, by_hand(run, ("single.1",), "cond", 1), rtol=1e-5, atol=1e-7)
    assert run.record(word_maps=True, layers="double.*", word_layers=("single.1",)).word_layers == ("double.0",)


def test_several_evaluations_of_a_step_leave_the_last_one() -> None:
    recorder = Recorder(None, steps=1, stride=1, cells=0, word_maps=True)
    for _ in range(2):
        q, k = torch.randn(1, 2, WHOLE.keys, 4), torch.randn(1, 2, WHOLE.keys, 4)
        for layer in ("a", "b"):
            Attention.joint(layer, WHOLE, "cond", q, k, None, scale=1.0).record(recorder, 0)
        recorder.end_evaluation(["cond"])
    recorder.end_step(0)
    maps = recorder.finish()
    expected = statement.real_attention(statement.logits(q[:, :, WHOLE.generated.positions()], k, 1.0))[..., :3].mean(1).mT
    torch.testing.assert_close(maps.grouped("word_maps", TOGETHER)[:, 0, 0].double(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("sequences", [[WHOLE, PICTURE_ALONE], [PICTURE_ALONE]], ids=["then elsewhere", "elsewhere"])
def test_of_a_text_that_did_not_ask_in_every_step_none_are_kept(sequences: list[Any], tmp_path: Path) -> None:
    maps = lacking(sequences, word_maps=True)
    assert maps.word_layers == ()
    assert not maps.has("word_maps", TOGETHER)
    assert any("no maps of words of cond are kept" in note for note in maps.notes) == (len(sequences) > 1)
    assert AttributionMaps.load(maps.save(tmp_path / "maps.safetensors")) == maps


# --------------------------------------------------------------------------------- memory


def test_their_room_is_counted_once_for_all_layers() -> None:
    costs = [LayerCost(f"{i}", 2, 10, 0, 0) for i in range(50)]
    with_it, without = (
        plan(costs, steps=4, groups=2, pairwise=None, copies=3, budget=10**9, words=words) for words in (700, 0)
    )
    assert bytes_of(with_it, costs, 3) - bytes_of(without, costs, 3) == 2 * 700 * 4 * 3
    assert not with_it.notes


def test_a_short_budget_keeps_them_for_one_time_group_then_not_at_all_and_says_so() -> None:
    costs = [LayerCost("only", 1, 10, 0, 0)]
    found = plan(costs, steps=2, groups=2, pairwise=None, copies=1, budget=4 * 800, words=700)
    assert (found.words, len(found.groups)) == (700, 1)
    assert found.notes == ("the memory budget of 0.0032 MB was short: maps of words are kept for one time group instead of 2",)
    found = plan(costs, steps=2, groups=2, pairwise=None, copies=1, budget=4 * 600, words=700)
    assert found.words == 0
    assert found.notes[-1] == "the memory budget of 0.0024 MB was short: no maps of words, which take 0.0028 MB"


def test_a_run_whose_budget_is_too_short_has_none() -> None:
    maps = JointRun({"cond": flux_like(40)}).record(word_maps=True, budget=15_000, pairwise=None)
    assert maps.word_layers == ()
    assert not maps.has("word_maps", TOGETHER)
    assert any("no maps of words, which take" in note for note in maps.notes)


def test_a_step_in_which_nothing_was_seen_ends_as_before() -> None:
    recorder = Recorder(None, steps=1, word_maps=True)
    recorder.end_step(0)
    with pytest.raises(RecordingError, match="nothing was recorded: no cross-attention call"):
        recorder.finish()


def test_they_come_with_the_route_alone() -> None:
    with pytest.raises(RecordingError, match="maps of words come with the route via text"):
        JointRun({"cond": flux_like(7)}).record(word_maps=True, via_text=False)


# --------------------------------------------------------------------------------- files


WORDS = words_of(["▁red", "▁dr", "ess", "▁hat", "</s>", "<pad>", "<pad>"])


def named() -> AttributionMaps:
    run = JointRun({"cond": flux_like(7), "uncond": flux_like(4)})
    return run.record(word_maps=True).with_words({"cond": WORDS, "uncond": words_of(["▁bad"]), "other": WORDS})


def test_words_are_kept_by_branch_and_read_back(tmp_path: Path) -> None:
    maps = named()
    assert [word.name for word in maps.words_of()] == ["red", "dress", "hat", "</s>", "fill"]
    assert [word.name for word in maps.words_of("uncond")] == ["bad"]
    assert maps.words_of("other") == ()
    loaded = AttributionMaps.load(maps.save(tmp_path / "maps.safetensors"))
    assert loaded == maps
    assert loaded.words_of() == WORDS
    assert loaded.word_layers == maps.word_layers


def test_words_that_the_text_does_not_have_are_refused() -> None:
    maps = JointRun({"cond": flux_like(3)}).record()
    with pytest.raises(LayoutError, match="reach to token 7 of the text, but 3 tokens of text were recorded"):
        maps.with_words({"cond": WORDS})
    with pytest.raises(LayoutError, match="starts at token 0, before the end"):
        maps.with_words({"cond": (Word("a", 0, 2), Word("b", 0))})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"word_layers": ("nowhere",)}, "word_layers holds a layer that has no words"),
        ({"words": (("other", WORDS),)}, "words holds a branch that is not among branches"),
        ({"words": (("cond", (Word("a", 0, 3), Word("b", 1))),)}, "before the end of the one before"),
    ],
)
def test_a_file_that_says_other_words_than_it_has_is_refused(change: dict[str, Any], match: str, tmp_path: Path) -> None:
    maps = named()
    facts = {name: getattr(maps, name) for name in Facts.__dataclass_fields__}
    with pytest.raises(MapsFileError, match=match):
        AttributionMaps(maps._tensors, **facts | change).save(tmp_path / "maps.safetensors")


def test_maps_of_words_lie_under_all_layers_alone(tmp_path: Path) -> None:
    maps = named()
    facts = {name: getattr(maps, name) for name in Facts.__dataclass_fields__}
    tensors = dict(maps._tensors)
    tensors["word_maps", "double.0", "cond", 0] = tensors.pop(("word_maps", TOGETHER, "cond", 0))
    with pytest.raises(MapsFileError, match=r"'word_maps\|double.0\|cond\|0', which is not described"):
        AttributionMaps(tensors, **facts).save(tmp_path / "maps.safetensors")
    shorter = [replace(layer, words=(("cond", 6), ("uncond", 4))) for layer in maps.layers]
    short = {key: t[..., :6] if key[0].startswith("words") and key[2] == "cond" else t for key, t in maps._tensors.items()}
    with pytest.raises(MapsFileError, match=r"float32 \(2, 2, 1, 7, 24\), expected float32 \(2, 2, 1, 6, 24\)"):
        AttributionMaps(short, **facts | {"layers": tuple(shorter)}).save(tmp_path / "maps.safetensors")
