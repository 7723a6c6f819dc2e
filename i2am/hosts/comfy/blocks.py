"""Which blocks of a network an evaluation computed: caches skip some or all, and kernels of other packs show none."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import nn

from ...errors import RecordingError
from ...maps.value import AttributionMaps
from .call import Call, Notes
from .joint_count import not_all
from .joint_families import is_counted

OWN_KERNELS = ("nunchaku", "tensorrt")
"""Words in the modules of packs that are known to compute attention without the host's function."""
UNSEEN = (
    "computes attention with kernels of its own, which cannot be observed; load the model with ComfyUI's own loader, or one "
    "that keeps ComfyUI's attention (such as GGUF's), and record that"
)
LIMITED = "the recorded conditioning is not used, because it is limited in time (ConditioningSetTimestepRange)"
CACHED = "not all blocks were computed (as with EasyCache, TeaCache and other caches)"


def brings_kernels(network: nn.Module) -> bool:
    """Whether a network is of a pack that is known to compute attention without the host's function."""
    return any(word in type(network).__module__.lower() for word in OWN_KERNELS)


def check_counted(layers: Sequence[str], call: Call) -> None:
    """Refuse a call that is over whose blocks cannot be told apart.

    Raises:
        RecordingError: they are told apart by counting, and some are missing.
    """
    if is_counted(call.network) and 0 < len(call.seen) < len(layers):
        raise RecordingError(not_all(type(call.network).__name__, len(call.seen), len(layers)))


class Blocks:
    """The blocks that a run's evaluations computed. The first one computes them all: nothing is there to be reused yet.

    Args:
        notes: the run's remarks for the reader.
    """

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._first: frozenset[str] | None = None
        self._why: dict[int, str] = {}

    def not_recorded(self, step: int, why: str) -> None:
        """A call of a step has conditionings of which none is recorded."""
        self._why[step] = why

    def all_computed(self, layers: Sequence[str], call: Call) -> bool:
        """Whether a call that is over computed the same blocks as the first; else what was observed of it must be dropped.

        Args:
            layers: the network's, empty where they are unknown.
            call: the call.

        Raises:
            RecordingError: the run's first call computed no block that could be observed, or not all of those that are told
                apart by counting.
        """
        if not layers:
            return True
        if self._first is None:
            self._first = frozenset(call.seen)
            if not call.seen:
                network = type(call.network)
                raise RecordingError(
                    f"none of the {len(layers)} blocks of this {network.__name__} (of {network.__module__}) was seen in the "
                    f"first evaluation: it {UNSEEN}"
                )
            check_counted(layers, call)
            hidden = [layer for layer in layers if layer not in call.seen]
            if hidden:
                self._notes.add(
                    f"{len(hidden)} of {len(layers)} blocks were not observed, because something skips them or computes their "
                    f"attention by itself: {', '.join(hidden)}"
                )
        return self._first <= call.seen

    def skipped(self, maps: AttributionMaps, unused: Collection[int] = ()) -> list[str]:
        """A remark on the steps that are not recorded: blocks were reused rather than computed, or conditionings change.

        ``unused`` are the steps that a recorded conditioning is not used in.
        """
        known = {**dict.fromkeys(unused, LIMITED), **self._why}
        missing = [step for step in range(maps.run.steps) if step not in maps.recorded]
        if not missing or (self._first is None and not known.keys() & set(missing)):
            return []
        reasons = [known.get(step, CACHED) for step in missing]
        told = [f"{why} ({reasons.count(why)})" if len(set(reasons)) > 1 else why for why in dict.fromkeys(reasons)]
        return [f"the maps are of {len(maps.recorded)} of {maps.run.steps} steps: in the others, {'; '.join(told)}"]
