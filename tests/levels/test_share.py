"""Shares of references, text and picture: exact, adding up to 1, and said to be of direct attention alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import statement
import torch
from filled_maps import example
from joint_run import PICTURE, JointRun, flux_like
from torch import Tensor

from i2am.errors import LayoutError, UnavailableError
from i2am.geometry.layout import TokenGrid
from i2am.geometry.sequence import Sequence, Span, generated, other, reference, text
from i2am.levels.choice import Choice
from i2am.levels.marginal import tlam, ulam
from i2am.levels.share import DIRECT, mean_shares, share, which_reference
from i2am.maps.value import AttributionMaps

TWO_TEXTS = Sequence.of(
    text(3, "prompt"), other(4, "filled up"), generated(PICTURE), text(2, "words seen"), reference(TokenGrid(3, 3), "shirt")
)


def stated(run: JointRun, branch: str, layer: str, head: int | None = None) -> dict[str, Tensor]:
    """(N,) of each part of the first image, averaged over steps and heads, from the definition."""
    found = {}
    for span in run.sequences[branch].spans:
        per_step = [
            statement.real_attention(run.attention(layer, branch, step))[0][..., span.positions()].sum(-1)
            for step in range(run.steps)
        ]
        heads = torch.stack(per_step).mean(0)
        found[span.name] = heads.mean(0) if head is None else heads[head]
    return found


@pytest.mark.parametrize("sequence", [flux_like(7), TWO_TEXTS])
def test_shares_are_those_of_the_softmax_over_all_keys_and_add_up_to_1(sequence: Sequence) -> None:
    run = JointRun({"cond": sequence})
    maps = run.record()
    for layer in run.layers:
        heat = share(maps, Choice(layers=layer))
        expected = stated(run, "cond", layer)
        references = [span.name for span in sequence.references]
        assert heat.labels == (*references, *(span.name for span in sequence.rest))
        for label, values in zip(heat.labels, heat.values, strict=True):
            torch.testing.assert_close(values.flatten().double(), expected[label], rtol=2e-5, atol=1e-7)
        torch.testing.assert_close(heat.values.sum(0), torch.ones(6, 4))
    head = share(maps, Choice(layers=run.layers[0], heads=[2]))
    expected = stated(run, "cond", run.layers[0], 2)
    for label, values in zip(head.labels, head.values, strict=True):
        torch.testing.assert_close(values.flatten().double(), expected[label], rtol=2e-5, atol=1e-7)


def test_a_references_share_is_its_mass() -> None:
    maps = JointRun({"cond": flux_like(7)}).record()
    heat = share(maps)
    for i in range(2):
        torch.testing.assert_close(heat.values[i], ulam(maps, "mass", Choice(reference=i)).values[0])


def test_which_reference_is_the_share_among_references() -> None:
    maps = JointRun({"cond": flux_like(7)}).record()
    of_all, split = share(maps), which_reference(maps)
    assert split.labels == ("shirt", "shoes")
    torch.testing.assert_close(split.values.sum(0), torch.ones(6, 4))
    torch.testing.assert_close(split.values[0], of_all.values[0] / (of_all.values[0] + of_all.values[1]))
    assert DIRECT in split.notes


def test_over_time_each_group_adds_up() -> None:
    maps = JointRun({"cond": flux_like(7)}, steps=4).record()
    heat = share(maps, groups=2)
    assert heat.level == "TLAM"
    assert heat.labels[:2] == ("shirt · steps 0–1", "shoes · steps 0–1")
    torch.testing.assert_close(heat.values.view(2, 4, 6, 4).sum(1), torch.ones(2, 6, 4))
    torch.testing.assert_close(heat.values[[0, 4]], tlam(maps, "mass", groups=2).values)
    more = share(maps, groups=9)
    assert len(more.labels) == 4 * 4
    assert "9 time groups were asked for, the recorded steps 0 to 4 make 4" in more.notes[1]


def test_mean_shares_are_a_bar() -> None:
    bar = mean_shares(share(JointRun({"cond": flux_like(7)}).record()))
    assert list(bar) == ["shirt", "shoes", "text", "generated"]
    assert sum(bar.values()) == pytest.approx(1, abs=1e-6)


def test_a_text_that_only_one_branch_has() -> None:
    """The branch that comes first lacks it: there, and before it was first seen, its share is 0."""
    plain = Sequence.of(text(3, "prompt"), generated(PICTURE), reference(TokenGrid(3, 3), "shirt"))
    more = Sequence.of(text(3, "prompt"), text(2, "vision"), generated(PICTURE), reference(TokenGrid(3, 3), "shirt"))
    run = JointRun({"uncond": plain, "cond": more})
    maps = run.record()
    assert maps.layers[0].rest == ("prompt", "generated", "vision")
    for branch in run.sequences:
        heat, expected = share(maps, Choice(branch, layers=run.layers[0])), stated(run, branch, run.layers[0])
        for label, values in zip(heat.labels, heat.values, strict=True):
            wanted = expected.get(label, torch.zeros(24, dtype=torch.float64))
            torch.testing.assert_close(values.flatten().double(), wanted, rtol=2e-5, atol=1e-7)


def test_references_of_one_name_are_told_apart() -> None:
    twice = Sequence.of(generated(PICTURE), reference(TokenGrid(2, 2), "shirt"), reference(TokenGrid(2, 2), "shirt"))
    assert share(JointRun({"cond": twice}).record()).labels == ("shirt (1)", "shirt (2)", "generated")


@pytest.mark.parametrize(
    ("names", "text_name", "expected"),
    [
        (("text", "shoes"), "text", ("text (1)", "shoes", "text")),
        (("generated", "generated"), "text", ("generated (1)", "generated (2)", "text")),
        (("shirt", "shirt", "shirt (2)"), "text", ("shirt (1)", "shirt (2)′", "shirt (2)", "text")),
        (("text", "text (1)"), "text", ("text (1)′", "text (1)", "text")),
    ],
)
def test_parts_of_one_name_are_never_added_up(names: tuple[str, ...], text_name: str, expected: tuple[str, ...]) -> None:
    spans = [reference(TokenGrid(2, 1 + i), name) for i, name in enumerate(names)]
    run = JointRun({"cond": Sequence.of(text(3, text_name), generated(PICTURE), *spans)})
    heat = share(run.record(), Choice(layers=run.layers[0]))
    assert heat.labels == (*expected, "generated")
    assert which_reference(run.record()).labels == expected[:-1]
    for values, span in zip(heat.values, run.sequences["cond"].references, strict=False):
        of = [run.attention(run.layers[0], "cond", step)[0].softmax(-1)[..., span.positions()] for step in range(run.steps)]
        torch.testing.assert_close(values.flatten().double(), torch.stack(of).sum(-1).mean((0, 1)), rtol=2e-5, atol=1e-7)
    assert sum(mean_shares(heat).values()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ([text(2, "generated")], "'generated' in the sequence .* is the name of tokens of text and of generated"),
        ([text(2, "other")], "'other' .* tokens of text and of other"),
        ([text(2, "prompt"), other(1, "prompt")], "'prompt' .* tokens of other and of text, .* give the other another"),
    ],
)
def test_a_name_of_two_roles_is_refused(spans: list[Span], said: str) -> None:
    with pytest.raises(LayoutError, match=said):
        Sequence.of(*spans, generated(PICTURE), reference(TokenGrid(2, 2), "shirt"))


def test_pieces_of_one_text_are_one_part() -> None:
    pieces = Sequence.of(text(3), reference(TokenGrid(2, 2), "shirt"), text(2), generated(PICTURE))
    assert share(JointRun({"cond": pieces}).record()).labels == ("shirt", "text", "generated")


def test_shares_are_kept_in_a_file(tmp_path: Path) -> None:
    maps = JointRun({"cond": TWO_TEXTS}).record()
    again = AttributionMaps.load(maps.save(tmp_path / "maps.safetensors"))
    assert again == maps
    assert share(again) == share(maps)


def test_what_has_no_shares_says_so() -> None:
    with pytest.raises(UnavailableError, match="share is unavailable: the chosen layers attend to references alone"):
        share(example())
    with pytest.raises(UnavailableError, match="which reference is unavailable"):
        which_reference(example())
    with pytest.raises(UnavailableError, match="0 time groups were asked for"):
        share(JointRun({"cond": flux_like(7)}).record(), groups=0)
    maps = JointRun({"cond": flux_like(7)}).record()
    for of_all in (share, which_reference):
        with pytest.raises(UnavailableError, match="reference 5 does not exist; the run had 2, counted from 0"):
            of_all(maps, Choice(reference=5))
        assert of_all(maps, Choice(reference=1)) == of_all(maps)
        with pytest.raises(UnavailableError, match="by layer or by time, got one_by_one and 2 groups"):
            of_all(maps, groups=2, one_by_one=True)
