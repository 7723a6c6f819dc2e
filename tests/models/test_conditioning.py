"""Pictures to conditioning: what the family needs, at its size, with its token layout beside it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from i2am.errors import I2AMError, LayoutError, MaskError
from i2am.geometry.layout import Layout, Reference, TokenGrid
from i2am.maps.facts import REFERENCE_MASK
from i2am.models.carried import KEY, Carried, carried_by, carry
from i2am.models.conditioning import MASK_SIDE, assemble, joined
from i2am.models.demo.family import DemoEncoder
from i2am.models.pictures import mask_to_size, to_size

RNG = torch.Generator().manual_seed(0)


def picture(*size: int) -> Tensor:
    return torch.rand(*size, 3, generator=RNG)


def encode(pictures: Tensor) -> Tensor:
    """Stands for an autoencoder of factor 4: 4 channels that tell the pictures apart."""
    small = torch.nn.functional.avg_pool2d(pictures.movedim(-1, 1), 4)
    return torch.cat([small, small.mean(1, keepdim=True)], 1)


@pytest.fixture(scope="module")
def encoder() -> DemoEncoder:
    return DemoEncoder()


def test_latents_stand_in_the_models_order(encoder: DemoEncoder) -> None:
    agnostic, densepose, reference = picture(1, 128, 96), picture(1, 128, 96), picture(1, 160, 112)
    ready = assemble(encoder, encode, reference, {"agnostic": agnostic, "densepose": densepose, "person": None})
    (tokens, options), (null, others) = ready.positive[0], ready.negative[0]
    assert torch.equal(options["noise_concat"], torch.cat([encode(agnostic), encode(densepose)], 1))
    assert torch.equal(others["noise_concat"], options["noise_concat"])
    assert torch.equal(tokens, encoder.encode(reference.movedim(-1, 1)))
    assert torch.equal(null, encoder.null(1))
    assert ready.latent.shape == (1, 4, 32, 24)
    told, none = carried_by(options), carried_by(others)
    assert told is not None
    assert none is not None
    assert told.layout == none.layout == encoder.layout()
    assert (told.null, none.null) == (False, True)
    assert told.generated_size == (128, 96)
    assert told.thumbnails is not None
    assert told.thumbnails["reference"].shape == (160, 112, 3)


def test_the_agnostic_picture_is_made_where_it_is_missing(encoder: DemoEncoder) -> None:
    person, densepose, reference = picture(1, 128, 96), picture(1, 128, 96), picture(1, 160, 112)
    mask = torch.zeros(1, 128, 96)
    mask[:, 40:80, 30:60] = 1
    made = assemble(encoder, encode, reference, {"person": person, "densepose": densepose, "inpaint_mask": mask})
    grey = torch.where(mask[..., None] == 1, torch.tensor(0.5), person)
    given = assemble(encoder, encode, reference, {"agnostic": grey, "densepose": densepose})
    assert torch.allclose(made.positive[0][1]["noise_concat"], given.positive[0][1]["noise_concat"], atol=1e-6)


def test_one_picture_serves_a_batch_and_other_numbers_are_refused(encoder: DemoEncoder) -> None:
    pictures = {"agnostic": picture(1, 128, 96), "densepose": picture(3, 128, 96)}
    ready = assemble(encoder, encode, picture(1, 160, 112), pictures)
    assert ready.latent.shape[0] == len(ready.positive[0][0]) == 3
    with pytest.raises(I2AMError, match="agnostic has 2 images where other inputs have 3"):
        assemble(encoder, encode, picture(1, 160, 112), {**pictures, "agnostic": picture(2, 128, 96)})


def test_what_is_missing_is_named(encoder: DemoEncoder) -> None:
    with pytest.raises(I2AMError, match=r"needs densepose and agnostic \(or person with inpaint_mask\)"):
        assemble(encoder, encode, picture(1, 160, 112), {"person": picture(1, 128, 96)})


def test_pictures_of_another_person_and_latents_of_another_model_are_refused(encoder: DemoEncoder) -> None:
    pictures = {"agnostic": picture(1, 128, 96), "densepose": picture(1, 96, 128)}
    with pytest.raises(I2AMError, match="densepose is 128 x 96 pixels, but the picture of the person is 96 x 128"):
        assemble(encoder, encode, picture(1, 160, 112), pictures)
    with pytest.raises(I2AMError, match=r"shape \(4, 16, 12\) where the demo model needs \(4, 32, 24\)"):
        assemble(
            encoder, lambda p: encode(p)[..., ::2, ::2], picture(1, 160, 112), pictures | {"densepose": picture(1, 128, 96)}
        )


def test_a_mask_of_any_usual_shape_is_one_mask(encoder: DemoEncoder) -> None:
    pictures = {"person": picture(1, 128, 96), "densepose": picture(1, 128, 96)}
    reference, mask = picture(1, 160, 112), torch.zeros(1, 128, 96)
    mask[:, 40:80, 30:60] = 1
    ready = assemble(encoder, encode, reference, {**pictures, "inpaint_mask": mask})
    for shaped in (mask[0], mask[None]):
        again = assemble(encoder, encode, reference, {**pictures, "inpaint_mask": shaped})
        assert again.latent.shape == ready.latent.shape
        assert torch.equal(again.positive[0][1]["noise_concat"], ready.positive[0][1]["noise_concat"])


@pytest.mark.parametrize("factor", [255.0, -1.0, float("nan")])
def test_a_mask_outside_of_0_to_1_is_refused(encoder: DemoEncoder, factor: float) -> None:
    given = {"person": picture(1, 128, 96), "densepose": picture(1, 128, 96), "inpaint_mask": factor * torch.ones(1, 128, 96)}
    with pytest.raises(MaskError, match=r"the inpaint_mask holds values from .*, expected 0 to 1"):
        assemble(encoder, encode, picture(1, 160, 112), given)


def test_pictures_that_are_no_batch_and_two_persons_are_refused(encoder: DemoEncoder) -> None:
    pictures = {"agnostic": picture(1, 128, 96), "densepose": picture(1, 128, 96)}
    with pytest.raises(I2AMError, match=r"the densepose has the shape \(128, 96, 3\), expected \(B, H, W, 3\)"):
        assemble(encoder, encode, picture(1, 160, 112), pictures | {"densepose": picture(128, 96)})
    lying = {"person": picture(1, 96, 128), "densepose": picture(1, 96, 128)}
    with pytest.raises(I2AMError, match="the agnostic is 96 x 128 pixels, but the picture of the person is 128 x 96"):
        assemble(encoder, encode, picture(1, 160, 112), pictures | lying)


def test_pictures_of_the_right_size_stay_as_they_are() -> None:
    shown = picture(2, 20, 10)
    assert torch.equal(to_size(shown, (20, 10)), shown.movedim(-1, 1))
    assert to_size(torch.ones(1, 7, 5, 4), (20, 10)).shape == (1, 3, 20, 10)
    assert mask_to_size(torch.ones(8, 6), (4, 3)).shape == (1, 1, 4, 3)
    with pytest.raises(I2AMError, match=r"\(B, H, W, 3\)"):
        to_size(torch.ones(3, 20, 10), (20, 10))


def test_a_layout_survives_beside_the_conditioning() -> None:
    grids = (TokenGrid(3, 5, 1, (30, 50), (0.1, 0.0, 0.9, 1.0)), TokenGrid(4, 2, rect=None))
    layout = Layout((Reference(grids[0], 2, "shirt"), Reference(grids[1], 19, "shoes")), keys=28)
    carried = Carried(layout, (96, 64), thumbnails={"reference": torch.zeros(3, 2, 3, dtype=torch.uint8)})
    before = [[torch.ones(1, 28, 8), {"strength": 0.5}]]
    (_, options), *_ = carry(before, carried)
    assert KEY not in before[0][1]
    back = carried_by(options)
    assert back is not None
    assert back.layout == layout
    assert (back.generated_size, back.null, options["strength"]) == ((96, 64), False, 0.5)
    assert carried_by({"strength": 1.0}) is None
    with pytest.raises(LayoutError, match="format 99"):
        carried_by({KEY: {**options[KEY], "format": 99}})


def test_the_masks_travel_with_the_conditioning(encoder: DemoEncoder) -> None:
    inside, object_ = torch.zeros(1, 128, 96), torch.zeros(1, 160, 112)
    inside[:, 40:80, 30:60], object_[:, 20:120, 10:90] = 1, 1
    pictures = {"agnostic": picture(1, 128, 96), "densepose": picture(1, 128, 96), "inpaint_mask": inside}
    ready = assemble(encoder, encode, picture(1, 160, 112), pictures, object_)
    told, none = carried_by(ready.positive[0][1]), carried_by(ready.negative[0][1])
    assert told is not None
    assert none is not None
    assert told.inpaint_mask is not None
    assert torch.equal(told.inpaint_mask, inside)
    assert told.thumbnails is not None
    assert torch.equal(told.thumbnails[REFERENCE_MASK][..., 0].float() / 255, object_[0])
    assert REFERENCE_MASK not in (none.thumbnails or {})


def test_masks_that_say_nothing_or_are_of_one_image_alone_do_not_travel(encoder: DemoEncoder) -> None:
    pictures = {"agnostic": picture(2, 128, 96), "densepose": picture(2, 128, 96)}
    for inside in (torch.ones(1, 128, 96), torch.zeros(1, 128, 96)):
        ready = assemble(encoder, encode, picture(2, 160, 112), {**pictures, "inpaint_mask": inside})
        told = carried_by(ready.positive[0][1])
        assert told is not None
        assert told.inpaint_mask is None
    objects = torch.zeros(2, 160, 112)
    objects[0, 20:120], objects[1, 40:120] = 1, 1
    told = carried_by(assemble(encoder, encode, picture(2, 160, 112), pictures, objects).positive[0][1])
    assert told is not None
    assert REFERENCE_MASK not in (told.thumbnails or {})


def test_a_large_mask_is_kept_small(encoder: DemoEncoder) -> None:
    pictures = {"agnostic": picture(1, 128, 96), "densepose": picture(1, 128, 96)}
    object_ = torch.zeros(1, 1600, 1120)
    object_[:, 800:] = 1
    told = carried_by(assemble(encoder, encode, picture(1, 1600, 1120), pictures, object_).positive[0][1])
    assert told is not None
    assert told.thumbnails is not None
    kept = told.thumbnails[REFERENCE_MASK]
    assert kept.shape == (MASK_SIDE, 358, 3)
    assert float(kept.float().mean()) / 255 == pytest.approx(0.5, abs=1e-3)


def test_a_batch_of_parts_keeps_the_masks_of_all(encoder: DemoEncoder) -> None:
    parts, masks = [], []
    for left in (10, 40):
        inside = torch.zeros(1, 128, 96)
        inside[:, 40:80, left : left + 30] = 1
        pictures = {"agnostic": picture(1, 128, 96), "densepose": picture(1, 128, 96), "inpaint_mask": inside}
        parts.append(assemble(encoder, encode, picture(1, 160, 112), pictures, torch.ones(1, 160, 112)))
        masks.append(inside)
    told = carried_by(joined(parts).positive[0][1])
    assert told is not None
    assert told.inpaint_mask is not None
    assert torch.equal(told.inpaint_mask, torch.cat(masks))
    assert REFERENCE_MASK not in (told.thumbnails or {})
