"""Which branches and layers a run computed in all of its steps: only those are kept, as maps of different steps do not mix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..errors import RecordingError

Slot = tuple[str, str, int]
"""(layer name, branch, softmax)"""


@dataclass
class Complete:
    """What was seen in all steps.

    Attributes:
        steps: the steps of each softmax, which are the same in all of its slots.
        slots: what is kept.
        notes: what is not, and why.
    """

    steps: dict[int, set[int]] = field(default_factory=dict)
    slots: set[Slot] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    @property
    def layers(self) -> set[str]:
        """The names of the layers that are kept."""
        return {layer for layer, _, _ in self.slots}

    @property
    def branches(self) -> set[str]:
        """The branches that are kept."""
        return {branch for _, branch, _ in self.slots}


def complete(seen: Mapping[Slot, set[int]], why: Mapping[str, str] = MappingProxyType({})) -> Complete:
    """The complete part of a run.

    Args:
        seen: the steps in which each slot was seen.
        why: for branches that have nothing to record in some steps, why not.

    Raises:
        RecordingError: nothing was seen in all steps.
    """
    found = Complete()
    everywhere = _steps(seen)
    by_branch = {branch: _steps({s: n for s, n in seen.items() if s[1] == branch}) for _, branch, _ in seen}
    kept = [branch for branch, steps in by_branch.items() if steps == everywhere]
    of_all = len(set().union(*seen.values()))
    for branch, steps in by_branch.items():
        if branch not in kept:
            count = len(set().union(*steps.values()))
            reason = f"it was evaluated in {count} of {of_all} steps (guidance changed)"
            if branch in why:
                reason = (
                    f"it has maps of {count} of {of_all} steps (in the others, {why[branch]}), and {' and '.join(kept)} has "
                    f"maps of all; record the branch {branch} alone to have them"
                )
            found.notes.append(f"the branch {branch!r} was left out: {reason}")
    short: dict[str, set[int]] = {}
    for layer, _, softmax in seen:
        if any(seen.get((layer, branch, softmax), set()) != everywhere[softmax] for branch in kept):
            short.setdefault(layer, set()).add(softmax)
    found.slots = {s for s in seen if s[1] in kept and s[2] not in short.get(s[0], ())}
    if not found.slots:
        raise RecordingError(
            f"no layer was computed in all {of_all} steps that were seen, so there are no maps: something skips blocks (as "
            f"DeepCache does) or guidance changes its branches; switch that off"
        )
    if short:
        names = [name if name not in found.layers else f"{name} (its adapters)" for name in short]
        found.notes.append(
            f"layers that were not computed in all steps were left out (something skips blocks, as DeepCache does): "
            f"{', '.join(names)}"
        )
    found.steps = {softmax: everywhere[softmax] for _, _, softmax in found.slots}
    return found


def _steps(seen: Mapping[Slot, set[int]]) -> dict[int, set[int]]:
    """All steps in which any slot of a softmax was seen."""
    steps: dict[int, set[int]] = {}
    for (_, _, softmax), found in seen.items():
        steps.setdefault(softmax, set()).update(found)
    return steps
