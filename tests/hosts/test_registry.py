"""Maps are found by the exact latent, within a bound of bytes."""

from __future__ import annotations

import gc
import logging

import pytest
import torch
from levels_run import run

from i2am.errors import RecordingError
from i2am.hosts.registry import DEFAULT_MB, Registry, bare, fingerprint, limit_of

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


class Owner:
    """Something of the host's that keeps results."""


def test_results_go_with_the_last_of_their_owners() -> None:
    registry, maps = Registry(), run().maps
    node, first, second = Owner(), Owner(), Owner()
    registry.keep_while(node)
    for name, owner in (("a", first), ("b", second)):
        registry.keep_while(owner, name)
        registry.put({name}, name, "o", maps)
    registry.put({"c"}, "c", "o", maps)  # of nobody
    del first, owner
    gc.collect()
    assert registry.find("a", "a", "o") is maps  # the node may make another recording that asks for it
    del node
    gc.collect()
    assert registry.find("a", "a", "o") is None
    assert registry.find("b", "b", "o") is maps
    del second
    gc.collect()
    assert registry.find("b", "b", "o") is None
    assert registry.find("c", "c", "o") is maps


def test_an_owner_that_goes_while_the_registry_works_is_remembered() -> None:
    registry, maps = Registry(), run().maps
    owner = Owner()
    registry.keep_while(owner, "a")
    registry.put({"x"}, "a", "o", maps)
    with registry._lock:  # as when the collector runs within `put`
        del owner
        gc.collect()
        assert registry._results
    assert registry.find("x", "a", "o") is None


def test_an_owner_keeps_nothing_alive() -> None:
    registry, owner = Registry(), Owner()
    registry.keep_while(owner, "a")
    del owner
    gc.collect()
    assert not registry.find("x", "a", "o")
    assert not +registry._keepers


def test_the_limit_is_set_by_the_environment(caplog: pytest.LogCaptureFixture) -> None:
    assert limit_of(None) == limit_of(" ") == DEFAULT_MB * 1_000_000
    assert limit_of("300") == 300_000_000
    assert limit_of("0") == 0  # the newest run alone
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "i2am"):
        assert limit_of("1 GB") == limit_of("-5") == DEFAULT_MB * 1_000_000
    assert "I2AM_MAPS_MB is '1 GB', expected a whole number of megabytes" in caplog.text
