"""What a recording needs from a kind of network. Everything specific to one kind is in one file beside this one."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from ...errors import LayoutError, RecordingError
from ...geometry.layout import Layout
from ...geometry.parts import Parts
from ...interventions.plan import Cut
from ...models.carried import carried_by
from ...models.marked import Marked, marked_by
from .adapters import Adapter
from .call import Call
from .cutting import CutCall

LAYER = "i2am_layer"
"""Key in a call's ``transformer_options``: a module beside the network puts the name of its layer there."""


@dataclass(frozen=True)
class Told:
    """What is known of a conditioning's references beside its own entry.

    Attributes:
        layout: what the options or the conditioning itself say.
        parts: the rectangles of pictures that are stitched into one reference.
        latent: (B, C, h, w) or (B, C, frames, h, w), the shape of the sampler's latent.
        model: the host's own model, which holds the network.
        noise_mask: of the sampler, (B, h, w), 1 = repainted; None: there is none.
        options: the ``transformer_options`` of the model's calls.
        marks: which tokens of the conditioning's text are a picture's.
    """

    layout: Layout | None
    parts: Parts
    latent: tuple[int, ...]
    model: Any
    noise_mask: Tensor | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    marks: tuple[Marked, ...] = ()


def check_named(names: Sequence[str], patterns: Sequence[str]) -> None:
    """Refuse a name or glob that means none of a network's layers.

    Raises:
        RecordingError: names it, and the layers.
    """
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise RecordingError(f"no layer of this MODEL matches {pattern!r}; it has: {', '.join(names)}")


def told_of(
    entry: Mapping[str, Any],
    layout: Layout | None,
    parts: Parts,
    latent: tuple[int, ...],
    model: Any,
    noise_mask: Tensor | None,
    options: Mapping[str, Any],
) -> Told:
    """What is known of a conditioning's references: what the options say, and what the conditioning carries.

    Args:
        entry: the host's own copy of the conditioning.
        layout: what the options say; None: nothing.
        parts, latent, model, noise_mask, options: see `Told`.

    Raises:
        LayoutError: see `carried_by` and `marked_by`.
    """
    carried, context = carried_by(entry), entry["model_conds"].get("c_crossattn")
    marks = marked_by(entry, None if context is None else context.cond)
    known = layout or (None if carried is None else carried.layout)
    return Told(known, parts, latent, model, noise_mask, options, marks)


class Network(Protocol):
    """One kind of network. Implementations are stateless: one object serves all MODELs, runs and threads."""

    takes: str
    """The models it covers, in words."""
    stand_in: str
    """What stands in where a cut leaves no key, as a sentence; empty: that cannot be."""
    nulls: bool
    """Whether the context of a negative without a layout of its own stands for "no reference"; else there is nothing in it."""

    def fits(self, network: nn.Module) -> bool:
        """Whether a MODEL's ``diffusion_model`` is of this kind."""

    def frames(self, latent: Sequence[int]) -> int:
        """How many images of a recording each video makes, from its latent's shape, (B, C, frames, h, w); 1: pictures."""

    def layers(self, network: nn.Module) -> tuple[str, ...]:
        """The names of the layers that every evaluation computes, in order; empty: unknown."""

    def remark(self, network: nn.Module, references: int, /) -> str:
        """What a reader of maps and cuts must know of the network itself, as a sentence; empty: nothing.

        Args:
            network: of this kind.
            references: how many there are, or may be.
        """

    def check_layers(self, network: nn.Module, patterns: Sequence[str], beside: Sequence[str]) -> None:
        """Refuse names or globs that match no layer of the network and none ``beside`` it, before a sampler runs.

        Raises:
            RecordingError: names the pattern and the existing layers.
        """

    def check_told(self, layout: Layout | None, parts: Parts) -> None:
        """Refuse what a person told that is not for this kind, before a sampler runs.

        Args:
            layout: of the references, by hand.
            parts: the rectangles of pictures that are stitched into one reference.

        Raises:
            LayoutError: says what to set.
        """

    def token_widths(self, network: nn.Module) -> set[int]:
        """The possible numbers of channels of a conditioning token; empty: unknown."""

    def adapters(self, options: dict[str, Any]) -> tuple[Adapter, ...]:
        """The adapters applied in a model's ``transformer_options``, in order."""

    def layout_of(self, entry: dict[str, Any], told: Told, /) -> Layout | None:
        """What the keys of a conditioning are; None: it has no reference.

        Args:
            entry: the host's own copy of one conditioning, with its ``model_conds``.
            told: what else is known.

        Raises:
            LayoutError: what is told contradicts the entry, or the entry has references of another model.
        """

    def pictures(self, entry: dict[str, Any], told: Told, /) -> dict[str, Tensor]:
        """Small pictures of a conditioning's references by name, (H, W, 3) uint8, where the entry allows to draw them."""

    def no_reference(self, branch: str, contexts: Sequence[int]) -> LayoutError:
        """The error for a branch without any reference; ``contexts``: the lengths of its contexts in tokens."""

    def watch(self, given: Mapping[str, Any], call: Call) -> dict[str, Any]:
        """The ``transformer_options`` of one call, with observers added behind the hooks that are already there.

        They pass every attention to a reference on to `Call.observe`. The given options are not changed.

        Args:
            given: the arguments of ``apply_model``, by name.
            call: the call.
        """

    def check_cut(self, cut: Cut) -> None:
        """Refuse a cut that this kind cannot make, before a sampler runs.

        Raises:
            LayoutError: says what to set.
        """

    def cut(self, given: Mapping[str, Any], cut: CutCall) -> dict[str, Any]:
        """The ``transformer_options`` of one call in which something is cut; the given options are not changed.

        Args:
            given: the arguments of ``apply_model``, by name.
            cut: what is cut in the call.
        """
