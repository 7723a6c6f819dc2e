"""One call of a model: which rows of its batch are recorded, and who takes what is observed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ...geometry.layout import Layout
from ...geometry.parts import Parts
from ...models.marked import Marked
from ..attention import Attention
from .adapters import Adapter


@dataclass(frozen=True)
class Rows:
    """One conditioning's rows of a batch: their branch, what their keys are, and the length of their context in tokens.

    ``layers`` holds the layouts of layers that attend to something other than the context, ``marks`` those of its text's tokens
    that are a picture's.
    """

    branch: str
    layout: Layout
    tokens: int
    layers: dict[str, Layout] = field(default_factory=dict)
    marks: tuple[Marked, ...] = ()

    def layout_of(self, layer: str) -> Layout:
        """What a layer's keys are."""
        return self.layers.get(layer, self.layout)


@dataclass(frozen=True)
class Notes:
    """Remarks for the reader of a run's maps, each once."""

    all: list[str] = field(default_factory=list)

    def add(self, note: str) -> None:
        """Add a remark."""
        if note not in self.all:
            self.all.append(note)


@dataclass(frozen=True)
class Call:
    """One call of the model, as a network's observers see it.

    Attributes:
        rows: the conditionings in batch order, each with the same number of rows; None: not recorded.
        adapters: the run's adapters; the first one's keys are softmax 1.
        observe: takes a layer's name and its attention, which is iterated only if the layer is recorded. An `I2AMError`
            raised while iterating ends the recording, and before the first step is done the run as well.
        notes: the run's remarks for the reader.
        model: the host's model that is called.
        parts: the rectangles of pictures that are stitched into one reference.
        noise_mask: of the sampler, (B, h, w), 1 = repainted; None: there is none.
        seen: names of the layers that were observed in this call.
    """

    rows: tuple[Rows | None, ...]
    adapters: tuple[Adapter, ...]
    observe: Callable[[str, Iterable[Attention]], None]
    notes: Notes
    model: Any
    parts: Parts = ()
    noise_mask: Tensor | None = None
    seen: set[str] = field(default_factory=set)

    @property
    def network(self) -> nn.Module:
        """The network that is called."""
        network: nn.Module = self.model.diffusion_model
        return network
