"""Attention calls of every kind, and their comparison with the plain float64 statement."""

from __future__ import annotations

from dataclasses import dataclass

import statement
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from torch import Tensor

from i2am.geometry.layout import Layout, Reference, TokenGrid
from i2am.recording.call_maps import CallMaps
from i2am.recording.reduce import reduce_attention

POSITIVE = (
    "r2g",
    "r2g_placed",
    "balanced",
    "balanced_placed",
    "mass",
    "mass_placed",
    "peak_value",
    "g2r",
    "g2r_masked",
)
BLIND_TO_A_COMMON_KEY = (*(name for name in POSITIVE if not name.startswith("r2g")), "entropy", "pairwise")
TINY = 1e-36  # what fp32 can no longer hold
few = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck), derandomize=True)


@dataclass(frozen=True)
class Call:
    """One attention call with its layout; q holds also the queries that are not generated tokens."""

    q: Tensor
    k: Tensor
    v: Tensor | None
    layout: Layout
    scale: float
    queries: int
    mask: Tensor | None
    weights: Tensor | None

    @property
    def window(self) -> slice:
        return slice(self.layout.query_start, self.layout.query_start + self.queries)

    def reduced(self, **options: object) -> list[CallMaps]:
        return reduce_attention(
            self.q,
            self.k,
            self.v,
            layout=self.layout,
            scale=self.scale,
            queries=self.queries,
            mask=self.mask,
            query_weights=self.weights,
            **options,  # type: ignore[arg-type]
        )

    def stated(self) -> list[dict[str, Tensor]]:
        mask = self.mask
        if mask is not None:
            mask = mask.expand(*self.q.shape[:3], self.k.shape[2])[:, :, self.window]
        return [
            statement.call_maps(
                self.q[:, :, self.window],
                self.k,
                self.v,
                (r.start, r.grid.leading, r.grid.placed),
                scale=self.scale,
                mask=mask,
                weights=self.weights,
            )
            for r in self.layout.references
        ]

    @property
    def largest_logit(self) -> float:
        """The largest finite |L|, mask included: fp32 holds it to 1e-7 of itself, its exp to 1e-7 times it."""
        block = statement.logits(self.q, self.k, self.scale, self.mask)
        return float(block[block.isfinite()].abs().max()) if block.isfinite().any() else 0.0


def layout_of(grids: list[TokenGrid], gaps: list[int], query_start: int = 0) -> Layout:
    """References with ``gaps`` other keys before, between and after them."""
    references, place = [], 0
    for i, grid in enumerate(grids):
        place += gaps[i]
        references.append(Reference(grid, place, f"reference {i}"))
        place += grid.tokens
    return Layout(tuple(references), place + gaps[len(grids)], query_start)


@st.composite
def masks(draw: st.DrawFn, shape: tuple[int, int, int, int], generator: torch.Generator) -> Tensor | None:
    """None, or a boolean or additive mask of any broadcastable shape, with much of it forbidden."""
    kind = draw(st.sampled_from(["none", "none", "bool", "additive"]))
    if kind == "none":
        return None
    some = draw(st.sampled_from([(1, 1, 1, 1), (1, 0, 0, 1), (0, 0, 1, 1), (0, 1, 1, 1), (0, 0, 0, 1)]))
    shape_drawn = tuple(n if keep else 1 for n, keep in zip(shape, some, strict=True))
    allowed = torch.rand(shape_drawn, generator=generator) < draw(st.sampled_from([0.2, 0.6]))
    if draw(st.booleans()):  # every query may look somewhere; otherwise whole rows may be forbidden
        allowed[..., 0] = True
    if kind == "bool":
        return allowed
    bias = torch.randn(shape_drawn, generator=generator)
    return torch.where(allowed, bias, torch.tensor(draw(st.sampled_from([-torch.inf, -50.0]))))


@st.composite
def calls(draw: st.DrawFn, spreads: tuple[float, ...] = (0.3, 3.0, 12.0), masked: bool = True) -> Call:
    """Any call: grids, leading tokens, other keys and queries, grouped heads, dtypes, masks, weights."""
    grid = st.builds(TokenGrid, st.integers(1, 3), st.integers(1, 4), st.integers(0, 2))
    grids = draw(st.lists(grid, min_size=1, max_size=3))
    gaps = draw(st.lists(st.integers(0, 2), min_size=len(grids) + 1, max_size=len(grids) + 1))
    before, after = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    layout = layout_of(grids, gaps, before)
    queries = draw(st.integers(1, 9))
    images, groups, shared = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    d, dv = draw(st.sampled_from([1, 3, 8])), draw(st.sampled_from([0, 1, 5]))
    dtype = draw(st.sampled_from([torch.float32, torch.float32, torch.float16, torch.bfloat16]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    spread = draw(st.sampled_from(spreads))
    scale = d**-0.5 * draw(st.sampled_from([1.0, 0.5]))
    n, s = before + queries + after, layout.key_count

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return Call(
        q=(normal(images, groups * shared, n, d) * spread).to(dtype),
        k=normal(images, groups, s, d).to(dtype),
        v=normal(images, groups, s, dv).to(dtype) if dv else None,
        layout=layout,
        scale=scale,
        queries=queries,
        mask=draw(masks((images, groups * shared, n, s), generator)) if masked else None,
        weights=torch.rand(draw(st.sampled_from([1, images])), queries, generator=generator) + 0.01
        if draw(st.booleans())
        else None,
    )


def call(*grids: TokenGrid, images: int = 2, heads: int = 3, n: int = 6, d: int = 4, spread: float = 2.0) -> Call:
    """A plain call whose keys are the references alone."""
    generator = torch.Generator().manual_seed(7)
    layout = Layout.of(*grids)
    return Call(
        q=torch.randn(images, heads, n, d, generator=generator) * spread,
        k=torch.randn(images, heads, layout.key_count, d, generator=generator),
        v=torch.randn(images, heads, layout.key_count, d, generator=generator),
        layout=layout,
        scale=d**-0.5,
        queries=n,
        mask=None,
        weights=torch.rand(1, n, generator=generator) + 0.1,
    )


def close(seen: Tensor, expected: Tensor, relative: float, absolute: float = TINY, what: str = "") -> None:
    torch.testing.assert_close(
        seen.double(), expected.double(), rtol=relative, atol=absolute, msg=lambda text: f"{what}: {text}"
    )


def assert_equals_statement(one: Call, relative: float | None = None, **options: object) -> None:
    """Every map of every reference, to fp32's own error: that of exp grows with the logit."""
    relative = 3e-6 + 2e-6 * one.largest_logit if relative is None else relative
    for pairwise in ("heads", "mean"):
        reduced = one.reduced(pairwise=pairwise, **options)
        for maps, stated, reference in zip(reduced, one.stated(), one.layout.references, strict=True):
            for name in POSITIVE:
                seen = getattr(maps, name)
                if name not in stated:
                    assert seen is None, name
                    continue
                assert seen.dtype == torch.float32
                close(seen, stated[name], relative, what=name)
            close(maps.entropy, stated["entropy"], relative, 5 * relative, "entropy")
            leading = reference.grid.leading
            chosen = torch.take_along_dim(stated["pairwise"], (maps.peak_index.long() + leading)[..., None], dim=-1)
            close(chosen[..., 0], stated["peak_value"], relative, what="peak_index")  # a tie may go to either
            assert maps.pairwise is not None
            close(maps.pairwise, stated[{"heads": "pairwise", "mean": "pairwise_mean"}[pairwise]], relative, what=pairwise)
            if one.v is None:
                assert maps.norm is None
            else:
                assert maps.norm is not None
                close(maps.norm, stated["norm"], relative, relative * float(one.v.abs().max()) * 5, "norm")
