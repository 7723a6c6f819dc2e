"""Canvases: reference and result in one picture, told apart by the model's own mask and by the reference's rectangle."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests import joint_case, tiny_joint
from host_tests.cut_case import Lib as CutLib
from host_tests.joint_spy import JointSpy
from host_tests.test_cut_joint import close, truth_of
from torch import Tensor

SIZE = (6, 12)  # cells: 3 x 6 tokens
RIGHT = "[[0.5, 0, 1, 1]]"
WORDS = 7
MADE = [WORDS + 6 * r + c for r in (1, 2) for c in (0, 1, 2)]
"""The tokens that `masked` paints in."""
KEPT = [WORDS + 6 * r + c for r in (0, 1, 2) for c in (3, 4, 5)]
"""Those of the right half."""


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    return joint_case.Lib(pack)


@pytest.fixture(scope="module")
def cuts(pack: ModuleType) -> Any:
    return CutLib(pack)


def masked(size: tuple[int, int] = SIZE, rows: slice = slice(17, 47), columns: slice = slice(1, 41)) -> Tensor:
    """A mask in pixels, (1, 1, H, W)."""
    mask = torch.zeros(1, 1, 8 * size[0], 8 * size[1])
    mask[..., rows, columns] = 1
    return mask


def fill(seed: int = 10, mask: Tensor | None = None, tokens: int = WORDS, picture: Tensor | None = None) -> Any:
    """A conditioning of FLUX.1 Fill, as InpaintModelConditioning leaves it."""
    mask = masked() if mask is None else mask
    size = (mask.shape[-2] // 8, mask.shape[-1] // 8)
    picture = tiny_joint.latent("fill", size, 4) if picture is None else picture
    return tiny_joint.conditioning("fill", tokens=tokens, seed=seed, concat_latent_image=picture, concat_mask=mask)


def noised(name: str, size: tuple[int, int] = SIZE, batch: int = 1) -> dict[str, Any]:
    """A latent with a noise mask over the same part."""
    samples = torch.randn(batch, tiny_joint.FAMILIES[name].channels, *size, generator=torch.Generator().manual_seed(8))
    return {"samples": samples, "noise_mask": masked(size)[0]}


@dataclass
class Run:
    maps: Any
    calls: list[Any]


def run(lib: Any, name: str, positive: Any, negative: Any = None, parts: str = RIGHT, **given: Any) -> Run:
    """A run that is, to the last bit, the one that is not recorded."""
    branches = ("cond",) if negative is None else ("cond", "uncond")
    options = lib.record.Options(
        **joint_case.FULL, pairwise="heads", groups=50, parts=lib.parts.parts_of(parts), branches=branches
    )
    plain = tiny_joint.sample(name, tiny_joint.model(name), positive, negative, **{"size": SIZE, **given})
    spy = JointSpy()
    recorded, recording = lib.record.attach(spy.attach(tiny_joint.model(name)), options)
    latent = tiny_joint.sample(name, recorded, positive, negative, **{"size": SIZE, **given})
    assert torch.equal(latent, plain)
    return Run(recording.maps_of(latent), spy.calls)


def check(found: Run, made: list[int], kept: list[list[int]], branches: int = 1) -> None:
    """The maps are those of the attention that the model computed in float64, from what is made to each reference."""
    layers = len(found.maps.layers)
    assert len(found.calls) == 2 * layers  # two steps, each in one call
    for i, call in enumerate(found.calls):
        step = i // layers
        for branch, weights in zip(("uncond", "cond")[-branches:], call.weights().chunk(branches), strict=True):
            for r, keys in enumerate(kept):
                got = found.maps.pairwise(call.layer, branch, r)[:, step].double()
                want = weights[:, :, torch.tensor(made)[:, None], torch.tensor(keys)]
                assert torch.allclose(got, want, atol=3e-6), (call.layer, step, branch, r)


@pytest.mark.parametrize("branches", [1, 2])
def test_fill_says_by_its_own_mask_what_is_made(lib: Any, branches: int) -> None:
    found = run(lib, "fill", fill(), fill(20) if branches == 2 else None, batch=2)
    check(found, MADE, [KEPT], branches)
    maps = found.maps
    (reference,) = maps.references
    assert (reference.name, reference.grid.rows, reference.grid.columns, reference.grid.picture) == (
        "reference",
        3,
        3,
        (48, 48),
    )
    grid = maps.layers[0].grid
    assert (grid.rows, grid.columns, maps.generated_size) == (2, 3, (48, 96))
    assert grid.rect == pytest.approx((0, 1 / 3, 0.5, 1))
    assert any(note.startswith("reference and result lie on one canvas") for note in maps.notes)
    assert {name: tuple(picture.shape) for name, picture in maps.thumbnails.items()} == {"reference": (6, 6, 3)}


def test_a_cell_of_the_reference_moves_exactly_its_key(lib: Any) -> None:
    def first(picture: Tensor) -> Tensor:
        spy = JointSpy()
        tiny_joint.sample("fill", spy.attach(tiny_joint.model("fill")), fill(picture=picture), size=SIZE, steps=1)
        return spy.calls[0].k[0].transpose(0, 1).flatten(1)

    picture = tiny_joint.latent("fill", SIZE, 4)
    changed = picture.clone()
    changed[..., 4, 9] += 1
    moved = (first(changed) - first(picture)).abs().amax(1) > 0
    found = run(lib, "fill", fill(), steps=1).maps.references[0].grid
    assert (found.rows, found.columns) == (3, 3)
    assert moved.nonzero()[:, 0].tolist() == [KEPT[2 * 3 + (9 - 6) // 2]]


def test_tokens_that_hold_both_are_nobodys(lib: Any) -> None:
    """A seam within a column of tokens, on a canvas of odd size; the mask reaches into that column."""
    size, parts = (5, 11), "[[0.5, 0, 1, 1]]"  # cells 5.5 to 11: column 2 of the tokens holds cells 4 and 5
    mask = masked(size, slice(0, 40), slice(0, 40))
    found = run(lib, "fill", fill(mask=mask, picture=tiny_joint.latent("fill", size, 4)), parts=parts, size=size)
    made = [WORDS + 6 * r + c for r in (0, 1, 2) for c in (0, 1)]
    check(found, made, [KEPT])
    assert any("3 tokens at an edge hold some of a reference and some of the rest" in note for note in found.maps.notes)
    assert found.maps.references[0].grid.rect == pytest.approx((0.5 / 5.5, 0, 6.5 / 5.5, 1.2))


def test_what_is_kept_within_the_rectangle_is_said(lib: Any) -> None:
    mask = masked()
    mask[..., :16, :16] = 1
    mask[..., 16:32, :32] = 0
    found = run(lib, "fill", fill(mask=mask))
    check(found, [WORDS + 6 * r + c for r in (0, 1, 2) for c in (0, 1, 2)], [KEPT])
    assert any("of which 4 of 9 tokens are kept as they are" in note for note in found.maps.notes)


def test_several_references_on_a_canvas(lib: Any) -> None:
    found = run(lib, "fill", fill(), parts="[[0.5, 0, 1, 0.34], [0.5, 0.66, 1, 1]]")
    check(found, MADE, [KEPT[:3], KEPT[6:]])
    assert [r.name for r in found.maps.references] == ["reference 1", "reference 2"]


@pytest.mark.parametrize("name", ["kontext", "qwen", "omnigen2"])
def test_elsewhere_the_noise_mask_says_it(lib: Any, name: str) -> None:
    """A canvas without an inpainting model, as in-context LoRAs have it."""
    found = run(lib, name, tiny_joint.conditioning(name), latent=noised(name, batch=2))
    check(found, MADE, [KEPT])


@pytest.mark.parametrize("name", ["fill", "kontext"])
@pytest.mark.parametrize("route", ["all", "generated"])
def test_a_reference_of_a_canvas_is_cut(lib: Any, cuts: Any, name: str, route: str) -> None:
    """The run is that of the remaining keys in float64; what is cut gets exactly nothing."""
    positive = fill() if name == "fill" else tiny_joint.conditioning(name)
    how = {"size": SIZE} if name == "fill" else {"latent": noised(name)}
    parts = lib.parts.parts_of(RIGHT)
    cut = cuts.intervene.intervene(tiny_joint.model(name), cuts.intervene.CutOptions(cuts.plan.Cut(route=route), None, parts))[
        0
    ]
    want = truth_of(KEPT, None if route == "all" else MADE)
    latent = tiny_joint.sample(name, cut, positive, **how)
    assert close(latent, tiny_joint.sample(name, want.attach(tiny_joint.model(name)), positive, **how))
    assert not close(latent, tiny_joint.sample(name, tiny_joint.model(name), positive, **how))
    recorded, recording = lib.record.attach(cut, lib.record.Options(**joint_case.FULL, parts=parts))
    maps = recording.maps_of(tiny_joint.sample(name, recorded, positive, **how))
    assert all(bool((maps.marginal("mass", layer.name) == 0).all()) for layer in maps.layers)


BAD = [
    (RIGHT, masked(columns=slice(0, 60)), r"the mask paints over 2 of the 9 tokens of \[0\.5, 0\.0, 1\.0, 1\.0\]"),
    (RIGHT, masked(columns=slice(0, 0)), "the mask paints nothing of the canvas beside reference_parts"),
    (RIGHT, torch.ones(1, 1, 48, 96), "the mask paints over 9 of the 9 tokens"),
    (RIGHT, 1 - masked(), "is the mask inverted, or the rectangle that of the other side"),
    ("[[0.33, 0, 0.67, 1]]", masked(columns=slice(0, 16)) + masked(columns=slice(80, 96)), "lies on several sides of a part"),
    ("[[[0.5, 0, 1, 1]], []]", masked(), "lists for 2 references, but the conditioning has none, and the latent is one canvas"),
    ("[[0.9, 0.9, 1, 1]]", masked(), "holds no whole token of a reference of 3 x 6 tokens"),
    ("", masked(), r"gets its other picture in channels.*on one canvas, give the reference's rectangle in reference_parts"),
]


@pytest.mark.parametrize(("parts", "mask", "says"), BAD)
def test_what_proves_nothing_is_refused(lib: Any, cuts: Any, parts: str, mask: Tensor, says: str) -> None:
    given = lib.parts.parts_of(parts)
    recorded, _ = lib.record.attach(tiny_joint.model("fill"), lib.record.Options(parts=given))
    cut = cuts.intervene.intervene(tiny_joint.model("fill"), cuts.intervene.CutOptions(cuts.plan.Cut(), None, given))[0]
    for used in (recorded, cut):
        with pytest.raises(lib.errors.LayoutError, match=says):
            tiny_joint.sample("fill", used, fill(mask=mask), size=SIZE)


def test_without_a_mask_there_is_no_canvas(lib: Any) -> None:
    recorded, _ = lib.record.attach(tiny_joint.model("kontext"), lib.record.Options(parts=lib.parts.parts_of(RIGHT)))
    for mask in (None, torch.ones(1, 48, 96), torch.zeros(1, 48, 96)):
        latent = {"samples": torch.zeros(1, 16, *SIZE), **({} if mask is None else {"noise_mask": mask})}
        with pytest.raises(
            lib.errors.LayoutError, match=r"has no reference latent .* mask some of the canvas, not all or nothing"
        ):
            tiny_joint.sample("kontext", recorded, tiny_joint.conditioning("kontext"), latent=latent)


@pytest.mark.parametrize("branches", [("cond",), ("cond", "uncond")], ids=["cond", "both"])
def test_a_run_with_reference_latents_has_no_canvas_in_any_branch(lib: Any, branches: tuple[str, ...]) -> None:
    """Kontext that repaints a part from two pictures stitched into one reference, whose negative has none of them."""
    positive, negative = tiny_joint.conditioning("kontext", SIZE), tiny_joint.conditioning("kontext", seed=3)
    parts = lib.parts.parts_of("[[[0, 0, 0.5, 1], [0.5, 0, 1, 1]]]")
    options = lib.record.Options(**joint_case.FULL, pairwise="heads", parts=parts, branches=branches)
    given = {"size": SIZE, "latent": noised("kontext")}
    plain = tiny_joint.sample("kontext", tiny_joint.model("kontext"), positive, negative, **given)
    recorded, recording = lib.record.attach(tiny_joint.model("kontext"), options)
    latent = tiny_joint.sample("kontext", recorded, positive, negative, **given)
    assert torch.equal(latent, plain)
    maps = recording.maps_of(latent)
    assert maps.branches == ("cond",)
    assert [(r.grid.rows, r.grid.columns) for r in maps.references] == [(3, 3), (3, 3)]
    assert not any("canvas" in note for note in maps.notes)
