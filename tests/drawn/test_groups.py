"""Groups for editing with two references: each pixel of the answer comes from where the truth says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from i2am.drawn.groups import (
    EDITS,
    GARMENTS,
    Edits,
    Groups,
    draw_groups,
    edit_of,
    group_specs,
    held_out_groups,
    training_groups,
)
from i2am.drawn.seeds import HELD_OUT, is_held_out
from i2am.drawn.spec import REFERENCE


@pytest.fixture(scope="module")
def groups() -> Groups:
    return draw_groups(range(4))


@pytest.fixture(scope="module")
def edits(groups: Groups) -> Edits:
    return groups.edits(0, 1)


def _at(picture: Tensor, place: Tensor) -> Tensor:
    size = torch.tensor([REFERENCE[1], REFERENCE[0]]).view(1, 2, 1, 1)
    return F.grid_sample(picture, (place / size * 2 - 1).permute(0, 2, 3, 1), align_corners=False)


def test_a_group_is_one_body_and_scene_in_four_garments() -> None:
    specs = group_specs(5)
    assert len(specs) == GARMENTS
    assert len({(s.body, s.scene) for s in specs}) == 1
    assert len({s.garment for s in specs}) == len({s.flat for s in specs}) == GARMENTS
    assert len(EDITS) == len(set(EDITS)) == 12
    assert all(before != after for before, after in EDITS)


def test_what_the_garment_shows_lies_at_its_true_place(edits: Edits) -> None:
    """Up to the shading, which differs between the two pictures."""
    where = edits.from_garment.bool().expand_as(edits.worn)
    error = (_at(edits.garment, edits.place) - edits.worn).abs()[where]
    beside = (_at(edits.garment, edits.place + 12) - edits.worn).abs()[where]
    assert float(error.mean()) < 0.08
    assert float(error.mean()) < 0.4 * float(beside.mean())


def test_what_stays_is_the_person_to_the_last_bit(edits: Edits) -> None:
    where = edits.from_person.bool().expand_as(edits.worn)
    assert torch.equal(edits.person[where], edits.worn[where])
    assert not bool((edits.from_person * edits.from_garment).any())
    neither = 1 - edits.from_person - edits.from_garment
    assert 0 < float(neither.mean()) < 0.06
    assert float(edits.from_garment.mean()) > 0.1


def test_one_edit_is_a_row_of_its_groups(groups: Groups) -> None:
    one, all_of_them = edit_of(groups, 2, 3, 1), groups.edits(3, 1)
    for name, value in vars(one).items():
        assert torch.equal(value, getattr(all_of_them, name)[2:3])


def test_a_group_is_the_same_alone_and_in_a_batch(groups: Groups) -> None:
    alone = draw_groups([2])
    assert torch.equal(alone.person[0], groups.person[2])
    assert torch.equal(alone.place[0], groups.place[2])


def test_training_and_held_out_groups_share_no_pair() -> None:
    last = HELD_OUT // GARMENTS
    assert not is_held_out(GARMENTS * training_groups(last - 2, 2)[-1] + GARMENTS - 1)
    assert is_held_out(GARMENTS * held_out_groups(0, 1)[0])
    with pytest.raises(ValueError, match="reach beyond 2500000"):
        training_groups(last - 1, 2)
