"""Which rows of a batch belong to which branch of guidance."""

from __future__ import annotations

from ...errors import RecordingError


class Branches:
    """The branches of a run, evaluated in one call of the model (branch-major) or in one call each.

    Args:
        names: the branches, in order.
        images: images in the batch.
    """

    def __init__(self, names: tuple[str, ...], images: int) -> None:
        self._names, self._images = names, images
        self._calls = 0

    def begin_step(self) -> None:
        """The next call is the first of a step."""
        self._calls = 0

    def split(self, rows: int) -> dict[str, slice]:
        """The rows of one call by branch.

        Raises:
            RecordingError: their number is neither that of the images nor images times branches.
        """
        n, b = self._images, len(self._names)
        if rows == n * b:
            return {name: slice(i * n, (i + 1) * n) for i, name in enumerate(self._names)}
        if rows == n:
            branch = self._names[self._calls % b]
            self._calls += 1
            return {branch: slice(0, n)}
        raise RecordingError(
            f"the model was called with {rows} rows, expected {n * b} ({n} images x branches {', '.join(self._names)}) or "
            f"{n} a call; set `images` and `branches` to what the pipeline does"
        )
