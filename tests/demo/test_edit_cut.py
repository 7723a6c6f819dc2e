"""Cut edges of joint attention: exact softmax over what is left, and as if what nothing looks at were not there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from i2am.demo.edit_model import sequence
from i2am.demo.evaluate.edit.cut import Edge, attend_seen, cut_attention, seen_keys
from i2am.errors import LayoutError
from i2am.geometry.layout import TokenGrid
from i2am.geometry.sequence import Sequence, generated, reference, text
from i2am.models.edit.family import GARMENT_LATENT, LATENT, TEXT, TEXT_WIDTH
from i2am.models.edit.network import EditNetwork

SMALL = Sequence.of(
    text(2), generated(TokenGrid(2, 2)), reference(TokenGrid(1, 3), "shirt"), reference(TokenGrid(2, 1), "shoe")
)
CUT = [Edge("generated", "shirt"), Edge("text", "generated")]


def _qkv(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.randn(2, 3, SMALL.keys, 4, generator=random, dtype=dtype) for _ in range(3)]


def test_what_is_left_is_the_softmax_over_the_other_keys_alone() -> None:
    q, k, v = _qkv()
    found = attend_seen(q, k, v, seen_keys(SMALL, CUT))
    spans = {"text": range(2), "generated": range(2, 6), "shirt": range(6, 9), "shoe": range(9, 11)}
    for name, rows in spans.items():
        gone = {i for edge in CUT if edge.queries == name for i in spans[edge.keys]}
        left = [i for i in range(SMALL.keys) if i not in gone]
        for row in rows:
            weights = torch.exp((q[:, :, row, None] * k[:, :, left]).sum(-1) / 2)
            want = ((weights / weights.sum(-1, keepdim=True))[..., None] * v[:, :, left]).sum(2)
            assert torch.allclose(found[:, :, row], want, rtol=0, atol=1e-13), (name, row)


def test_nothing_cut_changes_no_bit() -> None:
    q, k, v = _qkv(torch.float32)
    assert torch.equal(attend_seen(q, k, v, seen_keys(SMALL, [])), F.scaled_dot_product_attention(q, k, v))


def test_calls_of_some_queries_see_the_same() -> None:
    short = Sequence(SMALL.spans, queries=((2, 6),))
    assert torch.equal(seen_keys(short, CUT), seen_keys(SMALL, CUT)[2:6])
    both = Sequence(SMALL.spans, queries=((0, 6), (9, 11)))
    assert torch.equal(seen_keys(both, CUT), seen_keys(SMALL, CUT)[[*range(6), 9, 10]])


def test_what_is_not_there_and_what_is_left_with_nothing_is_refused() -> None:
    with pytest.raises(LayoutError, match=r"one span 'hat' .* has 'text', 'generated', 'shirt', 'shoe'"):
        seen_keys(SMALL, [Edge("generated", "hat")])
    with pytest.raises(LayoutError, match="leaves 2 queries"):
        seen_keys(SMALL, [Edge("text", span.name) for span in SMALL.spans])
    twice = Sequence.of(generated(TokenGrid(1, 1)), reference(TokenGrid(1, 1), "a"), reference(TokenGrid(1, 1), "a"))
    with pytest.raises(LayoutError, match="one span 'a'"):
        seen_keys(twice, [Edge("generated", "a")])


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


@pytest.mark.parametrize(
    ("name", "others", "left", "indices"),
    [("garment", ("generated", "text", "person"), 2, (1,)), ("person", ("generated", "text", "garment"), 3, (2,))],
)
@torch.no_grad()
def test_a_reference_that_nothing_looks_at_is_as_good_as_left_out(
    network: EditNetwork, name: str, others: tuple[str, ...], left: int, indices: tuple[int, ...]
) -> None:
    given, sigma = _latents(1), torch.tensor([0.6])
    edges = [Edge(queries, name) for queries in others]
    whole = network(given[0], sigma, given[1], given[2:])
    cut = network(given[0], sigma, given[1], given[2:], attend=cut_attention(edges))
    without = network(given[0], sigma, given[1], [given[left]], indices=indices)
    assert torch.allclose(cut, without, rtol=0, atol=2e-5 * float(without.abs().max()))
    assert (cut - whole).abs().max() > 1e-2 * whole.abs().max()
    other = list(given[2:])
    other[0 if name == "person" else 1] = -other[0 if name == "person" else 1]
    assert torch.equal(network(given[0], sigma, given[1], other, attend=cut_attention(edges)), cut)
    direct = cut_attention(edges[:1])  # what the others read of it still arrives
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
