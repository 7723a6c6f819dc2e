"""Text files that people wrote: in UTF-8, or refused with what they seem to be and how to save them."""

from __future__ import annotations

import codecs
from pathlib import Path

from ..errors import DatasetError

WIDE = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Encodings by the bytes that a file begins with; of two that begin alike the longer stands first."""
SAVE = "save it as UTF-8"


def read_text(path: Path, expected: str) -> str:
    """A text file in UTF-8, with or without a mark at its start.

    Args:
        path: the file.
        expected: what it should hold, for an error's text.

    Raises:
        DatasetError: it cannot be read, or is no text in UTF-8.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}); expected {expected}") from error
    if why := not_utf8(content):
        raise DatasetError(f"{path} {why}; expected {expected}")
    return content.decode("utf-8-sig")


def not_utf8(content: bytes) -> str:
    r"""Why bytes are no text in UTF-8, and what to do, in words that follow the file's name; "": they are.

    >>> not_utf8("Zoë.jpg".encode()), not_utf8("Zoë.jpg".encode("latin-1"))[:46]
    ('', 'is not UTF-8 (line 1 holds the byte 0xeb), but')
    """
    wide = next((name for mark, name in WIDE.items() if content.startswith(mark)), "")
    if wide.startswith(("utf-16", "utf-32")):
        try:
            content.decode(wide)
        except UnicodeDecodeError:
            return f"is not a text file; {SAVE}"
        return f"is a text file in {wide.upper()} (“Unicode” in some editors); {SAVE}"
    if zeros := content.count(b"\0"):
        # every other byte of plain words is zero in UTF-16
        guess = "is a text file in UTF-16 without a mark" if zeros * 3 > len(content) else "is not a text file"
        return f"{guess}; {SAVE}"
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"line {line} holds the byte 0x{content[error.start]:02x}"
        return f"is not UTF-8 ({byte}), but perhaps Latin-1 or Windows-1252; {SAVE}"
    return ""
