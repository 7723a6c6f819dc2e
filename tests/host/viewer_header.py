"""The header of the viewer's file, as the report's page and the Explorer's file hold it."""

from __future__ import annotations

import base64
import json
import re
import struct
from typing import Any


def header_of(raw: bytes) -> dict[str, Any]:
    """The data of a file, with places in its body where bytes would be."""
    assert raw[:8] == b"I2AMVIEW"
    _version, length = struct.unpack("<II", raw[8:16])
    header: dict[str, Any] = json.loads(raw[16 : 16 + length])
    return header


def header_in(page: str) -> dict[str, Any]:
    """The same of the file in a report's page."""
    written = re.search(r'<script type="application/octet-stream;base64" id="data">(.*?)</script>', page, re.DOTALL)
    assert written is not None
    return header_of(base64.b64decode(written[1]))
