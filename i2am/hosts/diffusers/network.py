"""What a recording needs from a kind of network. Everything specific to one kind is in one file beside this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from ...errors import LayoutError
from ...geometry.layout import Layout
from ...geometry.sequence import Sequence
from ..attention import Attention
from .cutting import Cutting
from .stitched import SINGLE, Stitched

TIMES = 1000
"""A scheduler's timestep for each unit of the time that a network with joint attention takes."""


@dataclass(frozen=True, eq=False)
class JointTokens:
    """What one evaluation of a joint-attention network says of its tokens.

    Attributes:
        sequence: of its attention calls; None: there is no reference.
        picture: (H, W) of the generated picture in pixels.
        notes: remarks for the reader of the maps.
        rows: each row's own sequence, where a call may have the rows of both branches; empty: all have ``sequence``.
    """

    sequence: Sequence | None
    picture: tuple[int, int]
    notes: tuple[str, ...] = ()
    rows: tuple[Sequence, ...] = ()

    def of(self, rows: Mapping[str, slice]) -> dict[str, Sequence]:
        """The sequence of each branch, whose rows of the batch these are; empty: there is no reference.

        Raises:
            LayoutError: the rows of one branch differ.
        """
        found: dict[str, Sequence] = {}
        if self.sequence is None:
            return found
        for branch, own in rows.items():
            kinds = set(self.rows[own]) or {self.sequence}
            if len(kinds) > 1:
                raise LayoutError(
                    f"the images of one batch have other tokens than each other ({'; '.join(sorted(map(str, kinds)))}), as "
                    f"prompts of other lengths make them; record them one by one"
                )
            found[branch] = kinds.pop()
        return found


@dataclass(frozen=True, eq=False)
class Given:
    """The input of one evaluation: (rows of the batch, ...), its timestep, the latent's (rows, columns), and the rest.

    ``joint`` is given by networks with joint attention, which evaluate each branch of guidance in a call of its own, cond
    first (or both in one, where `JointTokens.rows` say so), and take timesteps divided by `TIMES`.

    ``frames`` are those of a video's latent, each of which is an image of the maps; None: these are pictures. Such networks
    evaluate each branch in a call of its own too, and give the references in each. ``notes`` are remarks for the maps' reader.
    """

    sample: Tensor
    time: float
    latent: tuple[int, int]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    joint: JointTokens | None = None
    frames: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def says_all(self) -> bool:
        """Whether the network says itself what its keys are, and has each branch in a call of its own, cond first."""
        return self.joint is not None or self.frames is not None


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of the network: its step, (rows, columns) of its latent, its batch, and the rows of that by branch.

    ``sequences`` are what the tokens of its joint attention are, by branch; ``cutting`` is what is cut; None: nothing.
    """

    step: int
    latent: tuple[int, int]
    batch: int
    rows: Mapping[str, slice]
    sequences: Mapping[str, Sequence] = field(default_factory=dict)
    cutting: Cutting | None = None


Attentions = Callable[[Evaluation], Iterator[Attention]]
"""Yields one call of a layer, branch by branch."""
Observe = Callable[[str, Attentions], None]
"""Takes a layer's name and its call, which is made only if the layer is recorded."""


class Network(Protocol):
    """The network of one model, of one kind."""

    takes: ClassVar[str]
    """The models the kind covers, in words."""
    module: nn.Module
    """The module whose calls are the run's evaluations."""

    @classmethod
    def of(cls, model: Any) -> Network | None:
        """The network of a model or pipeline; None if it has none of this kind."""

    def given(self, args: tuple[Any, ...], kwargs: dict[str, Any], stitched: Stitched = SINGLE) -> Given:
        """The input of an evaluation, from the arguments of ``module``'s ``forward``, and from what a person says of it."""

    def layout(self, given: Given) -> Layout | None:
        """What the keys of its calls are, where the network and its input prove it; None: the caller has to give it."""

    def watch(self, observe: Observe, stack: ExitStack, cutting: Callable[[], Cutting | None] = lambda: None) -> None:
        """Pass every attention to a reference on to ``observe`` until the stack closes.

        Args:
            observe: takes them.
            stack: what holds the hooks.
            cutting: what is cut in the evaluation that is running.

        Raises:
            RecordingError: there is no such attention, or it cannot be observed.
        """
