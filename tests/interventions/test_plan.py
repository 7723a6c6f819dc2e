"""A cut is checked when it is made, and says itself in words."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from i2am.errors import I2AMError
from i2am.interventions.plan import Cut, tokens_of

HALF = torch.tensor([[1.0, 0.0], [1.0, 0.0]])

BAD: list[tuple[dict[str, Any], str]] = [
    ({"what": "shirt"}, r"what is cut is 'shirt'; choose one of 'reference', 'all references', 'text', 'nothing'"),
    ({"route": "direct"}, r"the route is 'direct'; choose one of 'all', 'generated', 'text', 'references'"),
    ({"branches": ()}, "branches of a cut are 'cond', 'uncond' or both"),
    ({"branches": ("middle",)}, r"got \('middle',\)"),
    ({"reference": -1}, "references are counted from 0, got -1"),
    ({"steps": (5, 5)}, "first:stop with 0 ≤ first < stop.*got 5:5"),
    ({"steps": (-1, 5)}, "got -1:5"),
    ({"heads": (-2,)}, "heads are counted from 0, got -2"),
    ({"heads": ()}, "heads are counted from 0, got none"),
    ({"what": "text", "tokens": (3, -1)}, "tokens are counted from 0, got 3, -1"),
    ({"tokens": (3,)}, "tokens of the text were given, but 'reference' is cut; cut 'text'"),
    ({"what": "text", "region": HALF}, "a region was given, but 'text' is cut"),
    ({"what": "all references", "region": HALF}, "it is a region of one reference"),
    ({"where": HALF}, "route is 'all', so tokens of others would lose sight as well; set the route to 'generated'"),
    ({"what": "text", "route": "text"}, "cannot be cut from its own tokens alone"),
    ({"region": torch.zeros(2, 2)}, "the region of the reference is empty"),
    ({"region": torch.ones(2, 3, 4)}, r"is one mask of shape \(H, W\), got \(2, 3, 4\)"),
    ({"region": 2 * HALF}, "holds values from 0 to 2"),
    ({"where": torch.zeros(2, 2), "route": "generated"}, "the region of the generated picture is empty"),
]


@pytest.mark.parametrize(("given", "says"), BAD)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(I2AMError, match=says):
        Cut(**given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "Cut: reference 0 (the 1st) from all tokens."),
        ({"what": "nothing"}, "Nothing is cut: the run is the unchanged one."),
        (
            {"reference": 2, "region": HALF, "route": "generated", "where": HALF, "heads": (0, 3), "layers": ("output.*",)},
            "Cut: a region of reference 2 (the 3rd), 50 % of its picture, from a region of the generated picture, 50 % of it, "
            "in layers output.*, in heads 0 3.",
        ),
        (
            {"what": "text", "tokens": (1, 4), "route": "references", "steps": (2, 5), "branches": ("cond",)},
            "Cut: tokens 1 4 of the text from the references' tokens, in steps 2 to 4, in the branch cond.",
        ),
        ({"what": "text", "tokens": (1,)}, "Cut: tokens 1 of the text from all tokens, in the branch cond."),
        ({"what": "text", "route": "generated"}, "Cut: the whole text from the generated picture's tokens."),
        ({"what": "all references", "route": "text"}, "Cut: all references from the text's tokens."),
        ({"route": "references"}, "Cut: reference 0 (the 1st) from the other references' tokens."),
    ],
)
def test_it_says_itself(given: dict[str, Any], says: str) -> None:
    assert Cut(**given).sentence == says


def test_steps_are_half_open() -> None:
    cut = Cut(steps=(1, 3))
    assert [cut.is_due(step) for step in range(5)] == [False, True, True, False, False]
    assert Cut().is_due(99)
    assert not Cut("nothing").is_due(0)


@pytest.mark.parametrize("text", ["the shirt", "5:5", "-1", "3:1", "2;4"])
def test_numbers_of_tokens_are_numbers(text: str) -> None:
    with pytest.raises(I2AMError, match=r"such as 2 5:8 .* got"):
        tokens_of(text)
