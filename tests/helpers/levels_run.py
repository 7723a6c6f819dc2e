"""A recorded run of random calls, and what the plain float64 statement says of the same calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import statement
import torch
from torch import Tensor

from i2am.geometry.layout import Layout, Reference, TokenGrid
from i2am.levels.heat import Heat
from i2am.recording.recorder import Recorder

Size = tuple[int, int]
SIDES = {"R2G": "r2g", "R2G-balanced": "balanced", "mass": "mass"}
D = 4


@dataclass(frozen=True)
class Layer:
    name: str
    grid: Size
    heads: int
    middle: bool = False


COARSE = Layer("input.4.1", (6, 4), 2)
MIDDLE = Layer("middle.1", (3, 2), 2, middle=True)
WIDE = Layer("output.5.1", (6, 4), 4)
FINE = Layer("output.9.1", (12, 8), 2)
NETWORK = (COARSE, MIDDLE, WIDE, FINE)
LATENT = (12, 8)
# Two text keys, a reference of 3 x 5 after a leading token, one more key, a reference of 4 x 2, one more key.
SHIRT = Reference(TokenGrid(3, 5, 1), 2, "shirt")
SHOES = Reference(TokenGrid(4, 2), 19, "shoes")
LAYOUT = Layout((SHIRT, SHOES), keys=28)


@dataclass
class Run:
    """A recorded run of random calls, and the calls themselves."""

    network: tuple[Layer, ...] = NETWORK
    steps: int = 7
    groups: int = 3
    layout: dict[str, Layout] = field(default_factory=dict)
    seen: range | None = None
    heads: str | None = "heads"
    budget: int = 300_000_000
    branches: tuple[str, ...] = ("uncond", "cond")
    null_branches: tuple[str, ...] = ("uncond",)
    images: int = 2
    inpaint_mask: Tensor | None = None

    def __post_init__(self) -> None:
        self.recorder = Recorder(
            lambda name: self.layout.get(name, LAYOUT),
            steps=self.steps,
            images=self.images,
            branches=self.branches,
            pairwise=self.heads,
            groups=self.groups,
            budget=self.budget,
            null_branches=self.null_branches,
            inpaint_mask=self.inpaint_mask,
        )
        for step in self.range:
            for branch in self.branches:
                for layer in self.network:
                    q, k = self.call(step, branch, layer)
                    self.recorder.observe(layer.name, layer.grid, step, branch, q, k, k, scale=0.5, middle=layer.middle)
            self.recorder.end_step(step)
        self.maps = self.recorder.finish()

    @property
    def range(self) -> range:
        return range(self.steps) if self.seen is None else self.seen

    def call(self, step: int, branch: str, layer: Layer) -> tuple[Tensor, Tensor]:
        seed = (step * 10 + self.branches.index(branch)) * 100 + self.network.index(layer)
        generator = torch.Generator().manual_seed(seed)
        keys = self.layout.get(layer.name, LAYOUT).key_count
        q = torch.randn(self.images, layer.heads, layer.grid[0] * layer.grid[1], D, generator=generator) * 2
        return q, torch.randn(self.images, layer.heads, keys, D, generator=generator)

    def stated(
        self,
        kind: str,
        layer: Layer,
        *,
        branch: str = "cond",
        reference: int = 0,
        image: int = 0,
        steps: Size | None = None,
        heads: tuple[int, ...] | None = None,
    ) -> Tensor:
        """One kind of map of one layer, (T, H, ...), of the recorded steps and wanted heads."""
        tokens = self.reference(layer, reference)
        found = []
        for step in self.range:
            if steps is None or steps[0] <= step < steps[1]:
                q, k = self.call(step, branch, layer)
                place = (tokens.start, tokens.grid.leading, tokens.grid.placed)
                found.append(statement.call_maps(q, k, k, place, scale=0.5)[kind][image])
        maps = torch.stack(found)
        return maps if heads is None else maps[:, [h for h in heads if h < layer.heads]]

    def reference(self, layer: Layer, index: int = 0) -> Reference:
        return self.layout.get(layer.name, LAYOUT).references[index]

    def panels(self, side: str, layer: Layer, scaled: bool = True, common: Size | None = None, **choice: object) -> Tensor:
        """One layer's maps on the common grid, (H, n)."""
        if side == "G2R":
            grid = self.reference(layer, choice.get("reference", 0)).grid  # type: ignore[arg-type]
            size = (grid.rows, grid.columns)
            g2r = self.stated("g2r", layer, **choice)  # type: ignore[arg-type]
            return statement.on_reference(g2r, grid.leading, size, common or size, scaled)[0]
        marginal = self.stated(SIDES[side], layer, **choice)  # type: ignore[arg-type]
        return statement.on_generated(marginal, layer.grid, LATENT, scaled and side != "mass")

    def unplaced(self, layers: tuple[Layer, ...], **choice: object) -> float:
        shares = []
        for layer in layers:
            grid = self.reference(layer, choice.get("reference", 0)).grid  # type: ignore[arg-type]
            g2r = self.stated("g2r", layer, **choice)  # type: ignore[arg-type]
            shares.append(g2r[..., : grid.leading].sum(-1).mean(0))
        return float(torch.cat(shares).mean())

    def specific(self, layers: tuple[Layer, ...] = NETWORK, scaled: bool = True, **choice: object) -> tuple[Tensor, Tensor]:
        """SRAM of every patch of the latent's grid, (h·w, S), and its unplaced share (h·w)."""
        sizes = [self.reference(x, choice.get("reference", 0)).grid for x in layers]  # type: ignore[arg-type]
        largest = max(sizes, key=lambda g: g.placed)
        both = [
            statement.specific(
                self.stated("pairwise", x, **choice),  # type: ignore[arg-type]
                g.leading,
                (x.grid, (g.rows, g.columns)),
                (LATENT, (largest.rows, largest.columns)),
                scaled,
            )
            for x, g in zip(layers, sizes, strict=True)
        ]
        return statement.mean_of([b[0] for b in both]), statement.mean_of([b[1] for b in both])


@cache
def run() -> Run:
    return Run()


@cache
def averaged() -> Run:
    """Pairwise maps kept as their mean over heads, the default."""
    return Run(heads="mean")


def close(seen: Tensor, expected: Tensor, relative: float = 2e-5) -> None:
    """To fp32's own error, as a part of the largest value."""
    expected = expected.double().reshape(seen.shape)
    error, largest = float((seen.double() - expected).abs().max()), float(expected.abs().max())
    assert error <= relative * largest, f"largest error {error:.3g}, largest value {largest:.3g}"


def one_panel(heat: Heat) -> Tensor:
    assert heat.values.dtype == torch.float32
    assert len(heat.values) == len(heat.labels) == 1
    return heat.values[0]
