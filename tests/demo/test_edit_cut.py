"""Cut ways of the edit model's attention: the softmax over what is left, and as if what nothing looks at were not there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from i2am.demo.cause import cut_attention
from i2am.demo.evaluate.edit.changes import CUTS
from i2am.interventions.plan import Cut
from i2am.models.edit.blocks import Attend
from i2am.models.edit.calls import sequence
from i2am.models.edit.family import GARMENT_LATENT, LATENT, TEXT, TEXT_WIDTH
from i2am.models.edit.network import EditNetwork

SPANS = {"text": range(4), "generated": range(4, 196), "person": range(196, 388), "garment": range(388, 668)}
EDGES = {
    "generated→garment": [("generated", "garment")],
    "generated→person": [("generated", "person")],
    "generated→text": [("generated", "text")],
    "text→references": [("text", "person"), ("text", "garment")],
    "person→garment": [("person", "garment")],
    "garment→person": [("garment", "person")],
    "text and person→garment": [("text", "garment"), ("person", "garment")],
    "all→garment": [(one, "garment") for one in ("generated", "text", "person")],
    "all→person": [(one, "person") for one in ("generated", "text", "garment")],
}
"""What each cut says, as pairs of who looks and what at, spelt out."""


def masked(edges: list[tuple[str, str]]) -> Attend:
    """Attention with the edges hidden by a mask."""
    seen = torch.ones(668, 668, dtype=torch.bool)
    for queries, keys in edges:
        seen[SPANS[queries].start : SPANS[queries].stop, SPANS[keys].start : SPANS[keys].stop] = False

    def attend(_name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        rows = slice(4, 196) if q.shape[2] < k.shape[2] else slice(None)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen[rows])

    return attend


@pytest.fixture(scope="module")
def network() -> EditNetwork:
    torch.manual_seed(3)
    network = EditNetwork().eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return network


def _latents(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    x, person, garment = (torch.randn(1, 4, *size, generator=random) for size in (LATENT, LATENT, GARMENT_LATENT))
    return x, torch.randn(1, TEXT, TEXT_WIDTH, generator=random), person, garment


@pytest.mark.parametrize("name", CUTS)
@torch.no_grad()
def test_each_cut_takes_the_ways_that_its_name_says(network: EditNetwork, name: str) -> None:
    given, sigma = _latents(1), torch.tensor([0.6])
    whole = network(given[0], sigma, given[1], given[2:])
    cut = network(given[0], sigma, given[1], given[2:], attend=cut_attention(CUTS[name]))
    spelt_out = network(given[0], sigma, given[1], given[2:], attend=masked(EDGES[name]))
    most = float(whole.abs().max())
    assert torch.allclose(cut, spelt_out, rtol=0, atol=2e-5 * most)
    assert float((cut - whole).abs().max()) > 1e-4 * most


@torch.no_grad()
def test_nothing_cut_changes_no_bit(network: EditNetwork) -> None:
    given, sigma = _latents(1), torch.tensor([0.6])
    whole = network(given[0], sigma, given[1], given[2:])
    for cuts in ([], [Cut("nothing")], [Cut(steps=(3, 4)), Cut(layers=("other",))]):
        assert torch.equal(network(given[0], sigma, given[1], given[2:], attend=cut_attention(cuts)), whole)


@torch.no_grad()
def test_cuts_are_made_in_their_own_steps_and_layers(network: EditNetwork) -> None:
    given, sigma, step = _latents(1), torch.tensor([0.6]), 0
    several = cut_attention([Cut("reference", 0, steps=(1, 2)), Cut("reference", 1, layers=("single.*",))], lambda: step)

    def made(attend: Attend) -> Tensor:
        return network(given[0], sigma, given[1], given[2:], attend=attend)

    single = Cut("reference", 1, layers=("single.*",))
    assert torch.equal(made(several), made(cut_attention([single])))
    step = 1
    both = made(cut_attention([Cut("reference", 0), single]))
    assert torch.equal(made(several), both)
    step = 0
    assert not torch.equal(made(several), both)


@pytest.mark.parametrize(
    ("name", "left", "indices"), [("garment", 2, (1,)), ("person", 3, (2,))], ids=["without garment", "without person"]
)
@torch.no_grad()
def test_a_reference_that_nothing_looks_at_is_as_good_as_left_out(
    network: EditNetwork, name: str, left: int, indices: tuple[int, ...]
) -> None:
    given, sigma = _latents(1), torch.tensor([0.6])
    cuts = CUTS[f"all→{name}"]
    whole = network(given[0], sigma, given[1], given[2:])
    cut = network(given[0], sigma, given[1], given[2:], attend=cut_attention(cuts))
    without = network(given[0], sigma, given[1], [given[left]], indices=indices)
    assert torch.allclose(cut, without, rtol=0, atol=2e-5 * float(without.abs().max()))
    assert (cut - whole).abs().max() > 1e-2 * whole.abs().max()
    other = list(given[2:])
    other[0 if name == "person" else 1] = -other[0 if name == "person" else 1]
    assert torch.equal(network(given[0], sigma, given[1], other, attend=cut_attention(cuts)), cut)
    direct = cut_attention(CUTS[f"generated→{name}"])  # what the others read of it still arrives
    assert not torch.equal(
        network(given[0], sigma, given[1], other, attend=direct), network(given[0], sigma, given[1], given[2:], attend=direct)
    )


def test_the_edit_models_sequence_is_that_of_its_calls(network: EditNetwork) -> None:
    sizes: dict[str, tuple[int, int]] = {}

    def attend(name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        sizes[name] = (q.shape[2], k.shape[2])
        return F.scaled_dot_product_attention(q, k, v)

    given = _latents(2)
    network(given[0], torch.tensor([0.5]), given[1], given[2:], attend=attend)
    whole, short = sequence(), sequence(short=True)
    assert set(sizes.values()) == {(whole.keys, whole.keys), (short.queries[0][1] - short.queries[0][0], whole.keys)}
