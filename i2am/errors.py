"""Every error that this library raises on purpose."""

from __future__ import annotations

import re

LIBRARY = "i2am"
"""Where the library offers the classes of this file."""
LONGEST = 4000
"""Characters of a text that is shown."""
# C0 and C1 controls except tab and line feed, line and paragraph separators, marks that turn the direction of writing, and
# halves of surrogate pairs, which no encoding can write
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: object, longest: int = LONGEST) -> str:
    r"""A text of unknown origin, ready to be shown: control characters are escaped, and it is cut where it is too long.

    >>> shown("\x1b[31mred", 8)
    '\\x1b[31…'
    """
    plain = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), str(text)[: longest + 1])
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"


def in_lines(error: object) -> str:
    r"""An error's text for a terminal, ready to be shown: a list keeps its lines, and all but the first are set in.

    >>> in_lines("2 pairs cannot be used:\nmissing:  1\n\nno mask: 1\n")
    '2 pairs cannot be used:\n  missing: 1\n  no mask: 1'
    """
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    return shown("\n  ".join(line for line in lines if line))


class I2AMError(ValueError):
    """Base class of this library's errors; the message says what was seen, what was expected and what to do.

    Its text is as `shown` leaves it: names out of files and graphs may stand in it. Hosts write a class's module before the
    message, so a person reads "i2am.LayoutError", and not the path of the folder that the host loaded the library from.
    """

    def __init_subclass__(cls, **given: object) -> None:
        super().__init_subclass__(**given)
        if cls.__module__ == __name__:
            cls.__module__ = LIBRARY

    def __init__(self, *args: object) -> None:
        super().__init__(*(shown(arg) if isinstance(arg, str) else arg for arg in args))


I2AMError.__module__ = LIBRARY


class LayoutError(I2AMError):
    """The tokens of a call do not match the layout that was given for it."""


class RecordingError(I2AMError):
    """A recording was misused, or its run cannot give true maps."""


class MapsFileError(I2AMError):
    """A file does not hold attribution maps that this version can read."""


class UnavailableError(I2AMError):
    """A map that this recording cannot give, with the reason."""


class MaskError(I2AMError):
    """A mask that has no inside, no outside, or the wrong size."""


class WeightsFileError(I2AMError):
    """A checkpoint file that is missing, truncated, of another kind, or without a state dict."""


class UnsafePickleError(WeightsFileError):
    """A checkpoint file whose pickle refers to more than tensors, so that unpickling it could run arbitrary code."""


class DatasetError(I2AMError):
    """A data set that is not laid out as expected, lacks pictures, or does not fit the run."""
