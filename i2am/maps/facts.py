"""What is known of a recorded run beside its tensors: layers, references, steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..geometry.layout import Reference, TokenGrid

MARGINALS = ("r2g", "r2g_placed", "balanced", "balanced_placed", "mass", "mass_placed", "g2r", "g2r_masked")
"""Kept per step bin, (images, bins, heads, length); sums over queries or keys of A^r and A^g (DESIGN 4)."""


GROUPED = ("entropy", "norm", "peak_value", "peak_index", "pairwise")
"""Kept per time group, (images, groups, heads, ...)."""


ON_REFERENCE = ("g2r", "g2r_masked")


Range = tuple[int, int]


Key = tuple[str, str, str, int]
"""What a tensor is filed under: kind, layer name, branch, reference index."""


@dataclass(frozen=True)
class LayerInfo:
    """One recorded layer: host name, query grid, heads, number of keys in softmax 0, and its own view of the references.

    ``beside`` and ``official`` are those of its `Layout`.
    """

    name: str
    grid: TokenGrid
    heads: int
    middle: bool = False
    keys: int = 0
    references: tuple[Reference, ...] = ()
    beside: bool = False
    official: str = ""

    def keys_of(self, reference: int) -> int:
        """How many keys the softmax has that a reference is in, counted from 0."""
        softmax = self.references[reference].softmax
        return self.keys if softmax == 0 else max(r.stop for r in self.references if r.softmax == softmax)


@dataclass(frozen=True)
class RunInfo:
    """How the run was made. ``steps`` is T; unknown facts are None or empty, never guessed.

    ``extra`` holds further facts as plain data: what a host knows beside these, and a hash by which two recordings can be
    told to be of the same latent, ``latent_hash`` of the one that ComfyUI's sampler gave, or ``input_hash`` of the first input
    of a diffusers U-Net.
    """

    steps: int
    timesteps: tuple[float, ...] = ()
    sigmas: tuple[float, ...] = ()
    evaluations: tuple[int, ...] = ()
    seed: int | None = None
    sampler: str = ""
    cfg: float | None = None
    model: str = ""
    host: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
