"""The true "which reference" is coloured like the maps of it."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from i2am.drawn.edit_case import EditCase
from i2am.pictures.parts import colour_of_reference
from i2am.pictures.true_which import true_shares, true_which
from i2am.pictures.which import OPACITY, PALE


def test_each_pixel_has_the_colour_of_its_reference_or_none() -> None:
    edits = EditCase.draw(2).edits
    drawn = np.asarray(true_which(Image.new("RGB", (96, 128), (40, 40, 40)), edits), np.float32)
    pale = 40 + (255 - 40) * PALE
    known = (edits.from_person + edits.from_garment)[0, 0].numpy()
    assert set(np.unique(known)) == {0.0, 1.0}
    for i, where in enumerate((edits.from_person, edits.from_garment)):
        inside = drawn[where[0, 0].bool().numpy()]
        assert len(inside) > 500
        colour = pale + (np.asarray(colour_of_reference(i)) - pale) * OPACITY
        np.testing.assert_allclose(inside, np.broadcast_to(colour, inside.shape), atol=1)
    np.testing.assert_allclose(drawn[known == 0], pale, atol=1)


def test_the_shares_are_the_truth() -> None:
    edits = EditCase.draw(2).edits
    heat = true_shares(edits)
    assert (heat.parts, heat.size, heat.labels) == (2, (128, 96), ("person", "garment"))
    assert torch.equal(heat.values, torch.cat([edits.from_person[0], edits.from_garment[0]]))
