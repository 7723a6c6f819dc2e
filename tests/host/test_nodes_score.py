"""I2AM_IMACS: the numbers are the library's, what has no score is NaN and says why, masks that cannot be meant are refused."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests.maps_case import GENERATED, REFERENCE, box, defaults, library, planted

LEFT = box(GENERATED, 0, 0, 1, 0.5)
OBJECT = box(REFERENCE, 0, 0, 1, 0.5)


@pytest.fixture(scope="module")
def maps(pack: ModuleType) -> Any:
    return planted(pack)


@pytest.fixture
def score(pack_nodes: dict[str, Any]) -> Any:
    node = pack_nodes["I2AM_IMACS"]

    def scored(maps: Any, **inputs: Any) -> Any:
        return node.execute(**{**defaults(node), "maps": maps, "side": "mass", **inputs}).args

    return scored


def test_the_numbers_are_the_librarys(pack: ModuleType, score: Any, maps: Any) -> None:
    imacs_pair, choice = library(pack, "scores.imacs").imacs_pair, library(pack, "levels.choice").Choice
    for image in (0, 1):
        expected = imacs_pair(maps, LEFT[0], OBJECT[0], choice(image=image), side="mass", weight=2.0, threshold=0.3)
        g, r, table, card = score(
            maps, inpaint_mask=LEFT, reference_mask=OBJECT, batch_index=image, threshold=0.3, **{"lambda": 2.0}
        )
        assert (g, r) == (expected["g"].score, expected["r"].score)
        assert f"{g:.3f}" in table
        assert f"{r:.3f}" in table
        assert "λ 2" in table
        assert card.ndim == 4
        assert card.shape[0] == 1
        assert card.shape[-1] == 3


def test_mass_on_the_left_scores_high_on_the_left_and_low_on_the_right(score: Any, maps: Any) -> None:
    assert score(maps, inpaint_mask=LEFT)[0] > 0.6
    assert score(maps, inpaint_mask=1 - LEFT)[0] < -1.5


def test_a_batch_gives_means_and_a_card_each(score: Any, maps: Any) -> None:
    each = [score(maps, inpaint_mask=LEFT, reference_mask=OBJECT, batch_index=i) for i in (0, 1)]
    g, r, table, cards = score(maps, inpaint_mask=LEFT, reference_mask=OBJECT)
    assert g == pytest.approx((each[0][0] + each[1][0]) / 2)
    assert r == pytest.approx((each[0][1] + each[1][1]) / 2)
    assert len(cards) == 2
    assert "IMACS_g image 1" in table
    assert f"IMACS_r mean: {r:.3f}" in table


def test_a_mask_an_image(score: Any, maps: Any) -> None:
    both = torch.cat([LEFT, 1 - LEFT])
    first, second = (score(maps, inpaint_mask=both, batch_index=i)[0] for i in (0, 1))
    assert first > 0.6
    assert second < -1.5


def test_a_missing_side_is_nan_and_says_so(score: Any, maps: Any) -> None:
    g, r, table, _ = score(maps, inpaint_mask=LEFT)
    assert not math.isnan(g)
    assert math.isnan(r)
    assert "IMACS_r: no reference mask was given" in table.replace(" image 0", "")
    assert "NaN" in table


def test_the_recorded_mask_serves_where_none_is_connected(pack: ModuleType, score: Any, maps: Any) -> None:
    recorded = planted(pack, mask=LEFT)
    g, r, table, _ = score(recorded, reference_mask=OBJECT)
    assert g == pytest.approx(score(maps, inpaint_mask=LEFT)[0])
    assert not math.isnan(r)
    assert "given at recording" in table


def test_it_previews_the_card(run_graph: Any, pack_nodes: dict[str, Any], maps: Any) -> None:
    inputs = {**defaults(pack_nodes["I2AM_IMACS"]), "maps": ["give_maps", 0], "inpaint_mask": ["give_mask", 0]}
    out = run_graph({"score": {"class_type": "I2AM_IMACS", "inputs": inputs}}, give={"maps": maps, "mask": LEFT})
    assert len(out.ui["score"]["images"]) == 2


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, ["needs a mask"]),
        ({"inpaint_mask": torch.zeros(1, *GENERATED)}, ["inpainting mask is empty"]),
        ({"reference_mask": torch.ones(1, *REFERENCE), "inpaint_mask": LEFT}, ["reference mask covers the whole picture"]),
        ({"inpaint_mask": torch.ones(3, *GENERATED)}, ["3 masks", "2 image(s)"]),
        ({"inpaint_mask": box((64, 80), 0, 0, 1, 0.5)}, ["80 x 64", "64 x 80"]),
        ({"inpaint_mask": LEFT * 3}, ["0 to 3"]),
        ({"inpaint_mask": LEFT, "image": torch.zeros(3, *GENERATED, 3)}, ["3 pictures", "2 image(s)"]),
        ({"inpaint_mask": LEFT, "image": torch.zeros(1, 64, 80, 3)}, ["80 x 64", "64 x 80"]),
    ],
)
def test_what_cannot_be_meant_is_said(
    pack: ModuleType, score: Any, maps: Any, inputs: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(library(pack, "errors").I2AMError) as caught:
        score(maps, **inputs)
    assert [word for word in words if word not in str(caught.value)] == []
