"""The edit model's network is diffusers' FLUX, number for number, and its parts do what they say."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor

from i2am.models.edit.diffusers_keys import CONFIG, diffusers_state
from i2am.models.edit.family import (
    BLOCKS,
    GARMENT_GRID,
    GARMENT_LATENT,
    GRID,
    LATE,
    LATENT,
    SHIFT,
    TAUGHT,
    TEXT,
    TEXT_WIDTH,
    VECTOR,
    edit_layout,
)
from i2am.models.edit.network import EditNetwork, from_tokens, to_tokens
from i2am.models.edit.positions import position_ids
from i2am.models.edit.sampling import edit_noise, sample, sigmas

PERSON, GARMENT = torch.randn(2, 4, *LATENT), torch.randn(2, 4, *GARMENT_LATENT)


@pytest.fixture(scope="module")
def network() -> EditNetwork:
    torch.manual_seed(0)
    network = EditNetwork().eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def _given(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(2, 4, *LATENT, generator=rng), torch.tensor([0.3, 0.9]), torch.randn(2, TEXT, TEXT_WIDTH, generator=rng)


@torch.no_grad()
@pytest.mark.parametrize(
    ("references", "grids", "indices"),
    [
        ([PERSON, GARMENT], [GRID, GARMENT_GRID], [1, 2]),
        ([GARMENT], [GARMENT_GRID], [1]),
        ([GARMENT], [GARMENT_GRID], [2]),
        ([], [], []),
    ],
)
def test_it_is_diffusers_flux(
    network: EditNetwork, references: list[Tensor], grids: list[tuple[int, int]], indices: list[int]
) -> None:
    theirs = FluxTransformer2DModel(**CONFIG).eval()
    theirs.load_state_dict(diffusers_state(network.state_dict()))
    latent, sigma, context = _given()
    got = network(latent, sigma, context, references, indices)
    ids = position_ids(TEXT, [GRID, *grids], [0, *indices])
    tokens = theirs(
        hidden_states=torch.cat([to_tokens(x, 2) for x in (latent, *references)], 1),
        encoder_hidden_states=context,
        pooled_projections=torch.zeros(2, VECTOR),
        timestep=sigma,
        img_ids=ids[TEXT:],
        txt_ids=ids[:TEXT],
    ).sample
    want = from_tokens(tokens[:, : GRID[0] * GRID[1]], GRID, 2)
    assert float(want.std()) > 0.1
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)


@torch.no_grad()
def test_references_count_up_from_one_where_no_index_is_given(network: EditNetwork) -> None:
    latent, sigma, context = _given()
    assert torch.equal(
        network(latent, sigma, context, [PERSON, GARMENT]), network(latent, sigma, context, [PERSON, GARMENT], [1, 2])
    )
    assert not torch.allclose(network(latent, sigma, context, [GARMENT]), network(latent, sigma, context, [GARMENT], [2]))


def test_tokens_are_patches_in_reading_order() -> None:
    latent = torch.arange(2 * 4 * 6).float().view(1, 2, 4, 6)
    tokens = to_tokens(latent, 2)
    assert tokens.shape == (1, 6, 8)
    assert torch.equal(tokens[0, 1, :4], latent[0, 0, :2, 2:4].flatten())
    assert torch.equal(from_tokens(tokens, (2, 3), 2), latent)


@torch.no_grad()
def test_attention_runs_layer_by_layer_over_the_layout(network: EditNetwork) -> None:
    latent, sigma, context = _given()
    layout = edit_layout()
    seen: dict[str, tuple[int, int]] = {}

    def attend(name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen[name] = (q.shape[2], k.shape[2])
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    network(latent, sigma, context, [PERSON, GARMENT], attend=attend)
    assert tuple(seen) == BLOCKS
    assert set(TAUGHT) < set(LATE) < set(BLOCKS)
    assert {keys for _, keys in seen.values()} == {layout.key_count} == {668}
    assert [queries for queries, _ in seen.values()] == [668] * 5 + [GRID[0] * GRID[1]]
    assert [(r.grid.rows, r.grid.columns) for r in layout.references] == [GRID, GARMENT_GRID]


def test_noise_levels_are_evenly_spaced_ones_shifted() -> None:
    levels = sigmas(4)
    want = [math.exp(math.log(SHIFT)) / (math.exp(math.log(SHIFT)) + (1 / u - 1)) for u in (1, 0.75, 0.5, 0.25)]
    assert levels.tolist() == pytest.approx([*want, 0])


def test_euler_steps_follow_a_straight_flow_exactly(network: EditNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the velocity of a straight line, noise minus picture, any number of steps ends at the picture."""
    noise, picture = edit_noise([1, 2]), torch.randn(2, 4, *LATENT)
    monkeypatch.setattr(EditNetwork, "forward", lambda *_args, **_more: noise - picture)
    for steps in (1, 5):
        got = sample(network, torch.zeros(TEXT, TEXT_WIDTH), [PERSON, GARMENT], noise, steps)
        torch.testing.assert_close(got, picture, atol=1e-5, rtol=0)


def test_guidance_goes_from_dropped_references_to_given_ones(network: EditNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    noise, shape = edit_noise([1]), (1, 4, *LATENT)

    def velocity(_self: object, *args: object, **_more: object) -> Tensor:
        return torch.full(shape, 1.0 if len(args) > 3 and args[3] else 0.25)

    monkeypatch.setattr(EditNetwork, "forward", velocity)
    text, references = torch.zeros(TEXT, TEXT_WIDTH), [PERSON[:1], GARMENT[:1]]
    for cfg, want in ((1.0, 1.0), (3.0, 0.25 + 3 * 0.75)):
        steps: list[int] = []
        got = sample(network, text, references, noise, 2, cfg, on_step=steps.append)
        torch.testing.assert_close(got, noise - want)
        assert steps == [1, 2]


def test_a_seeds_noise_is_the_same_alone_and_in_a_batch() -> None:
    assert torch.equal(edit_noise([3, 4])[1:], edit_noise([4]))
