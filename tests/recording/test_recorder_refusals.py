"""What a recorder refuses before it takes a call."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from i2am.errors import I2AMError
from i2am.geometry.layout import Layout, TokenGrid
from i2am.recording.recorder import Recorder

LAYOUT = Layout.of(TokenGrid(2, 2))
HALF = torch.tensor([[1.0, 0.0], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (HALF.where(HALF > 0, float("nan")), "given to the recording holds NaN or infinity"),
        (HALF * 255, "given to the recording holds values from 0 to 255, expected 0 to 1"),
        (HALF - 0.5, "given to the recording holds values from -0.5 to 0.5, expected 0 to 1"),
        (HALF * 0, "given to the recording is empty"),
        (torch.ones(3, 2, 2), "one per image"),
        (torch.ones(4), "one per image"),
    ],
)
def test_masks_that_no_score_would_take_later(mask: torch.Tensor, message: str) -> None:
    with pytest.raises(I2AMError, match=message):
        Recorder(LAYOUT, steps=2, images=2, inpaint_mask=mask)


def test_a_mask_is_taken_in_every_shape_that_hosts_give() -> None:
    picture = Image.fromarray((HALF * 255).byte().numpy())
    for mask in (HALF, HALF[None], HALF[None, None], HALF.expand(2, 2, 2), HALF > 0, HALF.numpy(), picture):
        Recorder(LAYOUT, steps=2, images=2, inpaint_mask=mask)
