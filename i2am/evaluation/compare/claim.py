"""The claim "IMACS follows quality", answered for the data at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...numbers import typeset
from .correlation import Bootstrap, Estimate
from .measures import inverted, measure
from .relations import AGAINST, ALL, FOLLOWS, NOT_SHOWN, TOO_FEW, Relation

LEVELS = ("image", "model")
YES, IN_PART, NO, OPEN = "yes", "in part", "no", "cannot be told"
WEAK = 0.3
"""A rank correlation below which going together is called weak; intervals that leave out as strong a one say "no"."""


@dataclass(frozen=True)
class Answer:
    """What the data say of one preset at one level.

    Attributes:
        level: "image" or "model".
        preset: of IMACS.
        answer: "yes" (every relation follows quality), "in part" (some do), "no" (none does, and each interval goes against the
            claim or leaves out a correlation of `WEAK` on its side), "not shown" (none does, and some may) or "cannot be told".
        text: the answer in a sentence, with its n.
        of: the run that it is of, or `ALL`.
        relations: those that it is made from.
    """

    level: str
    preset: str
    answer: str
    text: str
    of: str
    relations: tuple[Relation, ...]


def answers(found: Sequence[Relation], how: Bootstrap) -> list[Answer]:
    """An answer for each preset, over images and over models; none where no run has both IMACS and a figure of quality.

    Over images it is of all runs together, or where these share no image, of each by itself.
    """
    of_imacs = [one for one in found if measure(one.measure).of_imacs]
    pooled = {one.level for one in of_imacs if one.of == ALL and (one.images or one.level == "model")}
    asked: dict[tuple[str, str, str], list[Relation]] = {}
    for level in LEVELS:
        for one in of_imacs:
            if one.level == level and (one.of == ALL) == (level in pooled):
                asked.setdefault((level, measure(one.measure).preset, one.of), []).append(one)
    return [_answer(*key, tuple(chosen), how) for key, chosen in asked.items()]


def _answer(level: str, preset: str, of: str, chosen: tuple[Relation, ...], how: Bootstrap) -> Answer:
    counts = {verdict: sum(one.verdict == verdict for one in chosen) for verdict in (FOLLOWS, AGAINST, NOT_SHOWN, TOO_FEW)}
    told = len(chosen) - counts[TOO_FEW]
    apart = all(_leaves_out(one) for one in chosen if one.verdict != TOO_FEW)
    none = NO if apart else NOT_SHOWN
    answer = OPEN if not told else YES if counts[FOLLOWS] == told else IN_PART if counts[FOLLOWS] else none
    if not told:
        why = "; ".join(dict.fromkeys(one.why for one in chosen if one.why))
        right = sum(one.spearman.value is not None and one.better * one.spearman.value > 0 for one in chosen)
        text = f"nothing can be told from chance ({why}); {right} of {len(chosen)} correlations point the way of the claim"
        text += _turned(chosen)
        return Answer(level, preset, answer, text, of, chosen)
    text = (
        f"of {len(chosen)} pairs of an IMACS and a figure of quality, {counts[FOLLOWS]} go together as the claim says, "
        f"{counts[AGAINST]} the other way round, {counts[NOT_SHOWN]} cannot be told from none"
    )
    text += f", {counts[TOO_FEW]} have too few observations" * bool(counts[TOO_FEW])
    chance = told * (1 - how.confidence) / 2
    text += f" ({_size(chosen)}; by chance alone some {chance:.1g} in {told} would seem to go together)"
    weak = [one for one in chosen if one.verdict == FOLLOWS and abs(one.spearman.value or 0) < WEAK]
    if weak and len(weak) == counts[FOLLOWS]:
        text += f"; all that do are weak, |ρ| < {WEAK:g}"
    if answer == NO:
        text += f"; every interval goes against the claim or leaves out a ρ of {WEAK:g} on its side"
    if answer == NOT_SHOWN:
        text += f"; that is no evidence of either direction: a ρ of {WEAK:g} or more on the claim's side is not ruled out"
    text += _turned(chosen)
    return Answer(level, preset, answer, text, of, chosen)


def _leaves_out(one: Relation) -> bool:
    """Whether a relation goes against the claim, or its interval leaves out a correlation of `WEAK` on the claim's side."""
    low, high = one.spearman.low, one.spearman.high
    return one.verdict == AGAINST or (low is not None and high is not None and max(one.better * low, one.better * high) < WEAK)


def _turned(chosen: Sequence[Relation]) -> str:
    return "; its IMACS_g is of the inverted map" if any(inverted(one.measure) for one in chosen) else ""


def _size(chosen: Sequence[Relation]) -> str:
    images = sorted({one.images for one in chosen if one.images})
    models, runs = (max(found) for found in zip(*((one.models, one.runs) for one in chosen), strict=True))
    span = f"{images[0]} to {images[-1]}" if len(images) > 1 else f"{images[0]}" if images else ""
    return " × ".join(
        [f"n = {span} images"] * bool(span) + [f"{models} model{'s' * (models > 1)}" + f" ({runs} runs)" * (runs > models)]
    )


def in_words(one: Relation) -> str:
    """A relation in a line, such as "IMACS_g, default and SSIM: ρ 0.21 (0.05 to 0.36), n = 100 images × 4 models"."""
    names = f"{measure(one.measure).label} and {measure(one.figure).label}, {one.kind}"
    chance = "" if one.p is None else f", p {one.p:.2g}"
    said = f"{one.verdict}: {one.why}" if one.why else one.verdict
    without = f", without {', '.join(one.left_out)}, where one of the two is the same for all" if one.left_out else ""
    return f"{names}: ρ {number(one.spearman)}{chance}, {_size([one])}{without}" + f" – {said}" * bool(said)


def number(found: Estimate) -> str:
    """A correlation with its interval.

    >>> number(Estimate(-0.5, -0.75, 0.125))
    '−0.50 (−0.75 to 0.12)'
    """
    if found.value is None:
        return "–"
    text = typeset(found.value, 2)
    if found.low is not None and found.high is not None:
        text += f" ({typeset(found.low, 2)} to {typeset(found.high, 2)})"
    return text
