"""Wan 2.1 image-to-video in diffusers: pictures have a softmax of their own, and each frame of the latent is an image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import statement
import torch
from diffusers.models.transformers import transformer_wan
from joint_models import BRANCHES, normal
from joint_pipelines import PERSON, PIPES
from torch import Tensor, nn
from wan_pipeline import network, pipeline

from i2am.errors import I2AMError, LayoutError, RecordingError
from i2am.geometry.layout import Layout, TokenGrid
from i2am.hosts.diffusers.record import intervene, record
from i2am.hosts.diffusers.rows import ASSUMED
from i2am.hosts.diffusers.wan import NOTE, Wan
from i2am.interventions.plan import Cut
from i2am.levels.choice import Choice
from i2am.levels.marginal import ulam
from i2am.maps.value import AttributionMaps

EACH, FRAMES, GRID, STEPS = 257, 3, (3, 5), 2
SIZE = (16 * GRID[0], 16 * GRID[1])
LAYERS = ("blocks.0", "blocks.1")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(pipe: Any, pictures: int = 1, **other: Any) -> Tensor:
    """The latents of a guided video of 9 frames."""
    given = {
        "image": PERSON.resize(SIZE[::-1]),
        "last_image": PERSON.resize(SIZE[::-1]) if pictures > 1 else None,
        "height": SIZE[0],
        "width": SIZE[1],
        "num_frames": 4 * FRAMES - 3,
        "num_inference_steps": STEPS,
        "guidance_scale": 3.0,
        "prompt_embeds": normal(5, 1, 512, 8),
        "negative_prompt_embeds": normal(6, 1, 512, 8),
        "generator": torch.Generator().manual_seed(3),
        "output_type": "latent",
    }
    out: Tensor = pipe(**{**given, **other}).frames
    return out


def recorded(
    pipe: Any, pictures: int = 1, given: dict[str, Any] | None = None, **options: Any
) -> tuple[Tensor, AttributionMaps]:
    recording = record(pipe, **{"pairwise": "heads", "groups": 50, "cells": 0, **options})
    with recording:
        out = run(pipe, pictures, **(given or {}))
    return out, recording.maps


class Asked:
    """Every attention to pictures, q and k (B, H, N, d), beside the host; ``hide`` gives the keys of pictures to leave out."""

    def __init__(self, monkeypatch: Any, pictures: int = 1, hide: list[int] | None = None) -> None:
        self.calls: list[tuple[Tensor, Tensor]] = []
        attend = transformer_wan.dispatch_attention_fn

        def asked(query: Tensor, key: Tensor, value: Tensor, **given: Any) -> Tensor:
            if key.shape[1] != EACH * pictures:
                out: Tensor = attend(query, key, value, **given)
                return out
            q, k, v = (t.transpose(1, 2).clone() for t in (query, key, value))
            self.calls.append((q, k))
            if hide is None:
                return attend(query, key, value, **given)  # type: ignore[no-any-return]
            left = [i for i in range(k.shape[2]) if i not in hide]
            if not left:
                return torch.zeros_like(query)
            weights = (q.double() @ k[:, :, left].double().transpose(2, 3) * 12**-0.5).softmax(-1)
            return (weights @ v[:, :, left].double()).to(query.dtype).transpose(1, 2)

        monkeypatch.setattr(transformer_wan, "dispatch_attention_fn", asked)


@pytest.mark.parametrize("pictures", [1, 2])
def test_the_maps_are_of_the_attention_that_the_model_computed(pictures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64, frame by frame, of two videos of odd sizes, and both branches; to the last bit the unrecorded run."""
    given = {name: normal(seed, 2, 512, 8) for seed, name in enumerate(("prompt_embeds", "negative_prompt_embeds"))}
    pipe = pipeline(pictures)
    plain = run(pipe, pictures, **given)
    asked = Asked(monkeypatch, pictures)
    out, maps = recorded(pipe, pictures, given, images=2, keep=BRANCHES)
    assert torch.equal(out, plain)
    assert (maps.images, maps.frames, maps.recorded, maps.generated_size) == (2 * FRAMES, FRAMES, (0, 1), SIZE)
    assert (maps.branches, maps.null_branches, maps.notes) == (BRANCHES, (), (NOTE,))
    assert [(x.name, x.grid.rows, x.grid.columns) for x in maps.layers] == [(name, *GRID) for name in LAYERS]
    names = ["reference"] if pictures == 1 else ["reference 1", "reference 2"]
    found = [(r.name, r.grid.rows, r.grid.columns, r.grid.leading, r.grid.rect) for r in maps.references]
    assert found == [(name, 16, 16, 1, None) for name in names]
    assert len(asked.calls) == STEPS * 2 * len(LAYERS)
    for i, (q, k) in enumerate(asked.calls):
        (step, branch), layer = divmod(i // len(LAYERS), 2), LAYERS[i % len(LAYERS)]
        real = statement.real_attention(statement.logits(q, k, 12**-0.5)).unflatten(2, (FRAMES, -1))
        by_frame = real.transpose(1, 2).flatten(0, 1)  # images, heads, N, S
        for r in range(pictures):
            own = by_frame[..., EACH * r : EACH * (r + 1)]
            pairs = maps.pairwise(layer, BRANCHES[branch], r)[:, step]
            torch.testing.assert_close(pairs.double(), own, rtol=2e-4, atol=1e-8)
            mass = maps.marginal("mass", layer, BRANCHES[branch], r)[:, step]
            torch.testing.assert_close(mass.double(), own.sum(-1), rtol=2e-4, atol=1e-8)
    frames = [ulam(maps, "R2G", Choice(image=i)).values for i in range(2 * FRAMES)]
    assert not any(torch.equal(frames[0], other) for other in frames[1:])


@pytest.mark.parametrize("pictures", [1, 2])
def test_a_changed_token_of_a_picture_changes_its_own_key_alone(pictures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, pictures)
    run(pipeline(pictures), pictures)
    base, layout = asked.calls[0][1], recorded(pipeline(pictures), pictures)[1].references
    for picture in range(pictures):
        for token in (0, 1, 17, 256):

            def changed(seen: Tensor, picture: int = picture, token: int = token) -> Tensor:
                seen[picture, token] += torch.arange(8)
                return seen

            begun = len(asked.calls)
            run(pipeline(pictures, changed), pictures)
            moved = (asked.calls[begun][1] != base).any(3).any(1)[0].nonzero()[:, 0].tolist()
            assert moved == [layout[picture].start + token]


@pytest.mark.parametrize(("number", "hidden"), [(None, range(2 * EACH)), (1, range(EACH, 2 * EACH))])
def test_a_cut_run_is_that_of_the_remaining_keys(number: int | None, hidden: range, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all pictures, whose attention then adds nothing, and of the last one."""
    cut = Cut("all references") if number is None else Cut("reference", number)
    pipe = pipeline(2)
    plain = run(pipe, 2)
    with intervene(pipe, [cut]):
        out = run(pipe, 2)
    recording = record(pipe, cuts=[cut])
    with recording:
        assert torch.equal(run(pipe, 2), out)
    mass = [recording.maps.marginal("mass", "blocks.1", "cond", i) for i in range(2)]
    assert [bool(m.any()) for m in mass] == [number is not None, False]
    assert torch.equal(run(pipe, 2), plain)
    Asked(monkeypatch, 2, [*hidden])
    truth = run(pipe, 2)
    assert (out - truth).abs().max() < 2e-4 * truth.abs().max()
    assert (out - plain).abs().max() > 2e-4 * truth.abs().max()


def test_a_loop_of_ones_own_and_a_shorter_format() -> None:
    model = network().bfloat16()
    given = {
        "hidden_states": normal(1, 1, 12, FRAMES, 6, 10).bfloat16(),
        "encoder_hidden_states": normal(2, 1, 512, 8).bfloat16(),
        "encoder_hidden_states_image": normal(3, 1, EACH, 8).bfloat16(),
    }
    recording = record(model, steps=2, keep=BRANCHES)
    with torch.inference_mode():
        plain = model(timestep=torch.tensor([900.0]), **given).sample
        with recording:
            for time in (900.0, 500.0):
                for _branch in BRANCHES:
                    out = model(timestep=torch.tensor([time]), **given).sample
                    assert time < 900 or torch.equal(out, plain)
    assert recording.maps.recorded == (0, 1)
    assert set(recording.maps.notes) == {NOTE, ASSUMED}


# --------------------------------------------------------------------------------------------------------- what is refused


def test_networks_that_attend_to_no_picture() -> None:
    text = network(image_dim=None, added_kv_proj_dim=None)
    with pytest.raises(RecordingError, match=r"attends to no picture: it makes videos from text, or is Wan 2\.2"):
        record(pipeline(made=text))
    with pytest.raises(RecordingError, match=r"compiled.*pipeline\.transformer\._orig_mod"):
        record(torch.compile(network()))
    assert Wan.of(PIPES["Flux2Pipeline"].build()) is None


@pytest.mark.parametrize(
    ("options", "given", "says"),
    [
        ({"layout": Layout.of(TokenGrid(16, 16, leading=1))}, {}, "leave `layout` out"),
        ({"reference_parts": [[0, 0, 0.5, 1]]}, {}, "reference_parts and redux are for models with joint attention"),
        ({"images": 2}, {}, r"called with 1 rows, expected 2 \(images\) a call"),
        ({}, {"prompt_embeds": normal(5, 1, 500, 8)}, "a text of other than 512 tokens does"),
        ({"keep": BRANCHES}, {"guidance_scale": 1.0}, "branch 'uncond' was never evaluated"),
        ({"cuts": [Cut(where=torch.ones(4, 4), route="generated")]}, {}, "a region of the generated picture is to be cut"),
        ({"cuts": [Cut("reference", 1)]}, {}, "reference number 1 is to be cut, but the run has 1"),
        ({"cuts": [Cut(region=torch.ones(4, 4))]}, {}, "it is not known which part of its picture its tokens show"),
        ({"cuts": [Cut(route="text")]}, {}, "only the generated picture looks at others"),
        ({"layers": "double.0"}, {}, "no layer of this model matches 'double.0'; it has: blocks.0, blocks.1"),
    ],
)
def test_runs_that_are_refused(options: dict[str, Any], given: dict[str, Any], says: str) -> None:
    pipe = pipeline()
    with pytest.raises(I2AMError, match=says):
        recorded(pipe, given=given, **options)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in pipe.transformer.modules())


def test_pictures_of_another_encoder_and_none() -> None:
    with pytest.raises(LayoutError, match=r"has 197 tokens, expected 257 a picture \(16 x 16 patches behind"):
        recorded(pipeline(change=lambda seen: seen[:, :197]))
    model = network()
    given = (normal(1, 1, 12, FRAMES, 6, 10), torch.tensor([900.0]), normal(2, 1, 512, 8))
    with pytest.raises(LayoutError, match="called without encoder_hidden_states_image"), record(model, steps=1):
        model(*given)


class Hand(transformer_wan.WanAttnProcessor):
    """Attends with products written out, as kernels of one's own do."""

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        return nn.functional.relu(attn.to_q(hidden_states))


def test_a_kernel_that_cannot_be_watched_is_named() -> None:
    pipe = pipeline()
    pipe.transformer.blocks[1].attn2.set_processor(Hand())
    with pytest.raises(RecordingError, match=r"no attention was seen in a call of layer 'blocks\.1': its processor Hand uses"):
        recorded(pipe)
    assert recorded(pipe, layers="blocks.0")[1].recorded == (0, 1)
