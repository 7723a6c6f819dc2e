"""File names from other people's graphs: none of them may lead out of its folder."""

from __future__ import annotations

import re
from pathlib import Path

from ..data.names import KEPT, is_reserved
from ..errors import I2AMError

_FORBIDDEN = re.compile('[\x00-\x1f\x7f\ud800-\udfff:*?"<>|]')
LONGEST_NAME, LONGEST_PATH = 255, 2000
"""Bytes of a file's or a folder's name, and of a path, that every usual file system takes."""
LONGEST_PREFIX = 200
"""Bytes of a name to which a number and an ending are added."""


def check_prefix(prefix: str) -> str:
    """Check that a file name prefix, with subfolders, stays in its folder; returns it with "/" as separator.

    Raises:
        I2AMError: it is empty, absolute, climbs with "..", or no file can be called so on some system: it holds characters
            that file names cannot have, or a part of it ends with a dot or a space or is one that Windows keeps for a device.

    >>> check_prefix(" I2AM/maps ")
    'I2AM/maps'
    >>> check_prefix("../maps")
    Traceback (most recent call last):
    i2am.I2AMError: the file name prefix '../maps' leads out of the output folder; give one such as I2AM/maps
    """
    _check_length(prefix, "file name prefix", LONGEST_PREFIX)
    parts = prefix.strip().replace("\\", "/").split("/")
    if not parts[-1] or not any(part.strip(".") for part in parts):
        raise I2AMError(f"the file name prefix {prefix!r} has no name; give one such as I2AM/maps")
    if parts[0] in ("", "~") or ".." in parts or "." in parts:
        raise I2AMError(f"the file name prefix {prefix!r} leads out of the output folder; give one such as I2AM/maps")
    if _FORBIDDEN.search(prefix):
        raise I2AMError(f'the file name prefix {prefix!r} holds one of :*?"<>| or a control character; leave those out')
    for part in parts:
        if part.endswith((".", " ")):
            raise I2AMError(
                f"the file name prefix {prefix!r} has {part!r}, which ends with a {'dot' if part.endswith('.') else 'space'}: "
                f"Windows leaves it out, so that this would be another file there; leave it out"
            )
        if is_reserved(part):
            raise I2AMError(f"the file name prefix {prefix!r} has {part!r}, which {KEPT}; give another, such as I2AM/maps")
    return "/".join(parts)


def inside(folder: str | Path, name: str) -> Path:
    """The path of a file by its name relative to a folder.

    Raises:
        I2AMError: the name leads out of the folder, also by way of "..", an absolute path or a link.
    """
    _check_length(name, "file name", LONGEST_NAME)
    base = Path(folder).resolve()
    try:
        path = (base / name.replace("\\", "/")).resolve()
    except (OSError, ValueError) as error:  # such as a NUL, or a loop of links
        raise I2AMError(f"{name!r} is not a file name ({error})") from error
    if base not in path.parents:
        raise I2AMError(f"{name!r} leads out of its folder; choose one of the files in it")
    return path


def _check_length(name: object, what: str, longest: int) -> None:
    """Refuse what is no text, and a name that no file could have."""
    if not isinstance(name, str):
        raise I2AMError(f"the {what} must be text, got a {type(name).__name__}")
    sizes = [len(part.encode("utf-8", "surrogatepass")) for part in name.replace("\\", "/").split("/")]
    if max(sizes) > longest or sum(sizes) + len(sizes) > LONGEST_PATH:
        raise I2AMError(
            f"the {what} {name[:20] + '…'!r} has {len(name)} characters; give at most {longest} bytes between two slashes and "
            f"{LONGEST_PATH} in all"
        )
