"""Arrays packed for the viewer: small integers with scales, deflated."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack(values: NDArray[np.floating[Any]], bits: int, leading: int = 0) -> dict[str, Any]:
    """Values >= 0 of any shape as integers of 8 or 16 bits with float32 scales for each row (the last axis).

    The first ``leading`` values of each row have a scale of their own: a token without a place may hold most of a row, and
    must not make the others coarse. ``data`` are the integers, little-endian, row-major and deflated; ``scales`` are for each
    row first that of the leading values, if any, then that of the others. A value read back is off by at most half its scale:
    the highest value with the same scale / (2 ** bits - 1) / 2.
    """
    top = 2**bits - 1
    values = np.maximum(values, 0, dtype=np.float32)
    parts = [part for part in np.split(values, [leading], -1) if part.shape[-1]]
    scales = np.stack([(part.max(-1) / top).astype("<f4") for part in parts], -1)
    each = np.repeat(scales, [part.shape[-1] for part in parts], -1)
    steps = np.rint(values / np.where(each > 0, each, 1)).clip(0, top)
    return {
        "shape": list(values.shape),
        "leading": leading if len(parts) > 1 else 0,
        "dtype": f"uint{bits}",
        "scales": scales.tobytes(),
        "data": zlib.compress(steps.astype(f"<u{bits // 8}").tobytes()),
    }
