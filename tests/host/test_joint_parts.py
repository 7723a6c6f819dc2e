"""Pictures that are stitched into one reference are told apart by rectangles."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests import joint_case, tiny_joint

LEFT, RIGHT = [0, 0, 0.5, 1], [0.5, 0, 1, 1]
STITCHED = (5, 12)  # latent cells: 3 x 6 tokens of kontext, whose lowest row reaches beyond the picture


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    return joint_case.Lib(pack)


def test_two_pictures_side_by_side(lib: Any) -> None:
    """Their maps are those of their own tokens, and the other reference's stay."""
    positive = tiny_joint.conditioning("kontext", STITCHED, (4, 4))
    parts = lib.parts.parts_of(f"[[{LEFT}, {RIGHT}], []]")
    run = joint_case.run(lib, "kontext", positive, options={"parts": parts})
    maps = run.maps
    assert [(r.name, r.grid.rows, r.grid.columns, r.grid.picture) for r in maps.references] == [
        ("reference 1", 3, 3, (40, 48)),
        ("reference 2", 3, 3, (40, 48)),
        ("reference 3", 2, 2, (32, 32)),
    ]
    assert all(r.grid.rect == pytest.approx((0, 0, 1, 1.2)) for r in maps.references[:2])
    _, stitched, other = run.spans("cond")
    columns = torch.arange(stitched.start, stitched.stop).view(3, 6)
    for step in (0, 1):
        for layer in tiny_joint.FAMILIES["kontext"].layers:
            for r, keys in enumerate((columns[:, :3], columns[:, 3:], torch.arange(other.start, other.stop))):
                got = maps.pairwise(layer, reference=r)[:, step].double()
                assert torch.allclose(got, run.truth[step, layer, "cond"][..., keys.flatten()], atol=3e-6)


def test_tokens_of_the_seam_are_nobodys(lib: Any) -> None:
    """A seam within a column of tokens: 12 cells are 6 columns, of which the third is of both pictures."""
    given = lib.sequence.Given.of(
        tiny_joint.model("kontext").model,
        {"c_crossattn": torch.zeros(1, 7, 1), "ref_latents": [torch.zeros(1, 16, *STITCHED)]},
        (1, 16, 6, 5),
        lib.parts.parts_of("[[0, 0, 0.45, 1], [0.45, 0, 1, 1]]"),
    )
    first, second = lib.sequence.sequence_of(given).references
    start = 7 + 9
    assert (first.grid.columns, second.grid.columns) == (2, 3)
    assert first.positions().tolist() == [start + 6 * r + c for r in range(3) for c in (0, 1)]
    assert second.positions().tolist() == [start + 6 * r + c for r in range(3) for c in (3, 4, 5)]
    assert second.grid.rect is not None
    assert second.grid.rect[0] == pytest.approx((0.5 - 0.45) / 0.55)
