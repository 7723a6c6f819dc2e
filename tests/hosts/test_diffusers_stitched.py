"""Several pictures in one: a canvas of reference and result, and pictures that were stitched into one reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import statement
import torch
from canvas_pipelines import KINDS, SIZE, build, masked, run
from joint_models import CASES, Asked, Inputs, Places
from joint_pipelines import PIPES, STEPS, WORDS
from PIL import Image

from i2am.errors import I2AMError, LayoutError
from i2am.hosts.diffusers.record import intervene, record
from i2am.hosts.diffusers.stitched import Stitched
from i2am.interventions.plan import Cut
from i2am.levels.choice import Choice
from i2am.levels.marginal import ulam

LEFT = [[0, 0, 0.5, 1]]
FULL: dict[str, Any] = {"pairwise": "heads", "groups": 1000, "stride": 1, "cells": 0}
KEPT = [WORDS[0] + 6 * r + c for r in range(3) for c in range(3)]
MADE = [WORDS[0] + 6 * r + c for r in (1, 2) for c in (3, 4, 5)]
PLACES = Places(MADE, [KEPT], [*range(WORDS[0])], WORDS[0] + 18, MADE, WORDS[0] + 18, {})


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def of_mask(name: str, mask: Any = None) -> dict[str, Any]:
    """The option that only a model without a mask of its own takes."""
    return {} if name == "fill" else {"canvas_mask": masked() if mask is None else mask}


@pytest.mark.parametrize("name", KINDS)
def test_a_canvas_is_recorded_from_what_is_made_to_the_reference(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = build(name)
    plain = run(name, pipe)
    asked = Asked(pipe.transformer, monkeypatch)
    recording = record(pipe, reference_parts=LEFT, **of_mask(name), **FULL)
    with recording:
        out = run(name, pipe)
    assert torch.equal(out, plain)
    maps = recording.maps
    assert maps.generated_size == SIZE
    assert [(r.name, r.grid.rows, r.grid.columns) for r in maps.references] == [("reference", 3, 3)]
    assert maps.references[0].grid.picture == (48, 48)
    assert any("reference and result lie on one canvas" in note for note in maps.notes)
    for step in range(STEPS):
        for layer, seen in zip(maps.layers, asked.joint(PLACES, step), strict=True):
            real = statement.real_attention(statement.logits(seen.q[:, :, MADE], seen.k, seen.q.shape[-1] ** -0.5, seen.mask))[
                ..., KEPT
            ]
            pairs = maps.pairwise(layer.name, "cond", 0)[:, step]
            torch.testing.assert_close(pairs.double(), real, rtol=2e-4, atol=1e-8)
    heat = ulam(maps, "R2G")
    assert heat.values.shape[-2:] == (2, 3)
    assert heat.rect == pytest.approx((0.5, 1 / 3, 1, 1))


def test_a_pixel_of_the_mask_decides_which_token_is_made() -> None:
    pipe = build("fill")
    for rows, columns, grid in (
        (slice(15, 16), slice(64, 65), (1, 1)),
        (slice(15, 17), slice(63, 65), (2, 2)),
        (slice(0, 48), slice(80, 96), (3, 1)),
    ):
        recording = record(pipe, reference_parts=LEFT, **FULL)
        with recording:
            run("fill", pipe, mask_image=masked(rows, columns))
        assert ulam(recording.maps, "mass").values.shape[-2:] == grid


def test_what_is_cut_on_a_canvas_is_the_reference() -> None:
    pipe, seen = build("fill"), []
    plain = run("fill", pipe)
    for parts in (LEFT, [[0, 0, 0.5, 1 / 3]]):
        with intervene(pipe, [Cut("reference", 0, route="generated")], reference_parts=parts):
            seen.append(run("fill", pipe))
    recording = record(pipe, reference_parts=LEFT, cuts=[Cut("reference", 0, route="generated")])
    with recording:
        assert torch.equal(run("fill", pipe), seen[0])
    assert not torch.equal(seen[0], plain)
    assert not torch.equal(seen[0], seen[1])
    assert float(ulam(recording.maps, "mass").values.max()) == 0


def test_a_stitched_reference_is_several() -> None:
    pipe = PIPES["FluxKontextPipeline"]
    pipeline = pipe.build()
    plain = pipe.run(pipeline)
    recording = record(pipeline, reference_parts="[[0, 0, 0.43, 1], [0.43, 0, 1, 1]]", **FULL)
    whole = record(pipeline, **FULL)
    with recording, whole:
        assert torch.equal(pipe.run(pipeline), plain)
    maps = recording.maps
    assert [(r.name, r.grid.rows, r.grid.columns) for r in maps.references] == [
        ("reference 1", 5, 3),
        ("reference 2", 5, 3),  # the column between them holds some of both
    ]
    layer = maps.layers[0].name
    one = whole.maps.pairwise(layer, "cond", 0).unflatten(-1, (5, 7))
    torch.testing.assert_close(maps.pairwise(layer, "cond", 0), one[..., :3].flatten(-2), rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(maps.pairwise(layer, "cond", 1), one[..., 4:].flatten(-2), rtol=1e-5, atol=1e-9)
    assert ulam(maps, "G2R", Choice(reference=1)).values.shape[-2:] == (5, 3)


@pytest.mark.parametrize(
    ("name", "options", "given", "message"),
    [
        ("fill", {}, {}, "then say which, with reference_parts"),
        ("inpaint", {"reference_parts": LEFT}, {}, "say with canvas_mask what the pipeline makes of it"),
        ("fill", {"reference_parts": LEFT, "canvas_mask": masked()}, {}, "leave canvas_mask out"),
        ("fill", {"reference_parts": [LEFT, LEFT]}, {}, "has lists for 2 references, but the run has none"),
        ("fill", {"reference_parts": [[0.5, 0, 1, 1]]}, {}, "the mask paints over 6 of the 9 tokens"),
        ("fill", {"reference_parts": LEFT}, {"mask_image": Image.new("L", SIZE[::-1])}, "the mask paints nothing"),
        ("inpaint", {"reference_parts": LEFT, "canvas_mask": Image.new("L", SIZE[::-1])}, {}, "the mask paints nothing"),
    ],
)  # fmt: skip
def test_what_does_not_fit_a_canvas_is_refused(name: str, options: dict[str, Any], given: dict[str, Any], message: str) -> None:
    pipe = build(name)
    with pytest.raises(I2AMError, match=message), record(pipe, **options):
        run(name, pipe, **given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference_parts": [[0, 0, 48, 48]]}, "divide pixels by the width and the height"),
        ({"reference_parts": "left half"}, "expected rectangles as JSON"),
        ({"reference_parts": [[0, 0, 0.6, 1], [0.5, 0, 1, 1]]}, "overlap"),
        ({"reference_parts": {1, 2}}, "expected rectangles as JSON"),
        ({"canvas_mask": masked()}, "canvas_mask is given without reference_parts"),
        ({"reference_parts": LEFT, "canvas_mask": torch.zeros(1, 48, 96)}, r"has the shape \(1, 48, 96\), expected \(H, W\)"),
        ({"reference_parts": LEFT, "canvas_mask": "mask.png"}, "expected a Pillow picture"),
    ],
)
def test_parts_that_are_none_are_refused_before_the_run(options: dict[str, Any], message: str) -> None:
    with pytest.raises(I2AMError, match=message):
        record(build("fill"), **options)


def test_parts_as_an_array_and_none() -> None:
    assert Stitched.of(torch.tensor(LEFT), None).parts == (((0.0, 0.0, 0.5, 1.0),),)
    for none in ([], "[]", "", torch.zeros(0)):
        assert Stitched.of(none, None).parts == ()


def test_parts_of_models_that_have_none_are_refused() -> None:
    kontext = PIPES["FluxKontextPipeline"]
    pipeline = kontext.build()
    for options, message in (
        ({"reference_parts": [[], LEFT]}, "has lists for 2 references, but the run has 1"),
        ({"reference_parts": LEFT, "canvas_mask": masked()}, "this run has references beside the picture"),
    ):
        with pytest.raises(LayoutError, match=message), record(pipeline, **options):
            kontext.run(pipeline)
    case = CASES["FLUX.2"]
    model = case.model()
    with pytest.raises(LayoutError, match="the order of tokens is not known"), record(model, steps=2, reference_parts=LEFT):
        case.run(model, Inputs(references=()))
