"""The tiny model samples on the host's real path, the same each time."""

from __future__ import annotations

import pytest
import torch
from host_tests import tiny


@pytest.mark.parametrize("sampler", ["ddim", "euler", "heun", "dpmpp_sde", "uni_pc"])
def test_sampling_is_deterministic(sampler: str) -> None:
    first = tiny.sample(tiny.model(), tiny.positive(), tiny.negative(), sampler)
    again = tiny.sample(tiny.model(), tiny.positive(), tiny.negative(), sampler)
    assert first.shape == (1, 4, 16, 12)
    assert first.isfinite().all()
    assert torch.equal(first, again)


def test_the_conditioning_and_the_weights_matter() -> None:
    plain = tiny.sample(tiny.model(), tiny.positive(), tiny.negative(), steps=2)
    other = tiny.sample(tiny.model(), tiny.positive(seed=5), tiny.negative(), steps=2)
    weights = tiny.sample(tiny.model(seed=1), tiny.positive(), tiny.negative(), steps=2)
    assert (other - plain).abs().max() > 0.01
    assert (weights - plain).abs().max() > 0.01


def test_odd_sizes_batches_and_unequal_prompts() -> None:
    made = tiny.sample(tiny.model(), tiny.positive(tokens=77), tiny.negative(tokens=12), steps=2, latent=(2, 4, 9, 13))
    assert made.shape == (2, 4, 9, 13)
