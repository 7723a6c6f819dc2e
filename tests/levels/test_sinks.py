"""Sinks: found where a token was planted that all patches look at, told with its share, and left out only with a note."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from filled_maps import example
from joint_run import JointRun, flux_like
from sink_run import FIRST, SHIRT, record
from torch import Tensor

from i2am.errors import UnavailableError
from i2am.geometry.layout import TokenGrid
from i2am.geometry.words import Word, words_of
from i2am.levels.choice import Choice
from i2am.levels.marginal import ulam
from i2am.levels.share import mean_shares, routes
from i2am.levels.sinks import MOST_TOLD, RULE, Sink, Sinks, shares_without, sinks, told, without_sinks
from i2am.levels.words import words
from i2am.maps.facts import Facts
from i2am.maps.value import AttributionMaps


def test_a_token_that_every_patch_looks_at_is_a_sink() -> None:
    maps = record({2: 5.0})
    found = sinks(maps)
    (sink,) = found.found
    assert (sink.of, sink.reference, sink.token) == ("text", None, 2)
    assert 0.4 < sink.share < 0.7
    assert sink.variation < 0.2
    assert found.notes == ()
    torch.testing.assert_close(torch.tensor(sink.share), words(maps).share[2])
    assert told(found) == f"sinks take {100 * sink.share:.2g} % of the attention: token 2 of the text, in the layer only"


@pytest.mark.parametrize("token", [0, 13])
@pytest.mark.parametrize("options", [{}, {"cells": 4}, {"stride": 2}], ids=["all", "pooled", "some queries"])
def test_a_token_of_a_reference_can_be_one(token: int, options: dict[str, object]) -> None:
    (sink,) = sinks(record({FIRST + token: 5.0}, **options)).found
    assert (sink.of, sink.reference, sink.token) == ("shirt", 0, token)
    assert 0.4 < sink.share < 0.7


def test_what_only_some_patches_look_at_is_none() -> None:
    for key in (2, FIRST + 13):
        assert sinks(record({}, {key: 8.0})).found == ()


def test_nothing_stands_out_of_a_plain_run() -> None:
    assert sinks(record({})) == Sinks(())
    assert told(Sinks(())) == ""


def test_several_are_told_the_largest_first() -> None:
    found = sinks(record({0: 5.0, 2: 5.5, FIRST + 13: 5.2}))
    assert [(sink.of, sink.token) for sink in found.found] == [("text", 2), ("shirt", 13), ("text", 0)]
    assert told(found).endswith("tokens 0 and 2 of the text, token 13 of shirt, in the layer only")


def test_sinks_of_the_text_are_told_by_their_words_with_the_share_of_each() -> None:
    maps = record({0: 5.2, 2: 5.5, 3: 5.4, FIRST + 13: 5.3}).with_words({"cond": words_of(["<s>", "▁a", "▁dr", "ess"])})
    found = sinks(maps)
    share = {(sink.of, sink.token): sink.share for sink in found.found}
    dress, first = share["text", 2] + share["text", 3], share["text", 0]
    assert told(found) == (
        f'sinks take {100 * found.share:.2g} % of the attention: "dress" ({100 * dress:.2g} %) and "<s>" ({100 * first:.2g} %) '
        f"of the text, token 13 of shirt, in the layer only"
    )
    assert shares_without(maps)[1] == f"left out: {told(found)}"


def test_sinks_that_fill_the_text_up_or_have_no_name_are_told_as_such() -> None:
    maps = record({1: 5.0, 2: 5.0, 3: 5.5}).with_words({"cond": (Word("<pad>", 0, 1, "special"), Word("fill", 1, 2, "fill"))})
    assert " attention: fill (" in told(sinks(maps))
    assert "and token 3 (" in told(sinks(maps))
    many = tuple(Sink("text", None, i, 0.02, 0.1, (), ("a",), Word(f"w{i}", i)) for i in range(MOST_TOLD + 2))
    assert f'"w{MOST_TOLD - 1}" (2 %) and 2 more of the text' in told(Sinks(many))


def test_without_pairs_a_references_sinks_are_not_guessed() -> None:
    found = sinks(record({FIRST + 13: 5.0, 2: 5.0}, pairwise=None))
    assert [sink.of for sink in found.found] == ["text"]
    assert found.notes == (
        "sinks of shirt were not looked for: no pairwise maps were kept of the chosen layers, which tell how even it is",
    )


def test_left_out_of_the_shares_they_add_up_to_1_again_and_a_note_says_so() -> None:
    maps = record({2: 5.5, FIRST + 13: 5.0})
    found = sinks(maps)
    before, (after, note) = mean_shares(routes(maps)), shares_without(maps)
    assert sum(after.values()) == pytest.approx(1)
    assert note == f"left out: {told(found)}"
    (of_text, of_shirt) = found.found
    left = 1 - of_text.share - of_shirt.share
    assert after["generated"] == pytest.approx(before["generated"] / left, rel=1e-5)
    assert after["shirt directly"] == pytest.approx((before["shirt directly"] - of_shirt.share) / left, rel=1e-4)
    assert after["shirt via text"] == pytest.approx((before["shirt via text"] - of_text.handed_on[0]) / left, rel=1e-4)
    plain = record({})
    assert shares_without(plain)[0] == pytest.approx(mean_shares(routes(plain)))
    assert shares_without(plain)[1] == "no sinks were found, so none is left out"


def test_left_out_of_a_map_its_place_is_0_and_a_note_says_so() -> None:
    maps = record({FIRST + 13: 5.0})
    heat, found = ulam(maps, "G2R"), sinks(maps)
    without = without_sinks(heat, found, 0, SHIRT)
    assert int(heat.values.argmax()) == 12
    assert float(without.values.flatten()[12]) == 0
    different = (without.values != heat.values).sum()
    assert int(different) == 1
    assert without.notes[0] == f"left out: {told(found)}"
    assert without_sinks(heat, Sinks(()), 0, SHIRT) == heat
    with pytest.raises(UnavailableError, match="on the reference's own tokens"):
        without_sinks(heat, found, 0, TokenGrid(4, 3, 1))


def test_words_add_up_to_the_texts_share_and_to_the_route() -> None:
    maps = JointRun({"cond": flux_like(7)}, steps=4).record()
    found, shares = words(maps), mean_shares(routes(maps))
    through = [shares["shirt via text"], shares["shoes via text"]]
    assert found.handed_on.sum(1).tolist() == pytest.approx(through, rel=1e-5)
    assert float(found.share.sum()) == pytest.approx(sum(through) + shares["the text itself"], rel=1e-5)
    assert found.keys == 7 + 24 + 20 + 6


def test_a_run_without_the_texts_queries_says_so() -> None:
    with pytest.raises(UnavailableError, match="words are unavailable: the route via text was not recorded"):
        words(example())
    notes = sinks(example()).notes
    assert notes[0].startswith("sinks of the text were not looked for: words are unavailable")


def test_a_choice_that_does_not_exist_is_refused() -> None:
    maps = record({})
    with pytest.raises(UnavailableError, match="no recorded layer matches"):
        words(maps, Choice(layers="nowhere"))


def test_the_rule_names_its_thresholds() -> None:
    assert "1%" in RULE
    assert "20 times" in RULE


def spread_by_hand(maps: AttributionMaps) -> Tensor:
    rows = maps.pairwise("only")[0, 0, 0]
    return rows.std(0, unbiased=False) / rows.mean(0)


def test_the_variation_of_a_reference_is_that_of_its_pairs() -> None:
    maps = record({FIRST + 13: 5.0})
    (sink,) = sinks(maps).found
    assert sink.variation == pytest.approx(float(spread_by_hand(maps)[13]), rel=1e-4)


def test_a_token_may_be_a_sink_in_some_layers_alone() -> None:
    """Its share is then a part of the mean over all of them."""
    one, none = record({2: 5.0}), record({})
    tensors = {**one._tensors, **{(kind, "other", *rest): t for (kind, _, *rest), t in none._tensors.items()}}
    facts = {name: getattr(one, name) for name in Facts.__dataclass_fields__}
    layers = (one.layers[0], replace(one.layers[0], name="other"))
    both = AttributionMaps(tensors, **facts | {"layers": layers})  # type: ignore[arg-type]
    (sink,), (alone,) = sinks(both).found, sinks(one).found
    assert sink.layers == ("only",)
    assert sink.share == pytest.approx(alone.share / 2)
    assert sinks(both, Choice(layers="other")).found == ()
    before, (after, _) = mean_shares(routes(both)), shares_without(both)
    assert after["generated"] == pytest.approx(before["generated"] / (1 - sink.share), rel=1e-5)
