"""Where a garment's letters lie on its picture."""

from __future__ import annotations

import torch
from torch import Tensor

from .draw import _from_garment
from .spec import REFERENCE, PairSpec

SPAN = 31 / 64
"""Half the side of a letter's box, in letter heights."""


def letter_mask(pair: PairSpec, index: int = 0) -> Tensor:
    """(160, 112), 1 in the upright box about one of the garment's letters on the reference picture."""
    glyph = pair.garment.glyphs[index]
    reach = SPAN * glyph.size
    gx = glyph.x + reach * torch.tensor([-1.0, 1.0, 1.0, -1.0]).view(1, 1, 4)
    gy = glyph.y + reach * torch.tensor([-1.0, -1.0, 1.0, 1.0]).view(1, 1, 4)
    x, y = _from_garment([pair.flat], gx, gy)
    mask = torch.zeros(REFERENCE)
    mask[max(int(y.min()), 0) : int(y.max()) + 1, max(int(x.min()), 0) : int(x.max()) + 1] = 1
    return mask
