"""The reduction of joint calls against a plain float64 softmax: any order, mask and logits, some of the queries, cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import statement
import torch
from attention_call import few
from blocks import kept_tokens, tokens_per_block
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from i2am.errors import LayoutError, RecordingError
from i2am.geometry.layout import Layout, Reference, Stretch, TokenGrid
from i2am.geometry.thinning import Kept, keep
from i2am.recording import reduce_joint as reduce_joint_module
from i2am.recording.call_maps import CallMaps
from i2am.recording.joint_head import OTHER, Parts
from i2am.recording.reduce_joint import reduce_joint

MARGINALS = ("mass", "r2g", "balanced", "g2r", "g2r_masked")


@dataclass(frozen=True)
class Joint:
    """One joint call; q holds the generated tokens alone."""

    q: Tensor
    k: Tensor
    layout: Layout
    grid: TokenGrid
    scale: float
    mask: Tensor | None = None
    weights: Tensor | None = None

    def reduced(self, stride: int = 1, **options: Any) -> list[CallMaps]:
        kept = keep(self.grid, stride)
        given_: dict[str, Any] = {"mask": self.mask, "query_weights": self.weights, **options}
        return reduce_joint(self.q, self.k, layout=self.layout, scale=self.scale, kept=kept, **given_)

    def block(self, stride: int = 1) -> Tensor:
        """L of the kept queries, block by block: (B, H, n, S) float64."""
        rows = kept_tokens(self.grid, stride)
        mask = self.mask
        if mask is not None:
            mask = mask.expand(*self.q.shape[:3], self.k.shape[2])[:, :, rows]
        return statement.logits(self.q[:, :, rows], self.k, self.scale, mask)


@st.composite
def joint_calls(draw: st.DrawFn, spreads: tuple[float, ...] = (0.3, 3.0, 12.0)) -> Joint:
    """Any order of text, picture, references and gaps; grouped heads, dtypes, masks, weights."""
    grid = TokenGrid(draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    sizes = draw(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2)), min_size=1, max_size=3))
    parts = [("reference", TokenGrid(*size)) for size in sizes]
    parts += [("text", n) for n in draw(st.lists(st.integers(1, 4), min_size=0, max_size=2))]
    parts += [("generated", grid.placed)] + [("gap", n) for n in draw(st.lists(st.integers(1, 3), max_size=2))]
    place, references, rest = 0, [], []
    for kind, what in draw(st.permutations(parts)):
        if isinstance(what, TokenGrid):
            references.append(Reference(what, place, f"reference {len(references)}"))
            place += what.tokens
        else:
            if kind != "gap":
                rest.append(Stretch(kind, place, what))
            place += what
    layout = Layout(tuple(references), place, rest=tuple(rest))
    images, groups, shared, d = (draw(st.integers(1, 2)) for _ in range(4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    dtype = draw(st.sampled_from([torch.float32, torch.float32, torch.bfloat16]))
    q = torch.randn(images, groups * shared, grid.placed, d, generator=generator) * draw(st.sampled_from(spreads))
    k = torch.randn(images, groups, place, d, generator=generator)
    mask = None
    kind = draw(st.sampled_from(["none", "none", "keys", "bool", "additive"]))
    if kind != "none":
        shape = (images, 1, 1, place) if kind == "keys" else (images, 1, grid.placed, place)
        allowed = torch.rand(shape, generator=generator) < 0.7
        mask = allowed if kind == "bool" else torch.where(allowed, 0.5, draw(st.sampled_from([-torch.inf, -1e9])))
    weights = torch.rand(1, grid.placed, generator=generator) + 0.1 if draw(st.booleans()) else None
    return Joint(q.to(dtype), k.to(dtype), layout, grid, d**-0.5, mask, weights)


def stated(one: Joint, index: int, stride: int = 1) -> dict[str, Tensor]:
    """The maps of one reference from the definitions, and "_placed" ones."""
    block, reference = one.block(stride), one.layout.references[index]
    softmaxes = {
        "real": statement.real_attention(block),
        "compared": statement.compared_attention(block),
        "balanced": statement.balanced_attention(block),
    }
    found = {}
    for end, keys in (
        ("", slice(reference.start, reference.stop)),
        ("_placed", slice(reference.start + reference.grid.leading, reference.stop)),
    ):
        real, compared, balanced = (a[..., keys] for a in softmaxes.values())
        found[f"mass{end}"] = real.sum(-1)
        found[f"r2g{end}"], found[f"balanced{end}"] = compared.mean(-1), balanced.mean(-1)
    every = softmaxes["real"][..., reference.start : reference.stop]
    stands = tokens_per_block(one.grid, stride)[:, None]
    found["g2r"], found["pairwise"] = (stands * every).sum(-2) / stands.sum(), every
    if one.weights is not None:
        w = one.weights[:, kept_tokens(one.grid, stride)].double()[:, None, :, None]
        found["g2r_masked"] = (w * every).sum(-2) / w.sum(-2)
    return found


def stated_rest(one: Joint, stride: int = 1) -> dict[str, Tensor]:
    """What goes to each named part, and to keys that the layout says nothing of."""
    real = statement.real_attention(one.block(stride))
    found: dict[str, Tensor] = {}
    free = torch.ones(one.layout.key_count, dtype=torch.bool)
    for reference in one.layout.references:
        free[reference.start : reference.stop] = False
    for part in one.layout.rest:
        free[part.start : part.stop] = False
        found[part.name] = found.get(part.name, 0) + real[..., part.start : part.stop].sum(-1)
    if free.any():
        found[OTHER] = real[..., free].sum(-1)
    return found


def assert_equal(one: Joint, stride: int = 1, **options: Any) -> None:
    block = one.block(stride)
    largest = float(block[block.isfinite()].abs().max()) if block.isfinite().any() else 0.0
    relative = 3e-6 + 2e-6 * min(largest, 1e3)
    weights = None if one.weights is None else one.weights[:, kept_tokens(one.grid, stride)]
    for pairwise in ("heads", "mean"):
        calls = one.reduced(stride, pairwise=pairwise, query_weights=weights, **options)
        for i, (maps, reference) in enumerate(zip(calls, one.layout.references, strict=True)):
            expected = stated(one, i, stride)
            for name, value in expected.items():
                if name == "pairwise":
                    value = value.mean(1, keepdim=True) if pairwise == "mean" else value
                seen = getattr(maps, name)
                if seen is None:  # all tokens are placed, or none is
                    assert (name.endswith("_placed") and not reference.grid.leading) or not reference.grid.placed, name
                    continue
                torch.testing.assert_close(seen.double(), value, rtol=relative, atol=1e-30, msg=lambda t, n=name: f"{n}: {t}")
        rest = calls[0].rest
        assert rest is not None
        names = Parts.of(one.layout).names
        for name, value in stated_rest(one, stride).items():
            # nothing is divided by these, so what fp32 loses of a share below 1e-12 is lost
            torch.testing.assert_close(rest[:, :, names.index(name)].double(), value, rtol=relative, atol=1e-12)
        total = sum(m.mass for m in calls) + rest.sum(2)
        seen_rows = block.isfinite().any(-1)
        torch.testing.assert_close(total, seen_rows.float(), rtol=1e-5, atol=1e-6)


@few
@given(joint_calls(), st.sampled_from([1, 2, 3]))
def test_every_map_is_that_of_the_softmax_over_all_keys(one: Joint, stride: int) -> None:
    assert_equal(one, stride)


@few
@given(joint_calls(spreads=(60.0, 400.0)), st.sampled_from([1, 2]))
def test_large_logits(one: Joint, stride: int) -> None:
    """Where fp32 is too narrow for exp(L), the maps are taken in the log domain."""
    assert_equal(one, stride)


def a_call(rows: int = 6, columns: int = 8, **other: Any) -> Joint:
    grid = TokenGrid(rows, columns)
    generator = torch.Generator().manual_seed(1)
    layout = Layout(
        (Reference(TokenGrid(5, 6), 60, "shirt"), Reference(TokenGrid(4, 4, 2), 90, "shoes")),
        108,
        rest=(Stretch("text", 0, 12), Stretch("generated", 12, 48)),
    )
    q = torch.randn(2, 4, grid.placed, 8, generator=generator)
    return Joint(q, torch.randn(2, 2, 108, 8, generator=generator), layout, grid, 8**-0.5, **other)


@pytest.mark.parametrize("chunk", [1, 4096, 1 << 25])
def test_chunks_of_any_size_give_the_same(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2am.recording.reduce_joint.TILE_BYTES", min(chunk, 1 << 23))
    assert_equal(a_call(), chunk_bytes=chunk)
    assert_equal(a_call(), 2, chunk_bytes=chunk)


def test_a_key_only_mask_is_not_spread_over_the_queries() -> None:
    mask = torch.zeros(1, 1, 1, 108)
    mask[..., 3:9] = -torch.inf
    assert_equal(a_call(mask=mask), 2)
    assert_equal(a_call(mask=mask[0, 0, 0] == 0))


def test_a_hidden_reference_gets_nothing() -> None:
    mask = torch.ones(1, 1, 1, 108, dtype=torch.bool)
    mask[..., 60:90] = False
    shirt, shoes = a_call(mask=mask).reduced()
    for name in ("mass", "r2g", "balanced", "g2r"):
        assert float(getattr(shirt, name).abs().max()) == 0
        assert float(getattr(shoes, name).min()) > 0
    assert_equal(a_call(mask=mask))


def pooled_by_hand(
    pairs: Tensor, grid: TokenGrid, lead: int, reference: TokenGrid, most: int, stands: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(n, S) to cells, query by query and token by token; and the spread. Queries count as many times as they ``stand`` for."""
    counts = torch.ones(len(pairs), dtype=torch.float64) if stands is None else stands

    def cell(place: int, of: TokenGrid) -> tuple[int, int]:
        tall, wide = -(-of.rows // most), -(-of.columns // most)
        return place // of.columns // tall, place % of.columns // wide

    own = sorted({cell(s, reference) for s in range(reference.placed)})
    rows = torch.zeros(len(pairs), lead + len(own), dtype=torch.float64)
    rows[:, :lead] = pairs[:, :lead]
    for s in range(reference.placed):
        rows[:, lead + own.index(cell(s, reference))] += pairs[:, lead + s]
    queries = sorted({cell(n, grid) for n in range(grid.placed)})
    members = {c: [n for n in range(grid.placed) if cell(n, grid) == c] for c in queries}
    means = torch.stack([counts[members[c]] @ rows[members[c]] / counts[members[c]].sum() for c in queries])
    apart = sum(counts[n] * (rows[n] - means[queries.index(cell(n, grid))]).abs().sum() / 2 for n in range(grid.placed))
    return means, apart / (counts @ rows).sum()


@pytest.mark.parametrize(("most", "stride"), [(3, 1), (2, 1), (4, 2), (1, 1)])
def test_pooled_pairs_are_exact_sums_of_their_cells(most: int, stride: int) -> None:
    one = a_call()
    kept = keep(one.grid, stride)
    for pairwise in ("mean", "heads"):
        for i, maps in enumerate(one.reduced(stride, pairwise=pairwise, cells=most)):
            grid, pairs = one.layout.references[i].grid, stated(one, i, stride)["pairwise"]
            pairs = pairs.mean(1, keepdim=True) if pairwise == "mean" else pairs
            assert maps.pairwise is not None
            assert maps.spread is not None
            assert maps.spread.shape == pairs.shape[:2]
            for at in ((image, head) for image in range(2) for head in range(pairs.shape[1])):
                expected, spread = pooled_by_hand(pairs[at], kept.grid, grid.leading, grid, most)
                torch.testing.assert_close(maps.pairwise[at].double(), expected, rtol=1e-5, atol=1e-9)
                torch.testing.assert_close(maps.spread[at].double(), spread, rtol=1e-4, atol=1e-7)


def batches_by_hand(kept: Kept, columns: int, count: int) -> list[list[int]]:
    """The blocks of each batch."""
    found: dict[int, list[int]] = {}
    for block in range(count):
        found.setdefault((3 * (block // columns) + block % columns) % 8, []).append(block)
    return [found[b] for b in sorted(found)]


def test_the_standard_error_is_that_of_the_means_of_batches() -> None:
    one = a_call(12, 16)
    one = Joint(
        one.q, torch.randn(2, 2, 252, 8), Layout((Reference(TokenGrid(5, 12)),), 252, rest=(Stretch("generated", 60, 192),)),
        one.grid, one.scale,
    )  # fmt: skip
    (maps,) = one.reduced(2)
    real = statement.real_attention(one.block(2))[..., :60].mean(1)
    kept = keep(one.grid, 2)
    batches = batches_by_hand(kept, 8, 48)
    assert [len(b) for b in batches] == list(kept.sizes)
    means = torch.stack([real[:, blocks].mean(1) for blocks in batches])
    sizes = torch.tensor([len(b) for b in batches]).view(-1, 1, 1)
    variance = (sizes * (means - real.mean(1)).square()).sum(0) / 7 / 48 * (1 - 48 / 192)
    assert maps.g2r_error is not None
    torch.testing.assert_close(maps.g2r_error[:, 0].double(), variance.sqrt(), rtol=1e-4, atol=1e-9)
    assert one.reduced(1)[0].g2r_error is None


def test_the_standard_error_is_about_the_error_that_is_made() -> None:
    """Over many calls, the mean square of what cutting changes is about the mean square of the standard error."""
    made, said = 0.0, 0.0
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        q = torch.randn(1, 1, 256, 4, generator=generator) * 2
        k = torch.randn(1, 1, 276, 4, generator=generator)
        layout = Layout((Reference(TokenGrid(4, 5)),), 276, rest=(Stretch("generated", 20, 256),))
        one = Joint(q, k, layout, TokenGrid(16, 16), 0.5)
        part, whole = one.reduced(2)[0], one.reduced(1)[0]
        assert part.g2r_error is not None
        made += float((part.g2r - whole.g2r).square().sum())
        said += float(part.g2r_error.square().sum())
    assert 0.7 < made / said < 1.4


def test_an_edge_of_half_blocks_counts_no_more_than_its_tokens() -> None:
    """Rows that look at different tokens: of 33, the last is in half blocks, which stand for fewer tokens."""
    side, tokens = 33, 12
    rows = torch.linspace(-1, 1, side)[:, None].expand(side, side).flatten()
    q = torch.stack([rows, torch.ones_like(rows)], -1)[None, None]
    k = torch.zeros(1, 1, tokens + side * side, 2)
    k[0, 0, :tokens, 0] = torch.linspace(-4, 4, tokens)
    layout = Layout((Reference(TokenGrid(3, 4)),), k.shape[2], rest=(Stretch("generated", tokens, side * side),))
    one = Joint(q, k, layout, TokenGrid(side, side), 1.0)
    part, whole = one.reduced(2)[0], one.reduced(1)[0]
    assert part.g2r_error is not None
    assert bool(((part.g2r - whole.g2r).abs() < 2 * part.g2r_error).all())


def test_mass_is_exact_where_queries_are_kept() -> None:
    one = a_call()
    part, whole = one.reduced(2), one.reduced(1)
    for a, b in zip(part, whole, strict=True):
        torch.testing.assert_close(a.mass, b.mass[:, :, kept_tokens(one.grid, 2)])


@pytest.mark.parametrize("what", ["q", "k"])
def test_nan_is_refused(what: str) -> None:
    one = a_call()
    getattr(one, what)[1, 1, 7, 3] = float("nan")
    with pytest.raises(RecordingError, match="queries or keys hold NaN or infinity"):
        one.reduced(2)


def test_what_does_not_fit_is_refused() -> None:
    one = a_call()
    with pytest.raises(LayoutError, match="the call has 47"):
        Joint(one.q[:, :, :47], one.k, one.layout, one.grid, one.scale).reduced()
    with pytest.raises(LayoutError, match="107 keys"):
        Joint(one.q, one.k[:, :, :107], one.layout, one.grid, one.scale).reduced()
    with pytest.raises(LayoutError, match="3 query heads cannot share 2"):
        Joint(one.q[:, :3], one.k, one.layout, one.grid, one.scale).reduced()


def test_keys_that_frames_share_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A masked call's bound: a copy of the keys for each frame of a video would not fit."""
    measured: list[tuple[int, ...]] = []
    largest = reduce_joint_module.largest_logit
    monkeypatch.setattr(
        reduce_joint_module, "largest_logit", lambda q, k, **given: (measured.append(tuple(k.shape)), largest(q, k, **given))[1]
    )
    q, k = torch.randn(5, 2, 4, 8), torch.randn(1, 2, 9, 8)
    mask = torch.zeros(1, 1, 4, 9)
    shared = reduce_joint_module._bound(q, k.expand(5, -1, -1, -1), mask)
    assert measured == [(1, 2, 9, 8)]
    assert shared == reduce_joint_module._bound(q, k.repeat(5, 1, 1, 1), mask)
