"""The edit that is shown is one of the groups', and never one of training's."""

from __future__ import annotations

import pytest
import torch

from i2am.drawn.draw import draw_pairs
from i2am.drawn.edit_case import EditCase
from i2am.drawn.groups import GARMENTS, draw_groups, edit_of, group_specs, held_out_groups
from i2am.drawn.seeds import is_held_out
from i2am.drawn.spec import COLOURS


@pytest.mark.parametrize("seed", [0, 7])
def test_it_is_the_first_edit_of_a_held_out_group(seed: int) -> None:
    case, (group,) = EditCase.draw(seed), held_out_groups(seed, 1)
    assert all(is_held_out(GARMENTS * group + i) for i in range(GARMENTS))
    want = edit_of(draw_groups([group]), 0, 0, 1)
    for name, value in vars(case.edits).items():
        assert torch.equal(value, getattr(want, name)), name
    assert torch.equal(case.worn.person, case.edits.worn)
    assert torch.equal(case.worn.reference, case.edits.garment)
    assert torch.equal(case.worn.truth, case.edits.place)


def test_the_new_garment_can_be_changed() -> None:
    drawn = EditCase.draw(3)
    changed = EditCase.draw(3, pattern="plain", colour="teal", letter="S")
    assert torch.equal(changed.edits.person, drawn.edits.person)
    assert torch.equal(changed.edits.place, drawn.edits.place)
    assert not torch.equal(changed.edits.garment, drawn.edits.garment)
    inside = changed.worn.reference_mask[0, 0] == 1
    teal = torch.tensor(COLOURS["teal"]).view(3, 1)
    near = (changed.edits.garment[0][:, inside] - teal).abs().amax(0) < 0.06
    assert near.float().mean() > 0.3
    with pytest.raises(ValueError, match="none of red, orange"):
        EditCase.draw(3, colour="beige")


def test_what_stays_is_the_same_pixel_in_both_pictures() -> None:
    specs = group_specs(next(iter(held_out_groups(5, 1))))
    edits = EditCase.of(specs[2], specs[3]).edits
    kept = edits.from_person.bool().expand_as(edits.worn)
    assert torch.equal(edits.worn[kept], edits.person[kept])
    assert not (edits.from_person * edits.from_garment).any()
    assert torch.equal(edits.worn, draw_pairs([specs[3]]).person)
