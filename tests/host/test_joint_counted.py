"""Networks whose blocks the host does not name: they are counted, and where that proves nothing the run is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests import joint_case, tiny_joint
from host_tests.cut_case import Lib as CutLib

SIZES = ((4, 4), (5, 7))
NAME = "omnigen2"


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    return joint_case.Lib(pack)


@pytest.fixture(scope="module")
def cuts(pack: ModuleType) -> Any:
    return CutLib(pack)


@contextmanager
def changed(index: int, make: Callable[[Any], Any]) -> Iterator[Any]:
    """A model of which one block attends as ``make`` says, given how it attends by itself."""
    model = tiny_joint.model(NAME)
    attention = model.model.diffusion_model.layers[index].attn
    attention.forward = make(attention.forward)
    try:
        yield model
    finally:
        del attention.forward


def twice(own: Any) -> Any:
    return lambda *args, **kwargs: own(*args, **kwargs) + own(*args, **kwargs)


def skipped(_own: Any) -> Any:
    return lambda tokens, *_args, **_kwargs: torch.zeros_like(tokens)


def skipped_after(calls: int) -> Any:
    def make(own: Any) -> Any:
        left = iter(range(calls))
        return lambda tokens, *args, **kwargs: (
            torch.zeros_like(tokens) if next(left, None) is None else own(tokens, *args, **kwargs)
        )

    return make


def test_a_block_that_is_missing_is_refused(lib: Any, cuts: Any) -> None:
    positive = tiny_joint.conditioning(NAME, *SIZES)
    with changed(1, skipped) as model:
        recorded, _ = lib.record.attach(model, lib.record.Options())
        with pytest.raises(lib.errors.RecordingError, match=r"2 of the 3 joint blocks of this OmniGen2.*none may be missing"):
            tiny_joint.sample(NAME, recorded, positive)
        with pytest.raises(lib.errors.RecordingError, match=r"2 of the 3 joint blocks of this OmniGen2.*none may be missing"):
            tiny_joint.sample(NAME, cuts.cut(model, layers=("single.2",)), positive)
        plain = tiny_joint.sample(NAME, model, positive)
        assert not torch.equal(tiny_joint.sample(NAME, cuts.cut(model), positive), plain)  # in all blocks: no name matters


def test_a_block_that_attends_twice_is_refused(lib: Any, cuts: Any) -> None:
    positive = tiny_joint.conditioning(NAME, *SIZES)
    with changed(1, twice) as model:
        recorded, _ = lib.record.attach(model, lib.record.Options())
        for used in (recorded, cuts.cut(model)):
            with pytest.raises(lib.errors.LayoutError, match=r"has 3 joint blocks, but attended more often in one evaluation"):
                tiny_joint.sample(NAME, used, positive)


def test_an_evaluation_without_all_blocks_is_left_out_and_said(lib: Any) -> None:
    """As a cache of blocks makes them after the first step."""
    positive = tiny_joint.conditioning(NAME, *SIZES)
    with changed(2, skipped_after(1)) as model:
        recorded, recording = lib.record.attach(model, lib.record.Options())
        maps = recording.maps_of(tiny_joint.sample(NAME, recorded, positive, steps=3))
    assert maps.recorded == (0,)
    assert any("the maps are of 1 of 3 steps: in the others, not all blocks were computed" in note for note in maps.notes)


def test_that_references_are_mixed_before_is_said(lib: Any, cuts: Any) -> None:
    """It is so: a cell of the one moves tokens of the other. Of one reference there is nothing to say."""
    said = "lets the references' tokens look at each other"
    for sizes in (SIZES, SIZES[:1]):
        recorded, recording = lib.record.attach(tiny_joint.model(NAME), lib.record.Options())
        maps = recording.maps_of(tiny_joint.sample(NAME, recorded, tiny_joint.conditioning(NAME, *sizes), steps=1))
        assert any(said in note for note in maps.notes) == (len(sizes) > 1)
    assert said in cuts.intervene.intervene(tiny_joint.model(NAME), cuts.intervene.CutOptions(cuts.plan.Cut()))[1]
    one, two = (tiny_joint.latent(NAME, size, seed) for seed, size in enumerate(SIZES))
    given = [tiny_joint.conditioning(NAME, one, two + change) for change in (0.0, 1.0)]
    cut = cuts.cut(cuts.cut(tiny_joint.model(NAME), reference=1), reference=1, route="references")
    assert not torch.equal(*(tiny_joint.sample(NAME, cut, each, steps=1) for each in given))


def test_a_cut_and_two_recordings_count_the_same_blocks(lib: Any, cuts: Any) -> None:
    """Each with other layers, in any order, in one call of both conditionings."""
    positive, negative = (tiny_joint.conditioning(NAME, *SIZES, seed=seed) for seed in (10, 30))
    cut = cuts.cut(tiny_joint.model(NAME), layers=("single.1",), route="generated")
    plain = tiny_joint.sample(NAME, cut, positive, negative, batch=2)
    first, one = lib.record.attach(tiny_joint.model(NAME), lib.record.Options(**joint_case.FULL))
    both, two = lib.record.attach(
        cuts.cut(first, layers=("single.1",), route="generated"), lib.record.Options(**joint_case.FULL)
    )
    latent = tiny_joint.sample(NAME, both, positive, negative, batch=2)
    assert torch.equal(latent, plain)
    for maps in (one.maps_of(latent), two.maps_of(latent)):
        gone = [bool((maps.marginal("mass", layer.name, "cond", 0) == 0).all()) for layer in maps.layers]
        assert gone == [False, True, False]
