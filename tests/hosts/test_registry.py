"""Maps are found by the exact latent, within a bound of bytes."""

from __future__ import annotations

import pytest
import torch
from levels_run import run

from i2am.errors import RecordingError
from i2am.hosts.registry import Registry, bare, fingerprint

LATENT = torch.randn(1, 4, 8, 6, generator=torch.Generator().manual_seed(0))


def test_a_fingerprint_is_of_numbers_and_shape() -> None:
    assert fingerprint(LATENT) == fingerprint(LATENT.clone()) == fingerprint(LATENT.double())
    assert fingerprint(LATENT) == fingerprint(LATENT.to(memory_format=torch.channels_last))
    nudged = LATENT.clone()
    nudged[0, 3, 7, 5] += 1e-6
    assert fingerprint(nudged) != fingerprint(LATENT)
    assert fingerprint(LATENT.reshape(1, 4, 6, 8)) != fingerprint(LATENT)


def test_a_recordings_own_result_comes_before_anothers() -> None:
    registry, first, second = Registry(), run().maps, RecordingError("stopped")
    registry.put({"x"}, "a", "o", first)
    registry.put({"x"}, "b", "o", second)
    assert registry.find("x", "a", "o") is first
    assert registry.find("x", "b", "o") is second
    assert registry.find("x", "c", "o") is second  # the newest
    assert registry.find("y", "a", "o") is None


def test_what_was_recorded_with_other_options_is_not_found() -> None:
    registry, maps = Registry(), run().maps
    registry.put({"x"}, "a", "marginals", maps)
    assert registry.find("x", "b", "pairwise") is None
    registry.put({"x"}, "c", "pairwise", RecordingError("stopped"))
    assert registry.find("x", "b", "marginals") is maps


def test_an_error_is_kept_without_the_frames_that_raised_it() -> None:
    def fail() -> None:
        raise RecordingError("stopped")

    with pytest.raises(RecordingError) as caught:
        fail()
    kept = bare(caught.value)
    assert (type(kept), str(kept)) == (RecordingError, "stopped")
    assert caught.value.__traceback__ is not None
    assert kept.__traceback__ is None


def test_the_oldest_go_first_and_the_newest_always_stays() -> None:
    maps = run().maps
    others = [run().maps.with_thumbnails({}) for _ in range(3)]
    registry = Registry(limit=2 * maps.nbytes)
    for i, kept in enumerate(others):
        registry.put({f"{i}", f"{i} cast"}, "a", "o", kept)
    assert registry.find("0", "a", "o") is None
    assert registry.find("0 cast", "a", "o") is None
    assert registry.find("1", "a", "o") is others[1]
    assert registry.find("2 cast", "a", "o") is others[2]
    small = Registry(limit=1)
    small.put({"x"}, "a", "o", maps)
    assert small.find("x", "a", "o") is maps


def test_one_result_under_two_names_counts_once() -> None:
    maps = run().maps
    registry = Registry(limit=maps.nbytes + 1)
    registry.put({"x", "y"}, "a", "o", maps)
    assert registry.find("x", "a", "o") is registry.find("y", "a", "o") is maps
