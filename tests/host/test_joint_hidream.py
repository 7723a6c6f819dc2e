"""HiDream-E1: the picture to edit lies at the right of the generated one, on one canvas before the text."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests import joint_case, tiny_joint
from host_tests.cut_case import Lib as CutLib
from host_tests.joint_spy import JointSpy
from host_tests.test_cut_joint import close, truth_of
from torch import Tensor

NAME = "hidream"
LLAMA = 5


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    return joint_case.Lib(pack)


@pytest.fixture(scope="module")
def cuts(pack: ModuleType) -> Any:
    return CutLib(pack)


def given(picture: Tensor | tuple[int, int], seed: int = 10, words: int = 7) -> Any:
    """A conditioning as InstructPixToPixConditioning leaves it."""
    latent = picture if isinstance(picture, Tensor) else tiny_joint.latent(NAME, picture, 3)
    llama = torch.randn(1, 4, LLAMA, 20, generator=torch.Generator().manual_seed(seed))
    return tiny_joint.conditioning(NAME, tokens=words, seed=seed, concat_latent_image=latent, conditioning_llama3=llama)


def tokens(size: tuple[int, int], width: int) -> tuple[list[int], list[int], list[int]]:
    """The generated tokens, the reference's, and those of a column that holds some of both."""
    rows, columns = -(-size[0] // 2), -(-(size[1] + width) // 2)
    kept, first = size[1] // 2, -(-size[1] // 2)
    each = ([*range(kept)], [*range(first, columns)], [*range(kept, first)])
    made, reference, mixed = ([r * columns + c for r in range(rows) for c in some] for some in each)
    return made, reference, mixed


@pytest.mark.parametrize(("size", "width"), [((6, 4), 4), ((5, 5), 5), ((6, 5), 4), ((4, 6), 7)], ids=str)
@pytest.mark.parametrize("branches", [1, 2])
def test_the_maps_are_of_the_attention_that_the_model_computed(
    lib: Any, size: tuple[int, int], width: int, branches: int
) -> None:
    """In float64, to the last bit the run that is not recorded, with a batch of two."""
    positive, negative = given((size[0], width)), given((size[0], width), 20) if branches == 2 else None
    options = lib.record.Options(**joint_case.FULL, pairwise="heads", groups=50, branches=("cond", "uncond")[:branches])
    plain = tiny_joint.sample(NAME, tiny_joint.model(NAME), positive, negative, size=size, batch=2)
    spy = JointSpy()
    recorded, recording = lib.record.attach(spy.attach(tiny_joint.model(NAME)), options)
    latent = tiny_joint.sample(NAME, recorded, positive, negative, size=size, batch=2)
    assert torch.equal(latent, plain)
    maps = recording.maps_of(latent)
    made, reference, _ = tokens(size, width)
    assert [layer.name for layer in maps.layers] == list(tiny_joint.FAMILIES[NAME].layers)
    assert len(spy.calls) == 2 * 4
    for i, call in enumerate(spy.calls):
        for branch, weights in zip(("uncond", "cond")[-branches:], call.weights().chunk(branches), strict=True):
            got = maps.pairwise(call.layer, branch, 0)[:, i // 4].double()
            want = weights[:, :, torch.tensor(made)[:, None], torch.tensor(reference)]
            assert torch.allclose(got, want, atol=3e-6), (call.layer, branch)
    grid = maps.references[0].grid
    start = (2 * -(-size[1] // 2) - size[1]) / width
    assert grid.picture == (8 * size[0], 8 * width)
    assert grid.rect is not None
    assert grid.rect[0] == pytest.approx(start)
    assert {name: tuple(picture.shape) for name, picture in maps.thumbnails.items()} == {"reference": (size[0], width, 3)}
    assert ("cond", 7 + 2 * LLAMA) in maps.layers[0].words


@pytest.mark.parametrize(("size", "width"), [((6, 4), 4), ((5, 5), 5)], ids=str)
def test_a_cell_moves_exactly_its_key(size: tuple[int, int], width: int) -> None:
    """Of the reference, and with odd columns of the column that is nobody's."""

    def first(picture: Tensor) -> Tensor:
        spy = JointSpy()
        tiny_joint.sample(NAME, spy.attach(tiny_joint.model(NAME)), given(picture), size=size, steps=1)
        return spy.calls[0].k[0].transpose(0, 1).flatten(1)

    picture = tiny_joint.latent(NAME, (size[0], width), 3)
    _, reference, mixed = tokens(size, width)
    row = len(reference) // (-(-size[0] // 2))
    for cell, key in ((size[1] % 2 + 2, reference[row + 1]), (0, (mixed or reference)[1 if mixed else row])):
        changed = picture.clone()
        changed[..., 2, cell] += 1
        moved = (first(changed) - first(picture)).abs().amax(1) > 0
        assert moved.nonzero()[:, 0].tolist() == [key]


@pytest.mark.parametrize("route", ["all", "generated"])
def test_a_cut(lib: Any, cuts: Any, route: str) -> None:
    size, positive, base = (6, 5), given((6, 5)), tiny_joint.model(NAME)
    made, reference, _ = tokens(size, 5)
    cut = cuts.cut(base, route=route)
    want = truth_of(reference, None if route == "all" else made)
    latent = tiny_joint.sample(NAME, cut, positive, size=size)
    assert close(latent, tiny_joint.sample(NAME, want.attach(base), positive, size=size))
    assert not close(latent, tiny_joint.sample(NAME, base, positive, size=size))
    recorded, recording = lib.record.attach(cut, lib.record.Options(**joint_case.FULL))
    maps = recording.maps_of(tiny_joint.sample(NAME, recorded, positive, size=size))
    assert all(bool((maps.marginal("mass", layer.name) == 0).all()) for layer in maps.layers)


def test_what_cannot_be_is_refused(lib: Any) -> None:
    parts = lib.parts.parts_of("[[0, 0, 0.5, 1], [0.5, 0, 1, 1]]")
    bare = tiny_joint.conditioning(NAME, conditioning_llama3=torch.zeros(1, 4, LLAMA, 20))
    cases = [
        ({}, given((4, 4)), "so give them as many rows: sample the latent that InstructPixToPixConditioning puts out"),
        ({"parts": parts}, given((6, 4)), "takes one picture, beside the generated one on a canvas; leave them out"),
        ({}, bare, "cond conditioning has no reference latent"),
    ]
    for options, positive, says in cases:
        recorded, _ = lib.record.attach(tiny_joint.model(NAME), lib.record.Options(**options))
        with pytest.raises(lib.errors.LayoutError, match=says):
            tiny_joint.sample(NAME, recorded, positive, size=(6, 4))
