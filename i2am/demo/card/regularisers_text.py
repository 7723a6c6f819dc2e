"""What the two losses on attention did, from the figures of `i2am.demo.experiments` and nothing else."""

from __future__ import annotations

from .markdown import table
from .sources import Figures

MEASURED = {
    "tv": "attention total variation",
    "alignment": "attribution alignment",
    "within_1": "peak within 1 patch",
    "noise": "noise error",
}
LOSSES = ("tv", "alignment")


def regularisers_text(figures: Figures) -> str:
    """How it was measured, the verdict, and the means over the seeds."""
    setup, seeds = figures["setup"], list(figures["seeds"].values())
    rows = []
    for run in ("without", *LOSSES):
        means = (sum(seed[run][name] for seed in seeds) / len(seeds) for name in MEASURED)
        rows.append((MEASURED.get(run, "neither"), *(f"{mean:.4f}" for mean in means)))
    return (
        f"{_verdict(figures)}; {_price(seeds)}. The demo model's U-Net, {setup['samples']} more samples after its first "
        f"{setup['start_samples']:,}; means over {len(seeds)} seeds and {setup['held_out_pairs']} held-out pairs "
        f"(`python -m i2am.demo.experiments`):\n\n" + table(("trained with", *MEASURED.values()), rows)
    )


def _verdict(figures: Figures) -> str:
    lower = all(loss["lower_in_every_seed"] for loss in figures["result"].values())
    return "Each loss lowers its own figure in every seed" if lower else "Not every loss lowers its own figure in every seed"


def _price(seeds: list[Figures]) -> str:
    risen = [sum(seed[run]["noise"] > seed["without"]["noise"] for seed in seeds) for run in LOSSES]
    if min(risen) == len(seeds):
        return "both raise the noise error a little, in every seed"
    return f"the noise error rises in {' and '.join(map(str, risen))} of {len(seeds)} seeds"
