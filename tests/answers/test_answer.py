"""What is said of a whole run, where the truth is planted."""

from __future__ import annotations

import pytest
import torch
from answers_case import GARMENT, GENERATED, REFERENCE, SIZE, home, looking_at, printed, region, run, worn
from joint_run import JointRun, flux_like

from i2am.answers import Said, answer
from i2am.answers.places import name_of_place, ninths, place_of

PICTURES = (worn(printed("F")), [printed("F")])
INPAINT = torch.zeros(SIZE)
INPAINT[24:120, 12:84] = 1


def topic(said: tuple[Said, ...], name: str) -> Said:
    return next(one for one in said if one.topic == name)


def test_a_part_of_the_object_that_was_left_out_is_named() -> None:
    logits = looking_at(home())
    rows, columns = torch.meshgrid(torch.arange(REFERENCE[0]), torch.arange(REFERENCE[1]), indexing="ij")
    corner = ((rows < REFERENCE[0] / 3) & (columns < REFERENCE[1] / 3)).flatten()
    found = topic(answer(run(lambda _: logits.masked_fill(corner, -30)), *PICTURES).said, "reach")
    assert found.verdict == "hardly"
    assert found.text.startswith("The upper left of the reference is hardly looked at: 0.0 ×")
    assert min(found.figures, key=lambda name: found.figures[name]) == "upper left"


def test_even_attention_reaches_every_part() -> None:
    even = torch.zeros(len(home()), REFERENCE[0] * REFERENCE[1])
    found = topic(answer(run(lambda _: even), *PICTURES).said, "reach")
    assert found.verdict == "all"
    assert list(found.figures.values()) == pytest.approx([1] * 9, abs=1e-4)


def test_where_the_object_went_is_weighed_against_the_mask() -> None:
    inside = (torch.nn.functional.adaptive_avg_pool2d(INPAINT[None], GENERATED)[0].flatten() > 0.5)[:, None]
    object_ = region((0, 0, GARMENT[1], 80))
    cells = torch.nn.functional.adaptive_avg_pool2d(object_[None], REFERENCE)[0].flatten() > 0.5
    for at, verdict in ((inside, "inside"), (~inside, "spilt")):
        logits = torch.where(at & cells, 0.0, torch.where(~at & ~cells, 0.0, -20.0))
        found = topic(
            answer(run(lambda _, it=logits: it), *PICTURES, inpaint_mask=INPAINT, reference_mask=object_).said, "outside"
        )
        assert found.verdict == verdict
        assert found.figures["share"] == pytest.approx(float(verdict == "inside"), abs=0.02)


def test_the_part_of_the_run_that_looks_like_the_whole_is_named() -> None:
    early, late = looking_at(home()), looking_at(torch.tensor([19.0, 13.0]) - home())
    maps = run(lambda step: early if step == 0 else late)
    found = topic(answer(maps, *PICTURES).said, "time")
    assert found.verdict == "settles"
    second = list(found.figures)[1]  # the first part of the run alone looks elsewhere
    assert found.text.startswith(f"What is looked at settles with {second}; before,")
    assert topic(answer(run(lambda _: early), *PICTURES).said, "time").verdict == "at once"


@pytest.mark.parametrize(("width", "verdict"), [(0.6, "sharp"), (2.6, "between"), (40.0, "diffuse")])
def test_sharp_and_diffuse_maps(width: float, verdict: str) -> None:
    said = answer(run(lambda _: looking_at(home(), width)), *PICTURES).said
    assert topic(said, "focus").verdict == verdict
    assert any(one.topic == "next" for one in said) == (verdict == "diffuse")


def test_of_several_references_it_says_which_led() -> None:
    maps = JointRun({"cond": flux_like(7)}, images=1).record()
    found = topic(answer(maps, PICTURES[0], [None] * len(maps.references)).said, "which")
    shares = [found.figures[name] for name in found.figures if not name.endswith(" leads")]
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert found.verdict == max((n for n in found.figures if not n.endswith(" leads")), key=lambda n: found.figures[n])


def test_every_judgement_states_its_rule_and_figures() -> None:
    found = answer(run(lambda _: looking_at(home())), *PICTURES, inpaint_mask=INPAINT)
    assert [one.topic for one in found.said] == ["reach", "outside", "time", "focus"]
    assert all(one.rule and one.figures and one.verdict for one in found.said)
    assert found.text().splitlines()[: len(found.said)] == found.sentences
    assert all(rule in found.text() for rule in found.rules)


@pytest.mark.parametrize("mask", [torch.zeros(SIZE), torch.ones(SIZE), torch.full(SIZE, float("nan"))], ids=["0", "1", "NaN"])
def test_masks_that_say_nothing_leave_the_rest_said(mask: torch.Tensor) -> None:
    maps = run(lambda _: looking_at(home()))
    found = answer(maps, *PICTURES, inpaint_mask=mask, reference_mask=mask)
    topics = [one.topic for one in found.said]
    assert "time" in topics
    assert "outside" not in topics
    assert ("reach" in topics) == (float(mask.sum()) > 0)
    assert all(line.startswith("Nothing can be said of ") for line in found.missing)


def test_names_of_places() -> None:
    assert list(ninths(torch.ones(9, 9))) == [name_of_place(i, j) for i in range(3) for j in range(3)]
    odd = torch.zeros(11, 7)
    odd[2:9, 1:6] = torch.rand(7, 5, generator=torch.Generator().manual_seed(0))
    parts = ninths(odd)
    assert torch.allclose(torch.stack(list(parts.values())).sum(0), odd, atol=1e-6)
    assert place_of(torch.tensor([[0.0, 0, 0], [0, 0, 0], [0, 0, 1]])) == "lower right"
