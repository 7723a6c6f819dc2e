"""Which rows of a batch belong to which branch of guidance."""

from __future__ import annotations

from typing import Any

from ...errors import RecordingError

PLAIN = ("uncond", "cond")
APART = ("cond", "uncond")
"""The order of the calls of a step where each branch has one."""
ASSUMED = (
    "of the two calls of each step, the first was taken for cond and the second for uncond; if your loop has them the other "
    "way round, record with branches=('uncond', 'cond')"
)
"""What is said of a loop of the caller's own that has a call for each branch, and does not say their order."""
PERTURBED = "perturbed"
"""The rows of perturbed-attention guidance, whose attention is spoilt on purpose."""


class Branches:
    """The branches of a run, evaluated in one call of the model (branch-major) or in one call each.

    Args:
        model: the pipeline or the bare network.
        names: the branches, in order, as the caller gives them; None: as the pipeline has them at each call.
        images: images in the batch.
        last: whether the last of several evaluations at one place counts; else the first.
        apart: whether each branch has a call of its own, in the order of `APART`, where the caller does not say otherwise.
        together: whether a pipeline has all of them in one call instead, in that order, and cond alone where it guides no more.
    """

    def __init__(
        self, model: Any, names: tuple[str, ...] | None, images: int, last: bool, apart: bool = False, together: bool = False
    ) -> None:
        self._model, self._told, self._images, self._last = model, names, images, last
        self._apart = apart and names is None
        self._together = self._apart and together and _is_pipeline(model)
        self._calls, self._complete = 0, False
        self._notes: dict[str, None] = {}
        self._bare: dict[str, None] = {}
        self.evaluated: dict[str, None] = {}
        """The branches that the model's calls with references were taken for."""

    @property
    def notes(self) -> list[str]:
        """What was left out, for the reader of the maps."""
        return list(self._notes)

    @property
    def without(self) -> set[str]:
        """The branches none of whose calls had a reference, though they were evaluated."""
        return set(self._bare) - set(self.evaluated)

    def begin(self) -> None:
        """The next call is the first at its place in the schedule."""
        self._calls, self._complete = 0, False

    def split(self, rows: int, references: bool = True) -> dict[str, slice]:
        """The rows of one call by branch; none: it is a second pass of the model at the same place.

        Where the caller does not say the order of calls, one without ``references`` is not cond's.

        Raises:
            RecordingError: their number is neither that of the images nor images times branches.
        """
        names, n = self._names(), self._images
        # pipelines of U-Nets evaluate all branches in one call
        separate = self._apart or self._told is not None or not _is_pipeline(self._model)
        if self._complete and not self._last:
            self._notes["a second pass of the model within a step was left out (self-attention guidance makes one)"] = None
            return {}
        if rows == n * len(names) and (self._together or not self._apart):
            self._complete = True
            self._took(names, references)
            if PERTURBED in names:
                self._notes["the rows of perturbed-attention guidance were left out"] = None
            return {name: slice(i * n, (i + 1) * n) for i, name in enumerate(names) if name != PERTURBED}
        if rows == n and self._apart and not references:
            self._took(names[1:], references)
            return {}
        if rows == n and separate and (self.evaluated or not self._together):
            branch = names[self._calls % len(names)]
            self._calls += 1
            self._complete = self._calls == len(names)
            self._took((branch,), references)
            if self._apart and self._complete and not _is_pipeline(self._model):
                self._notes[ASSUMED] = None
            return {branch: slice(0, n)}
        expected = f"{n * len(names)} ({n} images x branches {', '.join(names)})"
        if self._apart and not self._together:
            expected = f"{n} (images) a call"
        elif separate and not self._together:
            expected += f" or {n} a call"
        raise RecordingError(
            f"the model was called with {rows} rows, expected {expected}; set `images` and `branches` to what the pipeline does"
        )

    def _took(self, names: tuple[str, ...], references: bool) -> None:
        """Note what a call was taken for."""
        known = self.evaluated if references else self._bare
        known |= dict.fromkeys(names)

    def _names(self) -> tuple[str, ...]:
        if self._told is not None:
            return self._told
        if self._apart and not self._together:
            return APART
        if not _is_pipeline(self._model):
            return PLAIN
        guided = getattr(self._model, "do_classifier_free_guidance", None)
        if guided is None:
            raise RecordingError(
                f"this {type(self._model).__name__} does not say whether it uses classifier-free guidance; say it with "
                f"`branches`: ('uncond', 'cond') with guidance, ('cond',) without"
            )
        names = (APART if self._together else PLAIN) if guided else ("cond",)
        return (*names, PERTURBED) if getattr(self._model, "do_perturbed_attention_guidance", False) else names


def _is_pipeline(model: Any) -> bool:
    return hasattr(model, "scheduler")
