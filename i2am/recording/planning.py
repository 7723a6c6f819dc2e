"""How a run is kept within its budget, decided layer by layer, as layers are first seen."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import RecordingError
from ..maps.facts import LayerInfo
from ..maps.kinds import Kind, tensor_kinds
from .budget import LayerCost, Plan, joined, plan


@dataclass
class Planning:
    """The plan of one run.

    More layers never make a plan finer: what a layer does not get when it is first seen, it never gets.

    Args:
        steps: T.
        groups: time groups wanted.
        pairwise: None, "mean" or "heads".
        copies: branches x images.
        budget: bytes.
        masked: whether an inpainting mask was given.
        word_maps: whether maps of words are wanted.
    """

    steps: int
    groups: int
    pairwise: str | None
    copies: int
    budget: int
    masked: bool
    word_maps: bool = False
    _plan: Plan | None = field(default=None, init=False)
    _costs: dict[str, LayerCost] = field(default_factory=dict, init=False)
    _words: int = field(default=0, init=False)

    @property
    def begun(self) -> bool:
        """Whether any layer was seen."""
        return self._plan is not None

    @property
    def plan(self) -> Plan:
        """The plan so far.

        Raises:
            RecordingError: no layer was seen yet.
        """
        if self._plan is None:
            raise RecordingError("nothing was recorded yet, so there is no plan for keeping it")
        return self._plan

    def knows(self, layer: str) -> bool:
        """Whether a layer is in the plan."""
        return layer in self._costs

    def take_in(self, layer: LayerInfo, late: bool) -> None:
        """Add a layer to the plan; if ``late``, steps were kept already and only this layer can still be planned."""
        self._costs[layer.name] = cost_of(layer, self.masked)
        if self.word_maps:
            longest = max((count for _, count in layer.words), default=0)
            self._words = max(self._words, longest * layer.grid.placed)
        costs = list(self._costs.values())
        if late:
            wanted = {"pairwise": self.pairwise, "copies": self.copies, "budget": self.budget}
            self._plan = joined(self.plan, costs, layer.name, **wanted)  # type: ignore[arg-type]
        else:
            self._plan = plan(
                costs,
                steps=self.steps,
                groups=self.groups,
                pairwise=self.pairwise,
                copies=self.copies,
                budget=self.budget,
                words=self._words,
            )

    def pairwise_of(self, layer: str) -> str | None:
        """How a layer's pairwise maps are kept: None, "mean" or "heads"."""
        return self.plan.pairwise if layer in self.plan.pairwise_layers else None


def cost_of(layer: LayerInfo, masked: bool) -> LayerCost:
    """A layer's cost for one branch and image, from the table of kinds."""
    costs = {"step": 0, "group": 0, "mean": 0}
    for name, kind in tensor_kinds().items():
        if not _has(layer, kind) or kind.of_all_layers or (name == "g2r_masked" and not masked):
            continue
        costs[kind.per if kind.by_head else "mean"] += _length(name, kind, layer)
    seen = layer.paired()
    grids = [r.grid.tokens for r in seen.references if r.grid.placed]
    return LayerCost(
        layer.name,
        layer.heads,
        costs["step"],
        costs["group"],
        seen.grid.placed * sum(grids),
        costs["mean"],
        (seen.grid.rows, seen.grid.columns, *grids) if layer.rest else (),
    )


def _has(layer: LayerInfo, kind: Kind) -> bool:
    """Whether a layer's calls have a kind: an error only if some queries were kept, a route via text only with the text's."""
    if (kind.name == "g2r_error" and not layer.queries) or (kind.by_text and not layer.words):
        return False
    return kind.calls in ("any", "joint" if layer.rest else "cross")


def _length(name: str, kind: Kind, layer: LayerInfo) -> int:
    """Numbers of one tensor kind of a layer, of all references together; pairs are counted apart."""
    n, references = layer.grid.placed, layer.references
    if name != kind.name and layer.rest:  # without leading tokens these are the same as over all tokens
        references = tuple(r for r in references if r.grid.leading)
    if kind.along == "rest":
        return n * len(layer.rest)
    if kind.along == "words":
        return max(count for _, count in layer.words) * (1 if kind.each == "call" else len(references))
    return {"queries": n * len(references), "tokens": sum(r.grid.tokens for r in references)}.get(kind.along, 0)
