"""Z-Image's pipeline with references evaluates both branches in one call, whose rows are filled up to the longest."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
import statement
import torch
from joint_models import BRANCHES, CASES, Asked, Inputs, Places, normal, zimage_given, zimage_places
from joint_pipelines import PERSON, PIPES, SIZE, STEPS, pieces
from torch import Tensor, nn

from i2am.errors import LayoutError, RecordingError
from i2am.hosts.diffusers.families.z_image import LOOKING, ZImage
from i2am.hosts.diffusers.record import intervene, record
from i2am.interventions.plan import Cut
from i2am.maps.value import AttributionMaps

PIPE, CASE = PIPES["ZImageOmniPipeline"], CASES["Z-Image"]
WORDS = (40, 5)
"""Of cond and uncond: the first is filled up to 32 tokens more."""
GUIDED: dict[str, Any] = {"prompt_embeds": pieces(WORDS[0]), "negative_prompt_embeds": pieces(WORDS[1])}
INPUTS = Inputs((SIZE[0] // 16, SIZE[1] // 16), PIPE.grids, WORDS, cfg=True)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def places_of(branch: int) -> Places:
    return zimage_places(INPUTS, WORDS[branch], zimage_places(INPUTS, WORDS[0]).keys)


def recorded(pipeline: Any, *, given: dict[str, Any] = GUIDED, **options: Any) -> tuple[Tensor, AttributionMaps]:
    recording = record(pipeline, pairwise="heads", groups=1000, stride=1, cells=0, **options)
    with recording:
        out = PIPE.run(pipeline, **given)
    return out, recording.maps


@pytest.mark.parametrize("images", [1, 2])
def test_each_branch_has_its_own_rows_and_its_own_places(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held against a float64 softmax of the rows, whose filling is masked."""
    pipeline, given = PIPE.build(), {**GUIDED, "num_images_per_prompt": images}
    plain = PIPE.run(pipeline, **given)
    asked = Asked(pipeline.transformer, monkeypatch)
    out, maps = recorded(pipeline, given=given, images=images, keep=BRANCHES)
    assert torch.equal(out, plain)
    assert len(asked.evaluations) == STEPS
    assert (maps.branches, maps.images, maps.recorded, maps.notes) == (BRANCHES, images, (0, 1), (LOOKING,))
    short = zimage_places(INPUTS, WORDS[1]).keys
    for branch, kind in enumerate(BRANCHES):
        places, rows = places_of(branch), slice(branch * images, (branch + 1) * images)
        for step in range(STEPS):
            for layer, seen in zip(CASE.layers, asked.joint(places, step), strict=True):
                assert seen.mask is not None
                assert seen.mask[rows, 0, 0, short:].any() == (kind == "cond")
                logits = statement.logits(seen.q[rows][:, :, places.queries], seen.k[rows], 32**-0.5, seen.mask[rows])
                real = statement.real_attention(logits)
                assert maps.layer(layer).keys_of(0, kind) == places.keys
                for i, own in enumerate(places.references):
                    pairs = maps.pairwise(layer, kind, i)[:, step]
                    torch.testing.assert_close(pairs.double(), real[..., own], rtol=2e-4, atol=1e-8)


def test_a_changed_cell_of_a_reference_changes_its_own_key_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a network without the blocks that mix first."""
    pipeline = PIPE.build()
    for refiner in ("noise_refiner", "context_refiner", "siglip_refiner"):
        setattr(pipeline.transformer, refiner, nn.ModuleList())
    asked, prepare = Asked(pipeline.transformer, monkeypatch), pipeline.prepare_image_latents
    PIPE.run(pipeline, **GUIDED)
    base = asked.joint(places_of(0), 0)[0].k
    for i, (rows, columns) in enumerate(PIPE.grids):
        for r, c in {(0, 1), (rows - 1, 0), (rows // 2, columns - 1)}:

            def changed(*args: Any, at: tuple[int, int, int] = (i, 2 * r, 2 * c), **given: Any) -> list[list[Tensor]]:
                held: list[list[Tensor]] = [[t.clone() for t in row] for row in prepare(*args, **given)]
                for row in held:
                    row[at[0]][:, :, at[1] : at[1] + 2, at[2] : at[2] + 2] += 1
                return held

            monkeypatch.setattr(pipeline, "prepare_image_latents", changed)
            begun = len(asked.evaluations)
            PIPE.run(pipeline, **GUIDED)
            now = asked.joint(places_of(0), begun)[0].k
            for branch in range(2):
                moved = (now[branch] != base[branch]).any(2).any(0).nonzero()[:, 0].tolist()
                assert moved == [places_of(branch).references[i][r * columns + c]], (i, r, c, branch)


@pytest.mark.parametrize("route", ["all", "generated"])
def test_a_cut_of_both_branches_is_that_of_the_remaining_keys(route: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = PIPE.build()
    plain = PIPE.run(pipeline, **GUIDED)
    with intervene(pipeline, [Cut("reference", 1, route=route)]):
        out = PIPE.run(pipeline, **GUIDED)
    file = importlib.import_module(type(pipeline.transformer).__module__)
    attend = file.dispatch_attention_fn

    def asked(query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, **given: Any) -> Tensor:
        if key.shape[1] != places_of(0).keys:
            return attend(query, key, value, attn_mask=attn_mask, **given)
        rows = []
        for branch in range(2):
            places = places_of(branch)
            hidden = torch.zeros(places.asked, places.keys, dtype=torch.bool)
            queries = torch.arange(places.asked) if route == "all" else torch.tensor(places.queries)
            hidden[queries[:, None], torch.tensor(places.references[1])] = True
            q, k, v = (t[branch].transpose(0, 1).double() for t in (query, key, value))
            logits = (q @ k.transpose(1, 2) * 32**-0.5).masked_fill(hidden | ~attn_mask[branch, 0, 0], float("-inf"))
            rows.append((logits.softmax(-1) @ v).transpose(0, 1).to(query.dtype))
        return torch.stack(rows)

    monkeypatch.setattr(file, "dispatch_attention_fn", asked)
    truth = PIPE.run(pipeline, **GUIDED)
    assert (out - truth).abs().max() < 2e-4 * truth.abs().max()
    assert (out - plain).abs().max() > 2e-4 * truth.abs().max()


def test_steps_in_which_guidance_is_off_are_conds() -> None:
    pipeline, given = PIPE.build(), {**GUIDED, "num_inference_steps": 4, "cfg_truncation": 0.4}
    plain = PIPE.run(pipeline, **given)
    out, maps = recorded(pipeline, given=given, keep=BRANCHES)
    assert torch.equal(out, plain)
    assert maps.recorded == (0, 1, 2, 3)
    assert bool(maps.marginal("g2r", "layers.0").flatten(3).any(3).all())
    assert maps.notes == (LOOKING, "the branch 'uncond' was left out: it was evaluated in 2 of 4 steps (guidance changed)")


def test_every_step_is_told_in_bfloat16() -> None:
    pipeline, given = PIPE.build().to(torch.bfloat16), {**GUIDED, "num_inference_steps": 28}
    for name in ("prompt_embeds", "negative_prompt_embeds"):
        given[name] = [[piece.bfloat16() for piece in row] for row in GUIDED[name]]
    plain = PIPE.run(pipeline, **given)
    out, maps = recorded(pipeline, given=given)
    assert torch.equal(out, plain)
    assert (maps.recorded, set(maps.run.evaluations)) == (tuple(range(28)), {1})


def test_one_reference_and_no_guidance() -> None:
    pipeline, given = PIPE.build(), {"image": PERSON, "prompt_embeds": pieces(6, 1), "guidance_scale": 0.0}
    out, maps = recorded(pipeline, given=given)
    assert torch.equal(out, PIPE.run(pipeline, **given))
    assert [(r.name, (r.grid.rows, r.grid.columns), r.grid.picture) for r in maps.references] == [
        ("reference", (5, 7), (80, 112))
    ]


def test_parts_of_a_reference_are_told_apart_in_both_branches() -> None:
    pipeline = PIPE.build()
    _, whole = recorded(pipeline, keep=BRANCHES)
    _, maps = recorded(pipeline, keep=BRANCHES, reference_parts=[[], [[0, 0, 0.5, 1], [0.5, 0, 1, 1]]])
    assert [(r.grid.rows, r.grid.columns) for r in maps.references] == [(5, 7), (6, 2), (6, 2)]
    for branch in BRANCHES:
        pairs = whole.pairwise("layers.1", branch, 1).unflatten(-1, (6, 4))
        torch.testing.assert_close(maps.pairwise("layers.1", branch, 2), pairs[..., 2:].flatten(-2))


# --------------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("given", "options", "says"),
    [
        ({"image": None, "prompt_embeds": pieces(6, 0), "negative_prompt_embeds": pieces(5, 0)}, {},
         "called without a reference"),
        ({"num_images_per_prompt": 2}, {}, "called with 4 rows, expected 2 .1 images x branches cond, uncond.; set `images`"),
        ({}, {"images": 2}, r"called with 2 rows, expected 4 \(2 images x branches cond, uncond\)"),
        ({"guidance_scale": 0.0, "num_images_per_prompt": 2}, {}, "called with 2 rows, expected 1 .1 images x branches cond."),
        ({"prompt_embeds": pieces(40) + pieces(6), "negative_prompt_embeds": pieces(5) + pieces(5)}, {"images": 2},
         "the images of one batch have other tokens than each other .*prompts of other lengths"),
    ],
)  # fmt: skip
def test_runs_that_are_refused(given: dict[str, Any], options: dict[str, Any], says: str) -> None:
    with pytest.raises((RecordingError, LayoutError), match=says):
        recorded(PIPE.build(), given={**GUIDED, **given}, **options)


def said(**changes: Any) -> dict[str, Any]:
    inputs = CASE.inputs()
    tokens = [normal(i, 2, rows * columns, 16) for i, (rows, columns) in enumerate((*inputs.references, inputs.generated))]
    given = zimage_given(inputs, tokens[2], tokens[:2], normal(5, 2, 7, 8), torch.full((2,), 0.75))
    return {"self": CASE.model(), **given, **changes}


X: list[list[Tensor]] = said()["x"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"patch_size": 1}, "called with another patch_size than 2"),
        ({"x": [X[0], [*X[1][:2], X[1][0]]]}, "the last pictures of x are .*of one size"),
        ({"x": [[*X[0][:2], None]] * 2}, "the last pictures of x are .*None"),
        ({"x": [[*X[0][:2], X[0][2].repeat(1, 2, 1, 1)]] * 2}, r"have \{1, 2\} frames, expected 1 each: no video"),
        ({"x": [X[0], [None, None, X[1][2]]]}, "some rows of x have references, and others none"),
        (
            {"image_noise_mask": [[0, 1, 1]] * 2},
            r"image_noise_mask is \[0, 1, 1\] for 3 pictures, expected 0 for each reference",
        ),
    ],
)
def test_arguments_that_do_not_say_what_the_tokens_are(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(LayoutError, match=says):
        ZImage().read(said(**changes), 16)


def test_pieces_that_are_full_already_are_not_filled_up() -> None:
    """4 x 8 tokens of picture and 32 of text, as a picture of 1024 x 1024 pixels has 4096."""
    pipeline, given = PIPE.build(), {"height": 64, "width": 128, "prompt_embeds": pieces(32)}
    plain = PIPE.run(pipeline, **given)
    out, maps = recorded(pipeline, given=given)
    assert torch.equal(out, plain)
    assert (maps.layers[0].grid.rows, maps.layers[0].grid.columns) == (4, 8)


def test_a_missing_picture_and_missing_views_are_filling() -> None:
    """As the transformer has them: 32 tokens of nobody each; without an encoder, or without views, there are none."""
    whole, x = ZImage().read(said(), 16), [[None, *row[1:]] for row in X]
    assert (whole.time, whole.grid, len(whole.rows)) == (0.75, (3, 5), 2)
    sequence = ZImage().read(said(x=x), 16).sequence
    assert sequence is not None
    assert [span.name for span in sequence.references] == ["reference"]
    assert sequence.keys == zimage_places(CASE.inputs(), 7).keys
    assert sequence.references[0].start == 4 * 32 + 32
    blind = CASE.model()
    blind.siglip_embedder = None
    for changes in ({"self": blind}, {"siglip_feats": [None, None]}):
        without = ZImage().read(said(**changes), 16).sequence
        assert without is not None
        assert without.keys == sequence.keys - 3 * 32
