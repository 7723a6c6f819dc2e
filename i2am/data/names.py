"""Names of pairs as names of files, which have to be such on every usual system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from .findings import Problem

LONGEST = 200
"""Bytes of a name, to which an ending is added."""
RESERVED = {
    *("con", "prn", "aux", "nul", "conin$", "conout$", "clock$"),
    *(f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"),
}
"""What Windows keeps for devices, whatever follows behind a dot."""
_FORBIDDEN = re.compile('[\x00-\x1f\x7f\ud800-\udfff/\\\\:*?"<>|]')
KIND = "unfit name"
KEPT = "is a name that Windows keeps for a device"


def unfit(name: str) -> str:
    """Why no file can be called so on some system, in words that follow the name; "": it can.

    >>> unfit("00006_00"), unfit("aux.front")
    ('', 'is a name that Windows keeps for a device')
    """
    if not name.strip():
        return "is empty"
    if (size := len(name.encode("utf-8", "surrogatepass"))) > LONGEST:
        return f"has {size} bytes, {LONGEST} at most make a file's name with its ending"
    if found := _FORBIDDEN.search(name):
        return f"holds {found.group()!r}, which file names cannot have everywhere"
    if name.startswith(".") or name.endswith((".", " ")) or name.startswith(" "):
        return "begins with a dot or a space, or ends with one"
    return KEPT if is_reserved(name) else ""


def is_reserved(name: str) -> bool:
    """Whether Windows keeps a name for a device, so that no file can be called so there.

    >>> is_reserved("nul.png"), is_reserved("annul.png")
    (True, False)
    """
    return name.partition(".")[0].rstrip().lower() in RESERVED


def same_file(name: str) -> str:
    """What is equal for names that are one file's on Windows or macOS: those that differ in letter case or in accents' form.

    >>> same_file("Anna") == same_file("anna")
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def alike(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each name that is one file's with an earlier one, and the earlier one."""
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(same_file(name), name)
        if first != name:
            yield name, first


def unfit_names(names: Sequence[str]) -> list[Problem]:
    """What is wrong with names as those of files."""
    found = [Problem(KIND, name, "", None, f"{name[:60]!r} {why}") for name in names if (why := unfit(name))]
    for name, first in alike(names):
        found.append(
            Problem(KIND, name, "", None, f"{name!r} and {first!r} differ in letter case alone: they would be one file")
        )
    return found
