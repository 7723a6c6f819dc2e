"""What the viewer shows as one binary file: a header that says all, then arrays and pictures as they are.

    8 bytes   "I2AMVIEW"
    4 bytes   the version, 4; this and the next are unsigned and little-endian, as are all numbers of the body
    4 bytes   n, the length of the header
    n bytes   the header: JSON in ASCII, the data of `viewer_data` as web/viewer/viewer.js describes it
    the rest  the body

A second run to compare with lies in the same file, in the header's block "second": both are shown or neither, and a file that
is moved or kept stays whole. Version 4 added it.

Where the data has bytes, the header has {"at": where they begin in the body, "bytes": how many they are}. A page holds the
same bytes in base64; ComfyUI serves them as a file.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

from ..errors import shown

MAGIC = b"I2AMVIEW"
VERSION = 4
LARGEST = 32_000_000
"""Bytes of a file that a graph leaves; what is larger is coarsened, and says so."""


def viewer_file(data: Mapping[str, Any]) -> bytes:
    """The file of what `viewer_data` made."""
    blobs: list[bytes] = []
    header = json.dumps(_without_bytes(data, blobs), allow_nan=False, separators=(",", ":")).encode("ascii")
    return b"".join([MAGIC, struct.pack("<II", VERSION, len(header)), header, *blobs])


def _without_bytes(value: Any, blobs: list[bytes]) -> Any:
    """The data with its bytes moved to ``blobs``, and its texts, keys included, ready to be shown."""
    if isinstance(value, bytes):
        at = sum(map(len, blobs))
        blobs.append(value)
        return {"at": at, "bytes": len(value)}
    if isinstance(value, str):
        return shown(value, max(len(value) * 6, 1))  # an escape has at most six characters
    if isinstance(value, Mapping):
        return {_without_bytes(key, blobs): _without_bytes(inner, blobs) for key, inner in value.items()}
    return [_without_bytes(inner, blobs) for inner in value] if isinstance(value, list | tuple) else value
