"""The few figures that the README itself tells, each in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from .sources import Figures


def checked_text(figures: Figures, plain: Figures) -> str:
    """How well maps of the bundled model meet the drawn truth; ``plain`` is the model without attention loss."""
    sram, where = figures["sram"], figures["where"]["paired"]
    cells, pairs = sram["all_layers"]["cells"], sram["all_layers"]["pairs"]
    return (
        f"Over {pairs} held-out pairs, a patch's map peaks within one patch of the true place in "
        f"{sram['supervised']['within_1']:.1%} of {cells:,} cells in the layers that were taught to point, and in "
        f"{sram['never_supervised']['within_1']:.1%} in the others (chance {sram['baselines']['chance']['within_1']:.1%}). A model of "
        f"the same shape that was never taught reaches {plain['sram']['all_layers']['within_1']:.1%} over all its layers. The mirror of the garment's mask "
        f"finds where the garment went with an area under the ROC curve of {where['mirror']['auc']:.2f}; R2G reaches "
        f"{where['R2G']['auc']:.2f}, R2G-balanced {where['R2G-balanced']['auc']:.2f}, and the inpainting mask by itself "
        f"{where['inpaint_mask']['auc']:.2f}.\n"
    )


def cost_sentence(benches: Sequence[Figures]) -> str:
    """The recorder's share of processor time inside a host, with patch maps."""
    hosts, threads = ({bench["setup"][key] for bench in benches} for key in ("host", "threads"))
    if len(hosts) != 1 or len(threads) != 1:
        raise ValueError(
            f"one sentence cannot tell of several hosts or numbers of threads: {hosts}, {threads}; measure them alike"
        )
    shares = (
        f"{bench['modes']['pairwise']['recorder_share']:.1%} for {_model(bench['setup'])} ({bench['setup']['tokens']:,} reference tokens)"
        for bench in benches
    )
    return (
        f"In {hosts.pop()} on {threads.pop()} CPU threads, with random weights, recording with patch maps took this much of the model's "
        f"own processor time: {', '.join(shares)}.\n"
    )


def _model(setup: Figures) -> str:
    return f"a U-Net of {setup['model']}" if setup["model"].endswith("size") else str(setup["model"])
