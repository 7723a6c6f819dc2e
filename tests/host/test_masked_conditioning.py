"""A conditioning that is limited by a mask: what of its maps lies where the sampler takes nothing from it is said."""

from __future__ import annotations

import importlib
import re
from types import ModuleType
from typing import Any

import comfy.samplers
import pytest
import torch
from host_tests import tiny
from torch import Tensor

import nodes

SHAPE = (1, 4, 16, 12)
Conditioning = list[list[Any]]


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    names = {"host": "hosts.comfy.record", "taken": "hosts.comfy.taken", "layout": "geometry.layout", "errors": "errors"}
    return type("Lib", (), {k: importlib.import_module(f"{pack.__name__}.i2am.{v}") for k, v in names.items()})


def left_half(height: int = 128, width: int = 96) -> Tensor:
    mask = torch.zeros(1, height, width)
    mask[..., : width // 2] = 1
    return mask


def masked(conditioning: Conditioning, mask: Tensor, strength: float = 1.0, where: str = "default") -> Conditioning:
    """The host's own node."""
    return nodes.ConditioningSetMask().append(conditioning, mask, where, strength)[0]


def run(lib: Any, positive: Conditioning, shape: tuple[int, ...] = SHAPE) -> tuple[Any, Tensor]:
    """The maps and the latent of one step; the latent is the unrecorded one's."""
    given = {"steps": 2, "latent": shape}
    plain = tiny.sample(tiny.model(), positive, tiny.negative(), **given)
    layout = lib.layout.Layout.of(lib.layout.TokenGrid(3, 4))
    model, recording = lib.host.attach(tiny.model(), lib.host.Options(layout=layout))
    latent = tiny.sample(model, positive, tiny.negative(), **given)
    assert torch.equal(latent, plain)
    return recording.maps_of(latent), latent


def outside(maps: Any, kept: Tensor) -> float:
    """By a way of its own: the share of R2G where a mask of the latent, (1 or images, 16, 12), is 0."""
    shares = []
    for layer in maps.layers:
        heat = maps.marginal("r2g", layer.name).double().mean((1, 2)).reshape(-1, layer.grid.rows, layer.grid.columns)
        times = 16 // layer.grid.rows
        fine = heat.repeat_interleave(times, 1).repeat_interleave(times, 2)
        shares += [(fine * (1 - kept)).sum() / fine.sum()]
    return float(torch.stack(shares).mean())


def said(maps: Any) -> float | None:
    """The percentage that a note gives."""
    found = re.search(r"cond is limited by a mask.*: (\d+) % of R2G lies where the sampler", " ".join(maps.notes))
    return None if found is None else int(found[1])


@pytest.mark.parametrize("strength", [1.0, 0.5, 4.0])
def test_the_share_beyond_a_mask_is_said(lib: Any, strength: float) -> None:
    """The strength of the only conditioning does nothing: the host divides by the sum of all."""
    maps, latent = run(lib, masked(tiny.positive(), left_half(), strength))
    assert torch.equal(latent, tiny.sample(tiny.model(), masked(tiny.positive(), left_half()), tiny.negative(), steps=2))
    expected = outside(maps, left_half(16, 12).double())
    assert 0.3 < expected < 0.7
    assert said(maps) == round(100 * expected)
    bare, _ = run(lib, tiny.positive())
    first = maps.layers[0].name
    assert torch.equal(maps.marginal("r2g", first)[:, 0], bare.marginal("r2g", first)[:, 0])  # the model sees no mask
    assert said(bare) is None


def test_masks_of_several_images_each_count(lib: Any) -> None:
    both = torch.cat([left_half(), 1 - left_half()])
    maps, _ = run(lib, masked(tiny.positive(), both), (2, *SHAPE[1:]))
    small = torch.cat([left_half(16, 12), 1 - left_half(16, 12)]).double()
    each = [outside_of(maps, small, i) for i in (0, 1)]
    assert said(maps) == round(100 * sum(each) / 2)


def outside_of(maps: Any, kept: Tensor, image: int) -> float:
    one = type("One", (), {"layers": maps.layers, "marginal": lambda _, *a: maps.marginal(*a)[image : image + 1]})()
    return outside(one, kept[image : image + 1])


def test_a_mask_over_everything_and_plain_pairs_are_not_worth_a_note(lib: Any) -> None:
    assert said(run(lib, masked(tiny.positive(), torch.ones(1, 128, 96)))[0]) is None
    assert said(run(lib, [*tiny.positive(), *tiny.positive(seed=12)])[0]) is None


def test_a_mask_of_strength_nothing_is_all_lost(lib: Any) -> None:
    assert said(run(lib, masked(tiny.positive(), left_half(), 0.0))[0]) == 100


@pytest.mark.parametrize("strength", [1.0, 3.0])
def test_beside_others_the_prediction_is_a_mix(lib: Any, strength: float) -> None:
    """The recorded one is the first; the second one counts everywhere."""
    maps, _ = run(lib, [*masked(tiny.positive(), left_half(), strength), *tiny.positive(seed=12)])
    assert said(maps) == round(100 * outside(maps, left_half(16, 12).double() * strength / (1 + strength)))


@pytest.mark.where("ConditioningSetDefaultCombine" in nodes.NODE_CLASS_MAPPINGS)
def test_a_default_conditioning_has_what_the_others_leave(lib: Any) -> None:
    rest = tiny.positive(seed=12, default=True)
    maps, _ = run(lib, [*rest, *masked(tiny.positive(), left_half())])
    assert said(maps) == round(100 * outside(maps, 1 - left_half(16, 12).double()))


def test_the_weights_are_the_hosts(lib: Any) -> None:
    """Against what the host multiplies predictions by; areas have soft edges there."""
    given = [
        {**masked(tiny.positive(), left_half(16, 12), 0.7)[0][1], "uuid": 1},
        {"area": [8, 6, 4, 2], "strength": 2.0, "uuid": 2},
        {"strength": 0.3, "uuid": 3},
    ]
    entries = [{**entry, "model_conds": {}} for entry in given]
    hosts = [comfy.samplers.get_area_and_mult(dict(entry), torch.zeros(SHAPE), torch.ones(1)) for entry in entries]
    weights = [torch.zeros(16, 12) for _ in hosts]
    for weight, host in zip(weights, hosts, strict=True):
        height, width, top, left = host.area or (16, 12, 0, 0)
        weight[top : top + height, left : left + width] = host.mult[0, 0]
    for entry, weight in zip(entries, weights, strict=True):
        share = lib.taken.taken(entry, entries, (16, 12))
        expected = weight / sum(weights)
        inner = torch.ones(16, 12, dtype=torch.bool)
        inner[4:12, 2:8] = False
        inner[6:10, 3:7] = True  # the edges of the area alone differ
        assert torch.allclose(share[0][inner], expected[inner], atol=1e-6)


def test_mask_bounds_are_refused_with_their_remedy(lib: Any) -> None:
    positive = masked(tiny.positive(), left_half(), where="mask bounds")
    with pytest.raises(lib.errors.LayoutError, match=r"limited to an area.*set_cond_area to 'default'"):
        run(lib, positive)


def test_bounds_that_hold_the_whole_picture_are_no_limit(lib: Any) -> None:
    mask = torch.ones(1, 128, 96)
    mask[:, 32:64, 24:48] = 0
    maps, _ = run(lib, masked(tiny.positive(), mask, where="mask bounds"))
    kept = torch.ones(1, 16, 12, dtype=torch.float64)
    kept[:, 4:8, 3:6] = 0
    got = said(maps)
    assert got is not None
    assert abs(got - 100 * outside(maps, kept)) < 1
