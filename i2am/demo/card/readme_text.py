"""The few figures that the README itself tells, each in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .sources import Figures
from .trust_text import best_of_regions, more_than_truth, tells


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


CALLED = {"tryon": "try-on model", "edit": "edit model"}


def trust_paragraph(studies: Mapping[str, Figures], shipped: Mapping[str, str]) -> str:
    """Whether maps foretell what a cut changes, by model; those that were not studied are left out.

    Args:
        studies: of each model.
        shipped: the SHA-256 of the weights that ship, of models whose study may be of earlier ones, which is said then.
    """
    told = []
    for model, figures in studies.items():
        if figures:
            setup = figures["setup"]
            earlier = model in shipped and shipped[model] != setup["sha256"]
            as_of = f", as it was after {setup['samples']:,} samples," if earlier else ""
            told.append(_trust(CALLED[model] + as_of, figures))
    first = (
        "How far do maps foretell effects? What they show most was cut first, and the same noise sampled again: does the picture "
        "change more than where cells are cut at random, and least in the reversed order?"
    )
    return " ".join([first, *told]) + "\n" if told else ""


def _trust(model: str, figures: Figures) -> str:
    setup, knock_out = figures["setup"], figures["knock_out"]
    maps = {name: of for on in figures["deletion"].values() for name, of in on["maps"].items() if "map_minus_truth" in of}
    more = [name for name in maps if more_than_truth(maps[name])]
    gain = max((100 * maps[name]["map_minus_truth"]["mean"] for name in more), default=0.0)
    beyond = f"by {len(more)} of them, by at most {gain:.2f}% of the range" if more else "by none of them"
    regions = [knock_out["regions"][picture] for picture in ("reference", "generated")]
    found = ([best_of_regions(maps, inside)[1] for maps in regions if maps] for inside in (False, True))
    over, inside = (max((mean for mean in means if mean is not None), default=None) for means in found)
    return (
        f"In the bundled {model} ({setup['pairs']} pairs, {setup['runs']:,} cuts) {sum(map(tells, maps.values()))} of {len(maps)} maps "
        f"tell both; the drawn place of the garment alone is surpassed {beyond}. The best map ranks regions by what is lost without "
        f"them at a rank correlation of {_signed(over)}, inside of the garment alone at {_signed(inside)}, and the mass ranks layers at "
        f"{_signed(knock_out['layer']['mean'])}."
    )


def _signed(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}".replace("-", "−")


def _model(setup: Figures) -> str:
    return f"a U-Net of {setup['model']}" if setup["model"].endswith("size") else str(setup["model"])
