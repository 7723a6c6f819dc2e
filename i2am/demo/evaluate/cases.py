"""What the demo model is asked to draw when it is measured, all of it on held-out pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ...drawn.draw import DemoPairs, draw_pairs
from ...drawn.seeds import HELD_OUT, SHARD, is_held_out
from ...drawn.spec import PairSpec, draw_pair

OTHER = 250_000
"""The other garment of the pair of seed s is that of seed s + OTHER."""
CUT = ("sleeve_length", "collar", "hem", "waist")
"""What of a garment decides its geometry; the rest is texture."""


@dataclass(frozen=True)
class Case:
    """A batch to generate: whom, from which reference, and what should come out."""

    seeds: list[int]
    own: list[PairSpec]
    wanted: list[PairSpec]
    shown: DemoPairs
    truth: DemoPairs
    densepose: Tensor
    reference: Tensor | None


def check_held_out(seeds: Iterable[int], trained_shards: int = 0) -> None:
    """Refuse to measure on what the model was, or may have been, trained on.

    Raises:
        ValueError: a seed is not held out, or lies within the shards that the weights say they were trained on.
    """
    for seed in seeds:
        if not is_held_out(seed) or seed < trained_shards * SHARD:
            raise ValueError(
                f"seed {seed} belongs to training (held-out seeds begin at {HELD_OUT}, the weights' {trained_shards} "
                f"shards end before {trained_shards * SHARD}); evaluate on later seeds"
            )


def case_of(kind: str, seeds: Sequence[int]) -> Case:
    """The batch of one kind of run: paired, unpaired, null_reference, uv_blanked or textures_swapped."""
    own = [draw_pair(seed) for seed in seeds]
    other = [draw_pair(seed + OTHER) for seed in seeds]
    wanted = own
    if kind == "unpaired":  # the other pair's whole reference picture
        wanted = [replace(p, garment=o.garment, flat=o.flat) for p, o in zip(own, other, strict=True)]
    elif kind == "textures_swapped":
        kept = [{name: getattr(p.garment, name) for name in CUT} for p in own]
        wanted = [p.wearing(replace(o.garment, **k)) for p, o, k in zip(own, other, kept, strict=True)]
    shown = draw_pairs(own)
    truth = shown if wanted is own else draw_pairs(wanted)
    return Case(
        seeds=list(seeds),
        own=own,
        wanted=wanted,
        shown=shown,
        truth=truth,
        densepose=shown.densepose_blank if kind == "uv_blanked" else shown.densepose,
        reference=None if kind == "null_reference" else truth.reference,
    )
