"""How far a map can be trusted, from the figures of `i2am.demo.evaluate.trust` and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .markdown import number, table
from .sources import Figures

NAMES = {
    "SRAM": "SRAM, mean over the garment's true place",
    "mirror": "mirror of the garment's mask",
    "share": "share of the garment",
    "which reference": "which reference: the garment",
    "mass": "mass",
    "truth, reference": "no map: the garment's mask, drawn",
    "truth, generated": "no map: where the garment is truly seen, drawn",
}
ON = {
    "reference": "cells of the reference taken away from all",
    "generated": "cells of the generated picture that lose sight of the reference",
}
BY = {"removed": "taken away", "another garment": "those of another garment", "blurred": "those of the blurred garment"}
STANDS = {"another garment": "another garment's tokens", "blurred": "the blurred garment's"}
ORDERED = ("map_minus_random", "random_minus_reversed")
SURE = 0.05
"""The p below which a sign test is taken for an answer."""
NO_MAP = "no map"
WEAK = 0.3
"""Rank correlations below this hardly tell anything, however sure they are."""
EVEN = 0.1
"""Masses that differ by less of the largest are all but even: their order is of no use."""
ALL_OF_IT = 0.95
"""From this mass on in all layers it says nothing."""
METHOD = """\
`{command}`: {pairs} held-out pairs in another's garment, each at {seeds} noises, {steps} steps ({sampler}, cfg {cfg:g}), the
weights after {samples:,} samples (SHA-256 `{sha}…`); {runs:,} runs with a cut, each against the uncut run of the same noise, whose maps are
tried. A map's cells are cut in its order, at random, and in its reversed order, {fractions} of them. **{answer}**
"""
READING = """
Area: the mean height of the curve of the picture's mean change, in % of its range, from nothing to everything. In brackets: 95 %
intervals by bootstrap over pairs. Pairs: on how many the area is larger, and the p of the exact binomial test, two-sided. The rows
without a map tell how much is to be had by knowing where the garment is, and nothing else.
"""
KNOCK_OUT = """
Each region of the picture, each layer or each third of the steps cut alone: the rank correlation (Spearman) of what the map says of
it with the change that it made, the mean over pairs. *In the garment*: over those regions alone that hold at least half as much
garment as the fullest.

"""
STAND_INS = """
Taking keys away leaves what the model was trained on. So the cells of G2R were also replaced, not removed: their keys and values are
those of another garment at the same places, or of the same garment blurred ({blur:g} pixels){how}. One noise.

"""
HOW = {
    "tryon": ", as the reference encoder gives them for that whole picture; all layers make keys and values of its tokens one by one",
    "edit": ", in each layer and step from a run beside it with that picture as reference 2 and the same noise",
}
THIRDS = ("first", "middle", "last")


def trust_text(figures: Figures) -> str:
    """How it was measured, the answer in words, and the tables, as Markdown."""
    setup = figures["setup"]
    fractions = ", ".join(f"{100 * x:g}" for x in setup["fractions"][:-1]) + f" and {100 * setup['fractions'][-1]:g} %"
    method = METHOD.format(**{**setup, "fractions": fractions}, sha=setup["sha256"][:12], answer=answer(figures))
    return "\n".join(
        (
            method,
            _deletion_table(figures["deletion"]) + READING,
            _knock_out(figures["knock_out"]),
            STAND_INS.format(blur=setup["blur"], how=HOW.get(setup["model"], "")) + _stand_in_table(figures["stand_ins"]),
        )
    )


def on_average(found: Figures) -> bool:
    """Whether cutting in a map's order changes the picture more than at random, and that more than in the reversed order."""
    return all(found[name]["low"] > 0 for name in ORDERED)


def tells(found: Figures) -> bool:
    """Whether it does so on average, and on so many pairs that this is no chance."""
    return on_average(found) and all(found[name]["p"] < SURE for name in ORDERED)


def more_than_truth(found: Figures) -> bool:
    """Whether a map's order changes the picture more than that of the drawn truth."""
    return bool(found["map_minus_truth"]["low"] > 0)


def answer(figures: Figures) -> str:
    """Which maps tell what matters, whether they tell more than where the garment is, and what mass and stand-ins say."""
    maps = {name: of for on in figures["deletion"].values() for name, of in on["maps"].items() if "map_minus_truth" in of}
    yes = [name for name, of in maps.items() if tells(of)]
    hardly = [name for name, of in maps.items() if name not in yes and on_average(of)]
    no = [name for name in maps if name not in (*yes, *hardly)]
    more = [name for name, of in maps.items() if more_than_truth(of)]
    said = []
    if yes:
        said.append(
            f"What {_listed(yes)} {_verb('show', yes)} highest matters more than cells at random, and these more than the lowest."
        )
    if hardly:
        said.append(f"{_listed(hardly)} hardly {_verb('tell', hardly)}: on average it is so, but not on enough of the pairs.")
    if no:
        said.append(f"Of {_listed(no)} that cannot be said.")
    gains = [100 * maps[name]["map_minus_truth"]["mean"] for name in more]
    said.append(
        f"More than the drawn place of the garment {_verb('tell', more)} {_listed(more)}, by at most {max(gains):.2f} in area."
        if more
        else "None of them tells more than the drawn place of the garment alone."
    )
    said += [_best(picture, found) for picture, found in figures["knock_out"]["regions"].items() if found]
    said += [
        f"The mass of {what} {_verdict(figures['knock_out'][key])} what is lost without its attention to the garment."
        for key, what in (("layer", "a layer"), ("third", "a third of the steps"))
    ]
    told = {by: tells(of) for by, of in figures["stand_ins"].items() if by in STANDS}
    kept = [STANDS[by] for by, is_told in told.items() if is_told]
    lost = [STANDS[by] for by, is_told in told.items() if not is_told]
    if kept:
        said.append(f"With {_listed(kept)} in the place of what G2R shows, its order holds too.")
    if lost:
        said.append(f"With {_listed(lost)} in its place, the order of G2R does not hold.")
    return " ".join(said)


def best_of_regions(maps: Figures, inside: bool = False) -> tuple[str, Any]:
    """The map that ranks regions best by what is lost without them, and its rank correlation (None: it has none).

    ``inside``: of the garment alone.
    """
    own = {name: of["inside"] if inside else of for name, of in maps.items() if not NAMES.get(name, "").startswith(NO_MAP)}
    best = max(own, key=lambda name: _mean(own[name]))
    return best, own[best]["mean"]


def _best(picture: str, maps: Figures) -> str:
    """The map that ranks regions best, over the whole picture and inside of the garment."""
    (over, mean), (inside, own) = best_of_regions(maps), best_of_regions(maps, inside=True)
    return (
        f"Regions of the {picture} picture are ranked best by {over} ({number(mean)}), inside of the garment alone by "
        f"{inside} ({number(own)})."
    )


def _mean(found: Figures) -> float:
    return -1.0 if found["mean"] is None else float(found["mean"])


def _verdict(found: Figures) -> str:
    if found["mean"] is None or found["low"] <= 0 <= found["high"]:
        return "does not tell"
    most = max(found["foretold"])
    if most - min(found["foretold"]) < EVEN * most:
        return "is all but the same for each and does not tell"
    if abs(found["mean"]) < WEAK:
        return "hardly tells"
    return "tells" if found["low"] > 0 else "tells the contrary of"


def _verb(word: str, subjects: Sequence[str]) -> str:
    return word if len(subjects) > 1 else f"{word}s"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _deletion_table(deletion: Figures) -> str:
    parts = []
    for on, found in deletion.items():
        head = (
            ON[on],
            "its order",
            "random",
            "reversed",
            "its order − random",
            "pairs",
            "random − reversed",
            "pairs",
            "its order − the drawn truth's",
        )
        rows = [_map_row(name, of, found["random"]) for name, of in found["maps"].items()]
        parts.append(table(head, rows))
    return "\n".join(parts)


def _map_row(name: str, of: Figures, random: Figures) -> tuple[str, ...]:
    truth = of.get("map_minus_truth")
    areas = (of["area"]["map"], random["area"], of["area"].get("reversed"))
    compared = (of.get(which) for which in ("map_minus_random", "random_minus_reversed"))
    return (
        NAMES.get(name, name),
        *("–" if area is None else _percent(area["mean"]) for area in areas),
        *(cell for found in compared for cell in (("–", "–") if found is None else (_interval(found), _sign(found)))),
        "–" if truth is None else _interval(truth),
    )


def _knock_out(found: Figures) -> str:
    regions = [(name, on, of) for on, maps in found["regions"].items() for name, of in maps.items()]
    rows = [
        (NAMES.get(name, name), f"regions of the {on} picture", _correlation(of), _correlation(of["inside"]))
        for name, on, of in regions
    ]
    rows += [
        (f"mass of {what}", what, _correlation(found[key]), "–")
        for key, what in (("layer", "layers"), ("third", "thirds of the steps"))
    ]
    text = KNOCK_OUT + table(("what is foretold by", "over", "rank correlation", "in the garment"), rows)
    layer, third = found["layer"], found["third"]
    shown = ((layer["names"], layer), (THIRDS, third))
    said = [
        "; ".join(f"{_short(n)} {100 * a:.1f} % / {100 * b:.1f}" for n, a, b in zip(names, of["foretold"], of["change"]))
        for names, of in shown
    ]
    even = min(layer["foretold"]) > ALL_OF_IT
    note = " All keys are the garment's, so that its mass is all but even and cannot order layers or steps." if even else ""
    return (
        f"{text}\nMass on the garment and the change without it, % of the range, by layer: {said[0]}; by third of the steps: "
        f"{said[1]}.{note}\n"
    )


def _short(layer: str) -> str:
    return f"`{layer.partition('.transformer_blocks')[0]}`" if "." in layer else layer


def _stand_in_table(found: Figures) -> str:
    head = (
        "the cells of G2R are",
        "its order",
        "random",
        "reversed",
        "its order − random",
        "pairs",
        "random − reversed",
        "pairs",
        "all cells: change",
        "of it in the garment",
        "its area",
        "area under the ROC curve",
    )
    rows = []
    for by, of in found.items():
        whole = of["whole"]
        shares = (f"{100 * whole[name]:.0f} %" if whole[name] is not None else "–" for name in ("inside", "area"))
        row = _map_row("", of, of["random"])[1:-1]
        rows.append((BY[by], *row, _percent(whole["mean"]), *shares, number(whole["roc"])))
    return table(head, rows)


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _interval(found: Figures) -> str:
    mean, low, high = (f"{100 * found[key]:+.2f}".replace("-", "−") for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def _sign(found: Figures) -> str:
    return f"{found['larger']} of {found['told']} (p {_p(found['p'])})"


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 0.001 else "< 0.001"


def _correlation(found: Any) -> str:
    if found["mean"] is None:
        return "–"
    mean, low, high = (f"{found[key]:.2f}".replace("-", "−") for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high}), above 0 on {found['above']} of {found['pairs']}"
