"""Which rows of a batch belong to which branch of guidance."""

from __future__ import annotations

from typing import Any

from ...errors import RecordingError

PLAIN = ("uncond", "cond")
PERTURBED = "perturbed"
"""The rows of perturbed-attention guidance, whose attention is spoilt on purpose."""


class Branches:
    """The branches of a run, evaluated in one call of the model (branch-major) or in one call each.

    Args:
        model: the pipeline or the bare network.
        names: the branches, in order, as the caller gives them; None: as the pipeline has them at each call.
        images: images in the batch.
        last: whether the last of several evaluations at one place counts; else the first.
    """

    def __init__(self, model: Any, names: tuple[str, ...] | None, images: int, last: bool) -> None:
        self._model, self._told, self._images, self._last = model, names, images, last
        self._calls, self._complete = 0, False
        self._notes: dict[str, None] = {}

    @property
    def notes(self) -> list[str]:
        """What was left out, for the reader of the maps."""
        return list(self._notes)

    def begin(self) -> None:
        """The next call is the first at its place in the schedule."""
        self._calls, self._complete = 0, False

    def split(self, rows: int) -> dict[str, slice]:
        """The rows of one call by branch; none: it is a second pass of the model at the same place.

        Raises:
            RecordingError: their number is neither that of the images nor images times branches.
        """
        names, n = self._names(), self._images
        separate = self._told is not None or not _is_pipeline(self._model)  # pipelines evaluate all branches in one call
        if self._complete and not self._last:
            self._notes["a second pass of the model within a step was left out (self-attention guidance makes one)"] = None
            return {}
        if rows == n * len(names):
            self._complete = True
            if PERTURBED in names:
                self._notes["the rows of perturbed-attention guidance were left out"] = None
            return {name: slice(i * n, (i + 1) * n) for i, name in enumerate(names) if name != PERTURBED}
        if rows == n and separate:
            branch = names[self._calls % len(names)]
            self._calls += 1
            self._complete = self._calls == len(names)
            return {branch: slice(0, n)}
        raise RecordingError(
            f"the model was called with {rows} rows, expected {n * len(names)} ({n} images x branches {', '.join(names)})"
            f"{f' or {n} a call' if separate else ''}; set `images` and `branches` to what the pipeline does"
        )

    def _names(self) -> tuple[str, ...]:
        if self._told is not None:
            return self._told
        if not _is_pipeline(self._model):
            return PLAIN
        guided = getattr(self._model, "do_classifier_free_guidance", None)
        if guided is None:
            raise RecordingError(
                f"this {type(self._model).__name__} does not say whether it uses classifier-free guidance; say it with "
                f"`branches`: ('uncond', 'cond') with guidance, ('cond',) without"
            )
        names = PLAIN if guided else ("cond",)
        return (*names, PERTURBED) if getattr(self._model, "do_perturbed_attention_guidance", False) else names


def _is_pipeline(model: Any) -> bool:
    return hasattr(model, "scheduler")
