"""What is known about a recorded run besides its tensors: layers, references, steps."""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import UnavailableError
from ..geometry.layout import Reference, TokenGrid
from ..geometry.pooling import pooled
from ..geometry.words import Word

Range = tuple[int, int]
Key = tuple[str, str, str, int]
"""What a tensor is stored under: kind, layer name, branch, reference index."""
REFERENCE_MASK = "reference_mask"
"""The name of the small picture that is the first reference's mask, white = the object, where it is kept."""
PATCHES = "patches"
"""Under which a run's further facts say what was laid over the model's weights, such as a LoRA."""
FRAMES = "latent_frames"
"""Under which a run's further facts say how many images are the latent frames of one video."""
TOGETHER = "*"
"""The layer name under which pairwise maps are kept that are the mean over all layers."""


@dataclass(frozen=True)
class LayerInfo:
    """One recorded layer: the host's name, query grid, heads, number of keys in softmax 0, and the references as it sees them.

    ``beside`` and ``official`` are those of its `Layout`. ``branch_keys`` holds (branch, number of keys) where they differ, as
    the texts of a joint sequence do; ``keys`` is then the largest. Of calls of several lengths the longest counts. ``rest``
    names the parts of a joint sequence's keys that are no reference's, such as "text" and "generated". Where only some of the
    generated tokens were kept, ``grid`` is that of the blocks that each of these stands for, and ``queries`` the number of all
    of them; else 0. Pairwise maps are pooled to at most ``cells`` cells a side; 0: they are not. ``words`` holds (branch,
    number of text tokens) where the text's own queries were recorded, as the route via text needs; the longest of several;
    ``texts`` are the names of these tokens among ``rest``.
    """

    name: str
    grid: TokenGrid
    heads: int
    middle: bool = False
    keys: int = 0
    references: tuple[Reference, ...] = ()
    beside: bool = False
    official: str = ""
    branch_keys: tuple[tuple[str, int], ...] = ()
    rest: tuple[str, ...] = ()
    queries: int = 0
    cells: int = 0
    words: tuple[tuple[str, int], ...] = ()
    texts: tuple[str, ...] = ()

    def paired(self) -> LayerInfo:
        """The layer as its pairwise maps see it, with pooled grids; where its references' keys start does not count."""
        if not self.cells:
            return self
        references = tuple(replace(r, grid=pooled(r.grid, self.cells)) for r in self.references)
        return replace(self, grid=pooled(self.grid, self.cells), references=references)

    def indices(self, softmax: int) -> tuple[int, ...]:
        """Indices of the references in a softmax, counted from 0."""
        return tuple(i for i, r in enumerate(self.references) if r.softmax == softmax)

    def keys_of(self, reference: int, branch: str = "cond") -> int:
        """Number of keys in the softmax of a reference, which is counted from 0."""
        softmax = self.references[reference].softmax
        if softmax == 0:
            return dict(self.branch_keys).get(branch, self.keys)
        return max(r.stop for r in self.references if r.softmax == softmax)


@dataclass(frozen=True)
class RunInfo:
    """How the run was made. ``steps`` is T; unknown facts are None or empty, never guessed.

    ``extra`` holds further facts as plain data: what else the host knows, and a hash that tells whether two recordings are
    of the same latent: ``latent_hash`` of the latent that ComfyUI's sampler returned, or ``input_hash`` of the first input
    of a diffusers U-Net. ``default_layers`` are the layers that maps are made from unless others are chosen, where the model
    says so; empty: all.
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
    default_layers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that is known about a recorded run besides its tensors.

    Attributes:
        layers: recorded layers in network order.
        references: the references that were recorded.
        branches: recorded halves of classifier-free guidance: "cond", "uncond" or both.
        images: number of images in the batch.
        run: steps, seed, sampler and so on.
        bins: half-open step ranges of the kinds kept per step: one per step unless memory was short.
        groups: half-open step ranges of the kinds kept by time group.
        recorded: the steps that were actually seen, in order (a run may start late or stop early).
        generated_size: (H, W) of the generated picture in pixels.
        notes: what was coarsened or left out, and why.
        null_branches: branches whose reference tokens stand for "no reference".
        active: for each reference, the steps in which it was attended to (an adapter may start late and end early); empty:
            all recorded steps.
        words: (branch, the words of its text in their order) where they are known; see `geometry.words`.
        word_layers: the layers that maps of words are the mean over; empty: there are none.
    """

    layers: tuple[LayerInfo, ...]
    references: tuple[Reference, ...]
    branches: tuple[str, ...]
    images: int
    run: RunInfo
    bins: tuple[Range, ...]
    groups: tuple[Range, ...]
    recorded: tuple[int, ...]
    generated_size: tuple[int, int]
    notes: tuple[str, ...] = ()
    null_branches: tuple[str, ...] = ()
    active: tuple[tuple[int, ...], ...] = ()
    words: tuple[tuple[str, tuple[Word, ...]], ...] = ()
    word_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.active:
            object.__setattr__(self, "active", (self.recorded,) * len(self.references))
        object.__setattr__(self, "run", replace(self.run, extra=copy.deepcopy(dict(self.run.extra))))

    @property
    def frames(self) -> int:
        """How many of the images are the latent frames of one video, one after another; 1: the images are pictures."""
        found = self.run.extra.get(FRAMES, 1)
        right = isinstance(found, int) and not isinstance(found, bool) and found > 1 and self.images % found == 0
        return found if right else 1

    def words_of(self, branch: str = "cond") -> tuple[Word, ...]:
        """The words of a branch's text in their order; empty: they are not known."""
        return dict(self.words).get(branch, ())

    @property
    def default_layers(self) -> tuple[LayerInfo, ...]:
        """The layers that maps are made from unless others are chosen: those that the run names and recorded; if none, all."""
        return tuple(x for x in self.layers if x.name in self.run.default_layers) or self.layers

    def layer(self, name: str) -> LayerInfo:
        """The layer called ``name``.

        Raises:
            UnavailableError: it was not recorded.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise UnavailableError(f"layer {name!r} was not recorded; recorded layers: {', '.join(x.name for x in self.layers)}")

    def steps_seen(self, steps: Range, reference: int | None = None) -> int:
        """Number of recorded steps in a half-open range; with a reference, only those that attended to it."""
        seen = self.recorded if reference is None else self.active[reference]
        return bisect_left(seen, steps[1]) - bisect_left(seen, steps[0])
