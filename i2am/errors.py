"""Every error that this library raises on purpose."""

from __future__ import annotations


class I2AMError(ValueError):
    """Base of all errors of this library; its text says what was seen, what was expected and what to do."""


class LayoutError(I2AMError):
    """The tokens of a call do not match the layout that was given for it."""


class RecordingError(I2AMError):
    """A recording was used in a way, or met a run, that cannot give true maps."""


class MapsFileError(I2AMError):
    """A file does not hold attribution maps that this version can read."""


class UnavailableError(I2AMError):
    """A map that these recordings cannot give, with the reason."""


class MaskError(I2AMError):
    """A mask that has no inside, no outside, or the wrong size."""


class WeightsFileError(I2AMError):
    """A checkpoint file that is missing, not whole, foreign, or holds no state dict."""


class UnsafePickleError(WeightsFileError):
    """A checkpoint file whose pickle names more than tensors, so that unpickling it could run any program."""


class DatasetError(I2AMError):
    """A data set that is not laid out as expected, lacks pictures, or does not fit the run."""
