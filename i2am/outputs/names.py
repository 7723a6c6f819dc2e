"""Names of files that other people's graphs give: none of them may lead out of its folder."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import I2AMError

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f:*?\"<>|]")


def check_prefix(prefix: str) -> str:
    """A file name prefix, with subfolders, that stays in the folder that it is for; returned with "/" as separator.

    Raises:
        I2AMError: it is empty, absolute, climbs with "..", or holds characters that file names cannot have everywhere.

    >>> check_prefix(" I2AM/maps ")
    'I2AM/maps'
    >>> check_prefix("../maps")
    Traceback (most recent call last):
    i2am.errors.I2AMError: the file name prefix '../maps' leads out of the output folder; give one such as I2AM/maps
    """
    parts = prefix.strip().replace("\\", "/").split("/")
    if not parts[-1] or not any(part.strip(".") for part in parts):
        raise I2AMError(f"a file name prefix such as I2AM/maps is needed, got {prefix!r}")
    if parts[0] in ("", "~") or ".." in parts or "." in parts:
        raise I2AMError(f"the file name prefix {prefix!r} leads out of the output folder; give one such as I2AM/maps")
    if _FORBIDDEN.search(prefix):
        raise I2AMError(f'the file name prefix {prefix!r} holds a character that files cannot have (:*?"<>| or a control one)')
    return "/".join(parts)


def inside(folder: str | Path, name: str) -> Path:
    """The path of a file by its name relative to a folder.

    Raises:
        I2AMError: the name leads out of the folder, also by way of "..", an absolute path or a link.
    """
    base = Path(folder).resolve()
    try:
        path = (base / name.replace("\\", "/")).resolve()
    except (OSError, ValueError) as error:  # such as a NUL, or a loop of links
        raise I2AMError(f"{name!r} is no name of a file ({error})") from error
    if base not in path.parents:
        raise I2AMError(f"{name!r} leads out of its folder; choose one of the files in it")
    return path
