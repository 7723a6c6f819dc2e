"""AttributionMaps: the one value that a recorded run leaves."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from torch import Tensor

from ..errors import UnavailableError
from ..geometry.layout import Reference
from .facts import GROUPED, MARGINALS, Key, LayerInfo, Range, RunInfo


class AttributionMaps:
    """All maps of one run; immutable to its users: every tensor that leaves it is a copy.

    Attributes:
        layers: recorded layers in network order.
        references: the references that were recorded.
        branches: recorded halves of classifier-free guidance, of "cond" and "uncond".
        images: number of images in the batch.
        run: steps, seed, sampler and so on.
        bins: half-open step ranges of the marginals, one per step unless memory was short.
        groups: half-open step ranges of the pairwise maps.
        recorded: the steps that were really seen, in order (a run may start late or stop early).
        active: for each reference the steps in which it was attended to; an adapter may begin late and end early.
        notes: what was coarsened or left out, and why.
        inpaint_mask: (images or 1, h, w) mask given at recording, 1 = repainted; or None.
        generated_size: (H, W) of the generated picture in pixels.
        thumbnails: name -> (H, W, 3) uint8 picture.
        null_branches: branches whose reference tokens stand for "no reference".
    """

    def __init__(
        self,
        tensors: Mapping[Key, Tensor],
        *,
        layers: tuple[LayerInfo, ...],
        references: tuple[Reference, ...],
        branches: tuple[str, ...],
        images: int,
        run: RunInfo,
        bins: tuple[Range, ...],
        groups: tuple[Range, ...],
        recorded: tuple[int, ...],
        generated_size: tuple[int, int],
        notes: tuple[str, ...] = (),
        inpaint_mask: Tensor | None = None,
        thumbnails: Mapping[str, Tensor] | None = None,
        null_branches: tuple[str, ...] = (),
        active: tuple[tuple[int, ...], ...] = (),
    ) -> None:
        self._tensors = MappingProxyType(dict(tensors))
        self._inpaint_mask = None if inpaint_mask is None else inpaint_mask.clone()
        self._thumbnails = {name: picture.clone() for name, picture in (thumbnails or {}).items()}
        fixed = {
            "layers": layers,
            "references": references,
            "branches": branches,
            "images": images,
            "run": replace(run, extra=copy.deepcopy(dict(run.extra))),
            "bins": bins,
            "groups": groups,
            "recorded": recorded,
            "active": active or (recorded,) * len(references),
            "generated_size": generated_size,
            "notes": notes,
            "null_branches": null_branches,
        }
        for name, value in fixed.items():
            object.__setattr__(self, "_" + name, value)

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        return self._layers  # type: ignore[attr-defined,no-any-return]

    @property
    def references(self) -> tuple[Reference, ...]:
        return self._references  # type: ignore[attr-defined,no-any-return]

    @property
    def branches(self) -> tuple[str, ...]:
        return self._branches  # type: ignore[attr-defined,no-any-return]

    @property
    def images(self) -> int:
        return self._images  # type: ignore[attr-defined,no-any-return]

    @property
    def run(self) -> RunInfo:
        run: RunInfo = self._run  # type: ignore[attr-defined]
        return replace(run, extra=copy.deepcopy(run.extra))

    @property
    def bins(self) -> tuple[Range, ...]:
        return self._bins  # type: ignore[attr-defined,no-any-return]

    @property
    def groups(self) -> tuple[Range, ...]:
        return self._groups  # type: ignore[attr-defined,no-any-return]

    @property
    def recorded(self) -> tuple[int, ...]:
        return self._recorded  # type: ignore[attr-defined,no-any-return]

    @property
    def active(self) -> tuple[tuple[int, ...], ...]:
        return self._active  # type: ignore[attr-defined,no-any-return]

    @property
    def generated_size(self) -> tuple[int, int]:
        return self._generated_size  # type: ignore[attr-defined,no-any-return]

    @property
    def notes(self) -> tuple[str, ...]:
        return self._notes  # type: ignore[attr-defined,no-any-return]

    @property
    def null_branches(self) -> tuple[str, ...]:
        return self._null_branches  # type: ignore[attr-defined,no-any-return]

    @property
    def inpaint_mask(self) -> Tensor | None:
        return None if self._inpaint_mask is None else self._inpaint_mask.clone()

    @property
    def thumbnails(self) -> dict[str, Tensor]:
        return {name: picture.clone() for name, picture in self._thumbnails.items()}

    def with_thumbnails(self, pictures: Mapping[str, Tensor]) -> AttributionMaps:
        """The same maps with these small pictures, (H, W, 3) uint8, beside those that they have."""
        out = copy.copy(self)
        out._thumbnails = {**self._thumbnails, **{name: p.clone() for name, p in pictures.items()}}
        return out

    @property
    def nbytes(self) -> int:
        """Bytes of all recorded tensors."""
        return sum(t.numel() * t.element_size() for t in self._tensors.values())

    @property
    def pairwise_heads(self) -> str | None:
        """ "mean", "heads" or None: how pairwise maps were kept."""
        for (kind, layer, _, _), tensor in self._tensors.items():
            if kind == "pairwise":
                return "heads" if tensor.shape[2] > 1 or self.layer(layer).heads == 1 else "mean"
        return None

    def layer(self, name: str) -> LayerInfo:
        """The layer of a name.

        Raises:
            UnavailableError: it was not recorded.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise UnavailableError(f"layer {name!r} was not recorded; recorded are: {', '.join(x.name for x in self.layers)}")

    def pairwise_layers(self, branch: str = "cond", reference: int = 0) -> tuple[str, ...]:
        """Names of the layers that have pairwise maps, in network order."""
        return tuple(x.name for x in self.layers if ("pairwise", x.name, branch, reference) in self._tensors)

    def steps_seen(self, steps: Range, reference: int | None = None) -> int:
        """How many steps of a half-open range were recorded; with a reference: of those in which it was attended to."""
        seen = self.recorded if reference is None else self.active[reference]
        return sum(steps[0] <= s < steps[1] for s in seen)

    def has(self, kind: str, layer: str, branch: str = "cond", reference: int = 0) -> bool:
        """Whether a tensor was recorded."""
        return (kind, layer, branch, reference) in self._tensors

    def attends(self, layer: str, branch: str = "cond", reference: int = 0) -> bool:
        """Whether anything was recorded of a layer and a reference: an adapter need not be in all layers."""
        return any(self.has(kind, layer, branch, reference) for kind in (*MARGINALS, *GROUPED))

    def marginal(self, kind: str, layer: str, branch: str = "cond", reference: int = 0) -> Tensor:
        """A marginal, (images, bins, heads or 1, N or S): the sum over each bin's recorded steps divided by their count.

        Raises:
            UnavailableError: it was not recorded, with what was.
        """
        if kind not in MARGINALS:
            raise UnavailableError(f"no marginal {kind!r}; there are {', '.join(MARGINALS)}")
        return self._get(kind, layer, branch, reference).clone()

    def pairwise(self, layer: str, branch: str = "cond", reference: int = 0) -> Tensor:
        """A^r by time group, (images, groups, heads or 1, N, S): its mean over the recorded steps of the group.

        Raises:
            UnavailableError: the layer has none, with those that have.
        """
        return self._get("pairwise", layer, branch, reference).clone()

    def grouped(self, kind: str, layer: str, branch: str = "cond", reference: int = 0) -> Tensor:
        """entropy, norm, peak_value or peak_index by time group, (images, groups, heads, N)."""
        if kind not in GROUPED:
            raise UnavailableError(f"nothing kept by group is called {kind!r}; there are {', '.join(GROUPED)}")
        return self._get(kind, layer, branch, reference).clone()

    def _get(self, kind: str, layer: str, branch: str, reference: int) -> Tensor:
        found = self._tensors.get((kind, layer, branch, reference))
        if found is not None:
            return found
        if branch not in self.branches:
            raise UnavailableError(f"branch {branch!r} was not recorded; recorded: {', '.join(self.branches)}")
        if not 0 <= reference < len(self.references):
            raise UnavailableError(f"reference {reference} does not exist; the run had {len(self.references)}, counted from 0")
        self.layer(layer)
        if kind == "pairwise":
            names = ", ".join(self.pairwise_layers(branch, reference)) or "none"
            raise UnavailableError(
                f"layer {layer!r} has no pairwise maps (layers that have: {names}); record again with pairwise "
                f"switched on for it, or choose one of those"
            )
        if kind == "g2r_masked":
            raise UnavailableError("no inpainting mask was given at recording; give one, or use the pairwise layers")
        raise UnavailableError(f"{kind!r} of layer {layer!r} was not recorded")

    def save(self, path: str | Path) -> Path:
        """Write everything to one safetensors file."""
        from .file import save_maps

        return save_maps(self, path)

    @classmethod
    def load(cls, path: str | Path) -> AttributionMaps:
        """Read a file written by `save`.

        Raises:
            MapsFileError: the file is missing, truncated, foreign or from a newer version.
        """
        from .file import load_maps

        return load_maps(path)
