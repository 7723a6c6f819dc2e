"""What a recording needs from a kind of network. Everything specific to one kind is in one file beside this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import nn

from ...errors import LayoutError
from ...geometry.layout import Layout
from .adapters import Adapter
from .call import Call

LAYER = "i2am_layer"
"""Key in a call's ``transformer_options``: a module beside the network puts the name of its layer there."""


class Network(Protocol):
    """One kind of network. Implementations are stateless: one object serves all MODELs, runs and threads."""

    takes: str
    """The models it covers, in words."""

    def fits(self, network: nn.Module) -> bool:
        """Whether a MODEL's ``diffusion_model`` is of this kind."""

    def check_layers(self, network: nn.Module, patterns: Sequence[str], beside: Sequence[str]) -> None:
        """Refuse names or globs that match no layer of the network and none ``beside`` it, before a sampler runs.

        Raises:
            RecordingError: names the pattern and the existing layers.
        """

    def token_widths(self, network: nn.Module) -> set[int]:
        """The possible numbers of channels of a conditioning token; empty: unknown."""

    def adapters(self, options: dict[str, Any]) -> tuple[Adapter, ...]:
        """The adapters applied in a model's ``transformer_options``, in order."""

    def layout_of(self, entry: dict[str, Any], told: Layout | None, latent: tuple[int, ...], /) -> Layout | None:
        """What the keys of a conditioning are; None: it has no reference.

        Args:
            entry: the host's own copy of one conditioning, with its ``model_conds``.
            told: what the options or the conditioning itself say.
            latent: (B, C, h, w), the shape of the sampler's latent.

        Raises:
            LayoutError: ``told`` contradicts the entry.
        """

    def no_reference(self, branch: str, contexts: Sequence[int]) -> LayoutError:
        """The error for a branch without any reference; ``contexts``: the lengths of its contexts in tokens."""

    def watch(self, given: Mapping[str, Any], call: Call) -> dict[str, Any]:
        """The ``transformer_options`` of one call, with observers added behind the hooks that are already there.

        They pass every attention to a reference on to `Call.observe`. The given options are not changed.

        Args:
            given: the arguments of ``apply_model``, by name.
            call: the call.
        """
