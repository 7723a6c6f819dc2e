"""How spread attention is, and whether it peaks where a detail lies: against sums over softmaxes, and planted attention."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from i2am.errors import LayoutError, UnavailableError
from i2am.geometry.layout import Layout, TokenGrid
from i2am.geometry.resample import area
from i2am.levels.choice import Choice
from i2am.maps.value import AttributionMaps
from i2am.recording.recorder import Recorder
from i2am.scores.entropy import attention_entropy
from i2am.scores.pointing import Match, pointing_accuracy

REFERENCE = TokenGrid(5, 4, 1, picture=(50, 40))
GRIDS = {"fine": ((8, 6), 2), "coarse": ((4, 3), 1)}
SIZE = (64, 48)
MASK = torch.zeros(SIZE)
MASK[10:50, 7:33] = 1


def recorded(calls: dict[tuple[int, str], tuple[Tensor, Tensor]], images: int = 1, **options: object) -> AttributionMaps:
    steps = 1 + max(step for step, _ in calls)
    layout = Layout.of(REFERENCE)
    recorder = Recorder(layout, steps=steps, images=images, groups=min(2, steps), generated_size=SIZE, **options)  # type: ignore[arg-type]
    for step in range(steps):
        for name, (grid, _) in GRIDS.items():
            if (step, name) in calls:
                q, k = calls[step, name]
                recorder.observe(name, grid, step, "cond", q, k, None, scale=1.0)
        recorder.end_step(step)
    return recorder.finish()


def random_calls(steps: int, images: int) -> dict[tuple[int, str], tuple[Tensor, Tensor]]:
    source = torch.Generator().manual_seed(4)
    calls = {}
    for step in range(steps):
        for name, ((rows, columns), heads) in GRIDS.items():
            q = torch.randn(images, heads, rows * columns, 4, generator=source) * 2
            calls[step, name] = (q, torch.randn(images, heads, REFERENCE.tokens, 4, generator=source))
    return calls


@pytest.mark.parametrize("mask", [None, MASK])
def test_entropy_is_the_mean_over_steps_layers_heads_and_the_masked_patches(mask: Tensor | None) -> None:
    calls = random_calls(3, 2)
    maps = recorded(calls, images=2)
    for image in range(2):
        total, heads = 0.0, 0
        for name, (grid, count) in GRIDS.items():
            for step in range(3):
                q, k = (t[image].double() for t in calls[step, name])
                p = (q @ k.transpose(-1, -2)).softmax(-1)[..., 1:]
                p = p / p.sum(-1, keepdim=True)
                nats = -(p * p.log()).sum(-1)  # (heads, N)
                cells = torch.ones(nats.shape[1]) if mask is None else area(mask[None], grid).flatten()
                total += float(((nats * cells).sum(-1) / cells.sum()).sum()) / math.log(REFERENCE.placed) / 3
            heads += count
        assert attention_entropy(maps, mask, Choice(image=image)) == pytest.approx(total / heads, rel=1e-4)


def test_even_attention_has_entropy_one_and_a_single_peak_none() -> None:
    q = torch.zeros(1, 2, 48, 4)
    k = torch.zeros(1, 2, REFERENCE.tokens, 4)
    assert attention_entropy(recorded({(0, "fine"): (q, k)})) == pytest.approx(1, abs=1e-5)
    q[..., 0], k[:, :, 7, 0] = 1, 60
    assert attention_entropy(recorded({(0, "fine"): (q, k)})) == pytest.approx(0, abs=1e-5)


def test_a_single_token_has_no_entropy() -> None:
    recorder = Recorder(Layout.of(TokenGrid(1, 1)), steps=1, generated_size=SIZE)
    recorder.observe("fine", (8, 6), 0, "cond", torch.randn(1, 1, 48, 4), torch.randn(1, 1, 1, 4), None, scale=1.0)
    recorder.end_step(0)
    with pytest.raises(UnavailableError, match="single token"):
        attention_entropy(recorder.finish())


def planted(down: int) -> AttributionMaps:
    """Every patch of the fine layer looks at the reference cell in its own place, ``down`` rows lower."""
    q, k = torch.zeros(1, 2, 48, 20), torch.zeros(1, 2, REFERENCE.tokens, 20)
    for cell in range(20):
        k[:, :, 1 + cell, cell] = 30
    for row in range(8):
        for column in range(6):
            q[:, :, row * 6 + column, (row * 5 // 8 + down) % 5 * 4 + column * 4 // 6] = 1
    return recorded({(0, "fine"): (q, k)})


@pytest.mark.parametrize(("down", "expected"), [(0, 1.0), (1, 1.0), (2, 0.5)])
def test_matches_count_as_right_within_one_token(down: int, expected: float) -> None:
    # the first match's true row is 0, the second's 3: looking two rows lower, (3 + 2) % 5 = 0 is three away, (0 + 2) two
    matches = [Match((4.0, 4.0), (5.0, 5.0)), Match((44.0, 44.0), (35.0, 35.0))]
    found = pointing_accuracy(planted(down), matches, SIZE, (50, 40))
    assert found == (expected if down < 2 else 0.0)
    if down == 2:
        assert pointing_accuracy(planted(down), matches, SIZE, (50, 40), near=2) == expected


def test_pictures_of_other_sizes_are_brought_to_the_grids() -> None:
    matches = [Match((8.0, 8.0), (50.0, 50.0))]
    assert pointing_accuracy(planted(0), matches, (128, 96), (500, 400), near=0) == 1
    assert pointing_accuracy(planted(1), matches, (128, 96), (500, 400), near=0) == 0


def test_what_has_no_place_is_refused() -> None:
    with pytest.raises(UnavailableError, match="no place is known"):
        pointing_accuracy(planted(0), [], SIZE, (50, 40))
    with pytest.raises(LayoutError, match="outside"):
        pointing_accuracy(planted(0), [Match((48.0, 3.0), (5.0, 5.0))], SIZE, (50, 40))
