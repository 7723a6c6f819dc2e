"""AttributionMaps: the one value that a recorded run leaves."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import LayoutError, UnavailableError
from ..geometry.words import Word, check_words
from .facts import TOGETHER, Facts, Key, LayerInfo
from .file import Stored, read_maps, write_maps
from .kinds import tensor_kinds


@dataclass(frozen=True, eq=False, repr=False)
class AttributionMaps(Facts):
    """All maps of one run, with its `Facts`. Callers cannot change it: every tensor that it returns is a copy.

    Args:
        tensors: the maps by `Key`; `kinds.KINDS` lists what there can be.
        mask: the inpainting mask given at recording, (images or 1, h, w), 1 = repainted.
        pictures: small pictures kept with the maps, name -> (H, W, 3) uint8.
    """

    tensors: InitVar[Mapping[Key, Tensor]]
    mask: InitVar[Tensor | None] = None
    pictures: InitVar[Mapping[str, Tensor] | None] = None
    _tensors: dict[Key, Tensor] = field(init=False)
    _mask: Tensor | None = field(init=False)
    _pictures: dict[str, Tensor] = field(init=False)

    def __post_init__(  # type: ignore[override]
        self, tensors: Mapping[Key, Tensor], mask: Tensor | None, pictures: Mapping[str, Tensor] | None
    ) -> None:
        super().__post_init__()
        own = {
            "_tensors": dict(tensors),
            "_mask": None if mask is None else mask.clone(),
            "_pictures": {name: picture.clone() for name, picture in (pictures or {}).items()},
        }
        for name, value in own.items():
            object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        """Whether the facts, tensors, mask and small pictures are the same."""
        if not isinstance(other, AttributionMaps):
            return NotImplemented
        facts = all(getattr(self, name) == getattr(other, name) for name in Facts.__dataclass_fields__)
        return facts and _same(self._all(), other._all())

    def __hash__(self) -> int:
        return hash((self.layers, self.references, self.branches, self.images, self.recorded))

    def _all(self) -> dict[Any, Tensor]:
        every: dict[Any, Tensor] = dict(self._pictures)
        every.update(self._tensors)
        return every if self._mask is None else {**every, None: self._mask}

    def __repr__(self) -> str:
        size = f"{self.nbytes / 1e6:.1f} MB"
        return f"AttributionMaps({len(self.layers)} layers, {self.run.steps} steps, {self.images} image(s), {size})"

    @property
    def inpaint_mask(self) -> Tensor | None:
        """The mask given at recording, (images or 1, h, w), 1 = repainted; or None."""
        return None if self._mask is None else self._mask.clone()

    @property
    def thumbnails(self) -> dict[str, Tensor]:
        """Small pictures kept with the maps, name -> (H, W, 3) uint8."""
        return {name: picture.clone() for name, picture in self._pictures.items()}

    def with_thumbnails(self, pictures: Mapping[str, Tensor]) -> AttributionMaps:
        """The same maps with these small pictures, (H, W, 3) uint8, added to their own."""
        out = copy.copy(self)
        object.__setattr__(out, "_pictures", {**self._pictures, **{name: p.clone() for name, p in pictures.items()}})
        return out

    def with_notes(self, notes: Sequence[str]) -> AttributionMaps:
        """The same maps with remarks for the reader added to their own."""
        out = copy.copy(self)
        object.__setattr__(out, "notes", (*self.notes, *notes))
        return out

    def with_words(self, words: Mapping[str, Sequence[Word]]) -> AttributionMaps:
        """The same maps with the words of each branch's text; those of branches that were not recorded are left out.

        Raises:
            LayoutError: words overlap, or have tokens that the recorded text does not have.
        """
        out = copy.copy(self)
        known = {branch: check_words(own) for branch, own in words.items() if branch in self.branches and own}
        for branch, own in known.items():
            counts = {dict(layer.words)[branch] for layer in self.layers if branch in dict(layer.words)}
            if counts and own[-1].stop > max(counts):
                raise LayoutError(
                    f"the words of {branch} reach to token {own[-1].stop} of the text, but {max(counts)} tokens of text were "
                    f"recorded; give one string for each token"
                )
        object.__setattr__(out, "words", tuple(known.items()))
        return out

    @property
    def nbytes(self) -> int:
        """Bytes of all recorded tensors."""
        return sum(t.numel() * t.element_size() for t in self._tensors.values())

    @property
    def pairwise_heads(self) -> str | None:
        """How pairwise maps were kept: "mean", "heads" or None."""
        for (kind, layer, _, _), tensor in self._tensors.items():
            if kind == "pairwise":
                heads = self.layers[0].heads if layer == TOGETHER else self.layer(layer).heads
                return "heads" if tensor.shape[2] > 1 or heads == 1 else "mean"
        return None

    def pairwise_layers(self, branch: str = "cond", reference: int = 0) -> tuple[str, ...]:
        """Names of the layers that have pairwise maps, in network order."""
        return tuple(x.name for x in self.layers if self.has("pairwise", x.name, branch, reference))

    def pair_layers(self, branch: str = "cond", reference: int = 0) -> tuple[LayerInfo, ...]:
        """The layers that have pairwise maps, as these see them (see `LayerInfo.paired`), in network order.

        Where the pairwise maps of all layers were kept together, as their mean, this is one layer, called `TOGETHER`.
        """
        if self.has("pairwise", TOGETHER, branch, reference):
            return (replace(self.layers[0].paired(), name=TOGETHER),)
        return tuple(x.paired() for x in self.layers if self.has("pairwise", x.name, branch, reference))

    def has(self, kind: str, layer: str, branch: str = "cond", reference: int = 0) -> bool:
        """Whether a tensor was recorded."""
        return self._found(kind, layer, branch, reference) is not None

    def attends(self, layer: str, branch: str = "cond", reference: int = 0) -> bool:
        """Whether a layer recorded anything of a reference; an adapter need not be in every layer."""
        return any(self.has(kind, layer, branch, reference) for kind in tensor_kinds())

    def marginal(self, kind: str, layer: str, branch: str = "cond", reference: int = 0) -> Tensor:
        """A marginal, (images, bins, heads or 1, N or S): the mean over each bin's recorded steps.

        "rest" is (images, bins, heads or 1, P, N), the parts being `LayerInfo.rest`.

        Raises:
            UnavailableError: it was not recorded; names what was.
        """
        kinds = tensor_kinds("step")
        if kind not in kinds:
            raise UnavailableError(f"there is no marginal map {kind!r}; choose one of {', '.join(kinds)}")
        return self._get(kind, layer, branch, reference).clone()

    def pairwise(self, layer: str, branch: str = "cond", reference: int = 0) -> Tensor:
        """A^r by time group, (images, groups, heads or 1, N, S): its mean over the recorded steps of the group.

        Pooled maps are the sums over the reference's cells, and the means over the cells of the generated picture; see
        `LayerInfo.paired`.

        Raises:
            UnavailableError: the layer has none; names those that have.
        """
        return self._get("pairwise", layer, branch, reference).clone()

    def grouped(self, kind: str, layer: str, branch: str = "cond", reference: int = 0) -> Tensor:
        """entropy, norm, peak_value or peak_index by time group, (images, groups, heads, N).

        Raises:
            UnavailableError: it was not recorded; names what was.
        """
        kinds = tensor_kinds("group")
        if kind not in kinds:
            raise UnavailableError(f"there is no map by time group {kind!r}; choose one of {', '.join(kinds)}")
        return self._get(kind, layer, branch, reference).clone()

    def _found(self, kind: str, layer: str, branch: str, reference: int) -> Tensor | None:
        """A tensor, if it was recorded."""
        found = self._tensors.get((kind, layer, branch, reference))
        row = tensor_kinds().get(kind)
        if found is not None or row is None or kind == row.name:
            return found
        known = next((x for x in self.layers if x.name == layer and reference < len(x.references)), None)
        if known is None or known.references[reference].grid.leading:
            return None
        return self._tensors.get((row.name, layer, branch, reference))  # all tokens are placed

    def _get(self, kind: str, layer: str, branch: str, reference: int) -> Tensor:
        found = self._found(kind, layer, branch, reference)
        if found is not None:
            return found
        if branch not in self.branches:
            raise UnavailableError(f"branch {branch!r} was not recorded; recorded: {', '.join(self.branches)}")
        if not 0 <= reference < len(self.references):
            raise UnavailableError(f"reference {reference} does not exist; the run had {len(self.references)}, counted from 0")
        if layer != TOGETHER:
            self.layer(layer)
        if kind == "pairwise":
            if self.has(kind, TOGETHER, branch, reference):
                raise UnavailableError(
                    f"layer {layer!r} has no pairwise maps of its own: memory was short, and they were kept as their mean over "
                    f"layers; choose all layers (*), or record fewer layers, or fewer cells"
                )
            names = ", ".join(self.pairwise_layers(branch, reference)) or "none"
            raise UnavailableError(
                f"layer {layer!r} has no pairwise maps (layers with pairwise maps: {names}); record again with pairwise "
                f"switched on for it, or choose one of those"
            )
        if kind == "g2r_masked":
            raise UnavailableError("no inpainting mask was given at recording; give one, or use the pairwise layers")
        raise UnavailableError(f"{kind!r} of layer {layer!r} was not recorded")

    def save(self, path: str | Path) -> Path:
        """Write everything to one safetensors file.

        Raises:
            MapsFileError: the file cannot be written, or `RunInfo.extra` is not plain JSON data.
        """
        return write_maps(path, Stored(self, self._tensors, self._mask, self._pictures))

    @classmethod
    def load(cls, path: str | Path) -> AttributionMaps:
        """Read a file written by `save`.

        Raises:
            MapsFileError: the file is missing, truncated, of another kind or from a newer version.
        """
        stored = read_maps(path)
        facts = {name: getattr(stored.facts, name) for name in Facts.__dataclass_fields__}
        return cls(stored.tensors, stored.mask, stored.pictures, **facts)


def _same(a: Mapping[Any, Tensor], b: Mapping[Any, Tensor]) -> bool:
    return a.keys() == b.keys() and all(t.dtype == b[key].dtype and torch.equal(t, b[key]) for key, t in a.items())
