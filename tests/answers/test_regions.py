"""What is said of a named region, in runs whose truth is planted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from answers_case import GARMENT, REFERENCE, SIZE, belongs, home, looking_at, printed, region, run, worn
from PIL import Image
from torch import Tensor

from i2am.answers import Region, Said, answer
from i2am.answers.carried import Carried, carry, lab, local_structure
from i2am.answers.consensus import agreeing
from i2am.answers.looked import looked
from i2am.errors import I2AMError, MaskError

LOGO = Region("logo", region())


def tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).float().movedim(-1, 0) / 255


def said_of(logits: Tensor, generated: Image.Image, reference: Image.Image | None) -> Said:
    found = answer(run(lambda _: logits), generated, [reference], regions=[LOGO])
    assert found.said[0].about == "logo"
    return found.said[0]


def carried(logits: Tensor, generated: Image.Image) -> Carried:
    found = carry(looked(run(lambda _: logits)), LOGO.mask, tensor(printed("F")), tensor(generated))
    assert found is not None
    return found


def test_a_print_that_was_looked_at_and_drawn_arrived() -> None:
    said = said_of(looking_at(home()), worn(printed("F")), printed("F"))
    assert said.verdict == "arrived"
    assert said.text.startswith("logo: arrived at the middle of the picture, and looks alike there")
    assert said.figures["structure"] > 0.9
    assert said.figures["scatter"] < 0.5


def test_the_copy_lies_where_attention_says() -> None:
    found = carried(looking_at(home()), worn(printed("F")))
    away = torch.tensor(found.middle) - torch.tensor(belongs())
    assert float(away.norm()) < 1.5  # pixels; a cell has 4
    assert found.colour < 6


def test_another_print_in_the_right_place_is_drawn_differently() -> None:
    said = said_of(looking_at(home()), worn(printed("U")), printed("F"))
    assert said.verdict == "drawn differently"
    assert said.figures["structure"] < 0.6
    assert "at the middle of the picture" in said.text
    assert "counts as drawn differently" in said.rule


def test_another_colour_is_told_from_another_shape() -> None:
    plain = Image.new("RGB", (GARMENT[1], GARMENT[0]), (40, 60, 160))
    both = [printed("F", (90, 90, 90)), printed("F", (90, 90, 90))]
    tinted = Image.blend(both[1], plain, 0.5)
    said = said_of(looking_at(home()), worn(tinted), both[0])
    assert said.verdict == "another colour"
    assert said.figures["structure"] > 0.9


def test_without_a_picture_nothing_is_said_of_the_drawing() -> None:
    said = said_of(looking_at(home()), worn(printed("F")), None)
    assert said.verdict == "placed"
    assert "structure" not in said.figures


def test_a_region_that_nobody_looks_at() -> None:
    logits = looking_at(home())
    cells = torch.nn.functional.adaptive_avg_pool2d(LOGO.mask[None], REFERENCE)[0].flatten() > 0
    said = said_of(logits.masked_fill(cells, -30), worn(printed("F")), printed("F"))
    assert said.verdict == "hardly looked at"
    assert said.figures["ratio"] < 0.05


def test_even_attention_says_nothing() -> None:
    logits = torch.rand(home().shape[0], REFERENCE[0] * REFERENCE[1], generator=torch.Generator().manual_seed(0)) * 0.1
    assert said_of(logits, worn(printed("F")), printed("F")).verdict == "diffuse"


def test_patches_that_look_there_from_everywhere_make_no_copy() -> None:
    places = home()[torch.randperm(len(home()), generator=torch.Generator().manual_seed(1))]
    said = said_of(looking_at(places), worn(printed("F")), printed("F"))
    assert said.verdict == "apart"
    assert said.figures["scatter"] > 4


def test_a_single_patch_places_nothing() -> None:
    places = torch.zeros_like(home())
    places[400] = torch.tensor([10.0, 7.0])
    logits = looking_at(places)
    logits = torch.logaddexp(logits, torch.tensor(-4.0))  # a glance at everything, so that it is not hardly looked at
    assert said_of(logits, worn(printed("F")), printed("F")).verdict in ("nobody", "hardly looked at")


def test_a_mask_of_another_size_means_the_same_place() -> None:
    small = torch.nn.functional.interpolate(LOGO.mask[None, None], scale_factor=0.5)[0, 0]
    maps, pictures = run(lambda _: looking_at(home())), (worn(printed("F")), [printed("F")])
    both = [answer(maps, *pictures, regions=[Region("logo", mask)]).said[0] for mask in (LOGO.mask, small)]
    assert both[0].verdict == both[1].verdict == "arrived"
    assert both[0].figures["structure"] == pytest.approx(both[1].figures["structure"], abs=0.02)


def test_structure_is_one_of_a_copy_and_about_zero_of_noise() -> None:
    random = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 3, 32, 32, generator=random)
    assert local_structure(a, a * 0.3 + 0.4, torch.ones(32, 32)) > 0.99
    assert abs(local_structure(a, b, torch.ones(32, 32))) < 0.2
    assert local_structure(a, 1 - a, torch.ones(32, 32)) < -0.99


def test_colours_are_cielab() -> None:
    # sRGB red in CIELAB under D65, as tables have it
    assert lab(torch.tensor([1.0, 0.0, 0.0])).tolist() == pytest.approx([53.24, 80.09, 67.20], abs=0.1)


def test_regions_that_mean_nothing_are_refused() -> None:
    with pytest.raises(MaskError, match=r"mask of logo .* holds no pixel above 0.5"):
        Region("logo", torch.zeros(GARMENT))
    with pytest.raises(MaskError, match="NaN"):
        Region("logo", torch.full(GARMENT, float("nan")))
    with pytest.raises(I2AMError, match="logo lies on reference 2, but the run had 1"):
        answer(run(lambda _: looking_at(home())), worn(printed("F")), [None], regions=[Region("logo", region(), 1)])
    with pytest.raises(I2AMError, match="mask of logo is 160 x 112 pixels, but the reference's picture is 112 x 160"):
        answer(run(lambda _: looking_at(home())), worn(printed("F")), [printed("F")], regions=[Region("logo", region().T)])
    with pytest.raises(I2AMError, match="2 reference pictures were given, but the run had 1"):
        answer(run(lambda _: looking_at(home())), worn(printed("F")), [None, None])


def test_without_patch_maps_it_says_what_to_set() -> None:
    found = answer(
        run(lambda _: looking_at(home()), pairwise=None), Image.new("RGB", (SIZE[1], SIZE[0])), [None], regions=[LOGO]
    )
    assert any(line.startswith("Nothing can be said of logo") and "set detail to pairwise" in line for line in found.missing)
    assert [one.topic for one in found.said][:1] == ["reach"]


@pytest.mark.parametrize("astray", [0.0, 0.3, 0.6])
def test_without_a_mask_patches_that_look_astray_do_not_move_the_copy(astray: float) -> None:
    """As where the background looks at the garment too: a part of the patches look at random places about the print."""
    random = torch.Generator().manual_seed(2)
    places = home()
    lost = torch.rand(len(places), generator=random) < astray
    anywhere = torch.rand(len(places), 2, generator=random) * 8 + torch.tensor([6.0, 6.0])
    found = carried(looking_at(torch.where(lost[:, None], anywhere, places)), worn(printed("F")))
    assert float((torch.tensor(found.middle) - torch.tensor(belongs())).norm()) < 2.5
    assert found.structure > 0.85
    assert found.scatter < 1


def test_few_that_agree_by_chance_are_no_copy() -> None:
    random = torch.Generator().manual_seed(3)
    source, target = torch.rand(200, 2, generator=random) * 9, torch.rand(200, 2, generator=random) * 30
    assert bool(agreeing(source, target, torch.ones(200)).all())
    target[:80] = source[:80] @ torch.tensor([[1.5, 0.2], [-0.2, 1.4]]) + 4
    agreed = agreeing(source, target, torch.ones(200))
    assert bool(agreed[:80].all())
    assert float(agreed[80:].float().mean()) < 0.1
    assert torch.equal(agreed, agreeing(source, target, torch.ones(200)))
    assert bool(agreeing(source[:2], target[:2], torch.ones(2)).all())
    assert bool(agreeing(torch.ones(9, 2), target[:9], torch.ones(9)).all())  # all in one place
