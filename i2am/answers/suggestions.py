"""What to try next. A suggestion follows from a verdict and is worth a try; it is never said to be the cause."""

from __future__ import annotations

from collections.abc import Iterable

from .said import Said

CLOSER = "a crop of the reference closer to it, so that it gets more tokens; or a higher cfg"
TRY = {
    ("region", "hardly looked at"): CLOSER,
    ("region", "nobody"): CLOSER,
    ("region", "apart"): "a reference whose pose or view is nearer to the picture's; or another seed",
    (
        "region",
        "drawn differently",
    ): "a higher resolution, more steps or another seed; it was looked at, so the maps hold no hint",
    ("region", "another colour"): "another seed, or a lower cfg",
    ("region", "beyond"): "a picture with more room there, or another seed",
    ("region", "diffuse"): "single layers (LLAM), since the mean of all may hide one that points",
    ("reach", "hardly"): CLOSER,
    (
        "outside",
        "spilt",
    ): "an inpainting mask that covers those places too, or keeps clear of them",
    ("focus", "diffuse"): "single layers (LLAM), since the mean of all may hide one that points",
    ("time", "changes"): "more steps",
    ("routes", "much"): "the same seed with the way by the text cut (route 'text' of an intervention), to see what it changes",
}
"""By topic and verdict."""


def suggestions(said: Iterable[Said]) -> list[Said]:
    """A suggestion for each verdict that has one; what several verdicts suggest is said once."""
    found: dict[str, list[Said]] = {}
    for one in said:
        trial = TRY.get((one.topic, one.verdict))
        if trial is not None:
            found.setdefault(trial, []).append(one)
    names = {trial: ", ".join(dict.fromkeys(one.about for one in ones if one.about)) for trial, ones in found.items()}
    return [Said("next", f"Worth a try{f' for {names[trial]}' if names[trial] else ''}: {trial}.") for trial in found]
