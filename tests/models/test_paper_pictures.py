"""What is made of a try-on's pictures before the U-Net sees them, by the authors' formulas written out here."""

from __future__ import annotations

import logging

import paper_models as paper
import pytest
import torch
from torch import Tensor

from i2am.errors import I2AMError
from i2am.models.conditioning import Ready, assemble
from i2am.models.families import FAMILIES
from i2am.models.tryon.checkpoint import sort_checkpoint
from i2am.models.tryon.encoder import TryOnEncoder
from i2am.models.tryon.networks import vae_of

SIDE, SCALE = 64, 0.18215


def encoder_of(name: str) -> TryOnEncoder:
    """A family's encoder that sees nothing, for pictures of 64 x 64."""
    null = torch.zeros(1, 1, 6)
    made = TryOnEncoder(
        FAMILIES[name], lambda x: (x.new_ones(len(x), 17, 5), x.new_ones(len(x), 5)), torch.nn.Linear(5, 6), null, 56, 14
    )
    made.size = (SIDE, SIDE)
    return made


def encode(shown: Tensor) -> Tensor:
    """Stands for an autoencoder: the mean of each cell, which tells pictures apart and is linear."""
    small = torch.nn.functional.avg_pool2d(shown.movedim(-1, 1), 8)
    return torch.cat([small, small.mean(1, keepdim=True)], 1)


def picture(seed: int) -> Tensor:
    return torch.rand(1, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(seed))


def box(top: int, left: int, bottom: int, right: int) -> Tensor:
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, top:bottom, left:right] = 1
    return mask


def made(name: str, **pictures: Tensor) -> Ready:
    return assemble(encoder_of(name), encode, picture(9), dict(pictures), box(5, 5, 50, 50))


HOLE, HANDS = box(10, 20, 50, 60), box(30, 10, 40, 30)
PERSON, WARPED = picture(1), picture(2)


def known(ready: Ready) -> Tensor:
    """What the U-Net sees of the person: the first four channels, unscaled."""
    return ready.positive[0][1]["noise_concat"][:, :4] / SCALE


# ------------------------------------------------------------------------------------------------------- DCI-VTON


def test_version_1_keeps_the_hands_and_starts_from_the_person() -> None:
    """inpaint = feat · (1 − hands) + agnostic · hands; the start is feat = warped · hole + person · (1 − hole)."""
    agnostic = picture(3)
    ready = made("dci-vton", person=PERSON, agnostic=agnostic, inpaint_mask=HOLE, warped=WARPED, hands_mask=HANDS)
    feat = WARPED * HOLE[..., None] + PERSON * (1 - HOLE[..., None])
    inpaint = feat * (1 - HANDS[..., None]) + agnostic * HANDS[..., None]
    assert torch.allclose(known(ready), encode(inpaint), atol=1e-6)
    assert torch.allclose(ready.latent, encode(feat), atol=1e-6)
    assert not torch.allclose(encode(inpaint), encode(feat), atol=1e-2)


def test_without_an_agnostic_picture_the_hands_are_the_persons() -> None:
    ready = made("dci-vton", person=PERSON, inpaint_mask=HOLE, warped=WARPED, hands_mask=HANDS)
    feat = WARPED * HOLE[..., None] + PERSON * (1 - HOLE[..., None])
    assert torch.allclose(known(ready), encode(feat * (1 - HANDS[..., None]) + PERSON * HANDS[..., None]), atol=1e-6)
    with pytest.raises(I2AMError, match=r"hands_mask .* connect person too"):
        made("dci-vton", agnostic=PERSON, inpaint_mask=HOLE, warped=WARPED, hands_mask=HANDS)


def test_version_2_adds_the_warped_garment_to_the_agnostic_picture() -> None:
    """agnostic + warped · (1 − keep) on pictures in −1 to 1, for what the U-Net sees and for the start."""
    agnostic = picture(3) * (1 - HOLE[..., None]) + 128 / 255 * HOLE[..., None]
    ready = made("dci-vton", agnostic=agnostic, inpaint_mask=HOLE, warped=WARPED)
    both = (2 * agnostic - 1) + (2 * WARPED - 1) * HOLE[..., None]
    assert torch.allclose(known(ready), encode((both + 1) / 2), atol=1e-6)
    assert torch.allclose(ready.latent, encode((both + 1) / 2), atol=1e-6)
    alone = made("dci-vton", person=PERSON, inpaint_mask=HOLE, warped=WARPED)
    pasted = WARPED * HOLE[..., None] + PERSON * (1 - HOLE[..., None])
    assert torch.allclose(known(alone), encode(pasted), atol=1e-6)


def test_a_reference_without_its_mask_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "i2am"):
        made("dci-vton", person=PERSON, inpaint_mask=HOLE, warped=WARPED)
        assert not caplog.records
        assemble(encoder_of("dci-vton"), encode, picture(9), {"person": PERSON, "inpaint_mask": HOLE, "warped": WARPED})
    assert "cut the reference to its mask" in caplog.text


def test_other_families_do_not_take_the_hands() -> None:
    plain = made("paint-by-example", person=PERSON, inpaint_mask=HOLE)
    assert torch.equal(known(plain), known(made("paint-by-example", person=PERSON, inpaint_mask=HOLE, hands_mask=HANDS)))


# -------------------------------------------------------------------------------------------------------- soft masks


@pytest.mark.parametrize("name", ["paint-by-example", "dci-vton", "stableviton"])
def test_soft_masks_are_cut_before_anything_is_made_of_them(name: str) -> None:
    soft = torch.rand(1, SIDE, SIDE, generator=torch.Generator().manual_seed(7))
    hard = (soft >= (128 / 255 if name == "stableviton" else 0.5)).float()
    more = {"warped": WARPED, "densepose": picture(4), "person": PERSON}
    one, other = (made(name, inpaint_mask=mask, **more) for mask in (soft, hard))
    assert torch.equal(one.positive[0][1]["noise_concat"], other.positive[0][1]["noise_concat"])
    assert torch.equal(one.latent, other.latent)
    cells = (1 - hard).reshape(1, 8, 8, 8, 8)[:, :, 3:5, :, 3:5].mean((2, 4))  # bilinear at an eighth
    assert torch.allclose(one.positive[0][1]["noise_concat"][:, 4], cells, atol=1e-6)


# ------------------------------------------------------------------------------------------- where group norm cancels


class Spy:
    """An autoencoder's encoder that notes how the pictures lie in memory."""

    def __init__(self) -> None:
        self.contiguous: list[bool] = []

    def __call__(self, shown: Tensor) -> Tensor:
        self.contiguous.append(shown.movedim(-1, 1).is_contiguous())  # what hosts do
        return encode(shown)


@pytest.mark.parametrize("name", list(FAMILIES))
@pytest.mark.parametrize("side", [SIDE, 40])
def test_the_autoencoder_gets_contiguous_pictures(name: str, side: int) -> None:
    spy = Spy()
    given = {key: torch.rand(2, side, side, 3) for key in ("person", "agnostic", "densepose", "warped")}
    mask = torch.zeros(1, side, side)
    mask[:, 10:30, 10:30] = 1
    assemble(encoder_of(name), spy, torch.rand(1, 30, 20, 3), {**given, "inpaint_mask": mask})
    assert spy.contiguous
    assert all(spy.contiguous)


def test_uniform_grey_keeps_its_digits_in_the_autoencoder() -> None:
    """Channels-last pictures lose up to a hundredth of the latent there, on the CPU."""
    state = sort_checkpoint(paper.checkpoint("custom", paper.SMALL)).parts["vae"]
    vae, exact = vae_of(state), vae_of({key: value.double() for key, value in state.items()}).double()
    seen: list[Tensor] = []

    def through(shown: Tensor) -> Tensor:
        moved = shown.movedim(-1, 1)
        with torch.inference_mode():
            seen.append(exact.encode(moved.double() * 2 - 1).latent_dist.mode())
            return vae.encode(moved * 2 - 1).latent_dist.mode()

    grey = torch.full((1, SIDE, SIDE, 3), 0.5)
    ready = assemble(encoder_of("custom"), through, picture(9), {"agnostic": grey, "densepose": grey})
    got = ready.positive[0][1]["noise_concat"][:, :4].double() / SCALE
    assert float((got - seen[0]).norm() / seen[0].norm()) < 2e-5
