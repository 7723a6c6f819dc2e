"""FLUX.1 Redux in diffusers: the prior pipeline's own tokens of a picture, alone, beside Kontext's reference and on Fill."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import diffusers
import pytest
import statement
import torch
from canvas_pipelines import canvas, masked
from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
from joint_models import CASES, HEADS, ROPE, WIDTH, Asked, Places
from joint_pipelines import GARMENT, PERSON, flux_vae
from torch import Tensor
from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

from i2am.errors import LayoutError
from i2am.hosts.diffusers.record import record
from i2am.hosts.diffusers.redux import SIDE, TAKEN
from i2am.maps.value import AttributionMaps

TEXT, SEEN = 512, SIDE**2
"""Tokens that the prior pipeline gives, without a text encoder, and those of its picture."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@functools.cache
def prior() -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    encoder = SiglipVisionModel(SiglipVisionConfig(image_size=384, patch_size=14, **sizes)).eval()
    small = SiglipImageProcessor(size={"height": 384, "width": 384})
    pipe = diffusers.FluxPriorReduxPipeline(encoder, small, ReduxImageEncoder(8, 4096).eval())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def prompt(picture: Any = GARMENT) -> dict[str, Tensor]:
    made = prior()(picture)
    return {"prompt_embeds": made.prompt_embeds, "pooled_prompt_embeds": made.pooled_prompt_embeds}


KINDS: dict[str, tuple[Any, int, dict[str, Any], int]] = {
    "alone": (diffusers.FluxPipeline, 16, {}, 0),
    "kontext": (
        diffusers.FluxKontextPipeline, 16, {"image": PERSON, "max_area": 32 * 48, "_auto_resize": False}, 35,
    ),
    "fill": (diffusers.FluxFillPipeline, 16 + 16 + 256, {"image": canvas(), "mask_image": masked()}, 0),
}  # fmt: skip


def build(name: str) -> Any:
    kind, channels, _, _ = KINDS[name]
    torch.manual_seed(0)
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=channels, out_channels=16, num_layers=1, num_single_layers=1, joint_attention_dim=4096,
        pooled_projection_dim=768, axes_dims_rope=ROPE, attention_head_dim=WIDTH, num_attention_heads=HEADS,
    ).eval()  # fmt: skip
    pipe = kind(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(), vae=flux_vae(), text_encoder=None, tokenizer=None,
        text_encoder_2=None, tokenizer_2=None, transformer=transformer,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def size_of(name: str) -> tuple[int, int]:
    return (48, 96) if name == "fill" else (32, 48)


def run(name: str, pipe: Any, **other: Any) -> Tensor:
    height, width = size_of(name)
    given = {
        "height": height, "width": width, "num_inference_steps": 1, "generator": torch.Generator().manual_seed(3),
        "output_type": "latent", **KINDS[name][2],
    }  # fmt: skip
    out: Tensor = pipe(**{**given, **prompt(), **other}).images
    return out


def recorded(name: str, pipe: Any, **options: Any) -> tuple[Tensor, AttributionMaps]:
    recording = record(pipe, redux=True, stride=1, cells=0, **options)
    with recording:
        out = run(name, pipe)
    return out, recording.maps


@pytest.mark.parametrize("name", KINDS)
def test_the_picture_in_the_text_is_the_first_reference(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = build(name)
    plain = run(name, pipe)
    asked = Asked(pipe.transformer, monkeypatch)
    out, maps = recorded(name, pipe)
    assert torch.equal(out, plain)
    assert TAKEN in maps.notes
    count = (size_of(name)[0] // 16) * (size_of(name)[1] // 16)
    redux = [*range(TEXT, TEXT + SEEN)]
    made = [*range(TEXT + SEEN, TEXT + SEEN + count)]
    others = [[*range(made[-1] + 1, made[-1] + 1 + KINDS[name][3])]] if KINDS[name][3] else []
    names = ["reference"] if not others else ["reference 1", "reference 2"]
    assert [reference.name for reference in maps.references] == names
    assert (maps.references[0].grid.rows, maps.references[0].grid.columns) == (SIDE, SIDE)
    keys = made[-1] + 1 + KINDS[name][3]
    places = Places(made, [redux, *others], [*range(TEXT)], keys, made, keys, {})
    assert maps.layers[0].words == (("cond", TEXT),)
    for layer, seen in zip(maps.layers, asked.joint(places, 0), strict=True):
        real = statement.real_attention(
            statement.logits(seen.q[:, :, places.queries], seen.k, seen.q.shape[-1] ** -0.5, seen.mask)
        )
        for i, own in enumerate(places.references):
            mass = maps.marginal("mass", layer.name, "cond", i)[:, 0]
            torch.testing.assert_close(mass.double(), real[..., own].sum(-1), rtol=2e-4, atol=1e-8)
            g2r = maps.marginal("g2r", layer.name, "cond", i)[:, 0]
            torch.testing.assert_close(g2r.double(), real[..., own].mean(-2), rtol=2e-4, atol=1e-8)


def test_a_changed_token_of_the_picture_changes_its_own_key_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = build("alone")
    keys = TEXT + SEEN + 6
    places = Places(
        [*range(keys - 6, keys)], [[*range(TEXT, TEXT + SEEN)]], [*range(TEXT)], keys, [*range(keys - 6, keys)], keys, {}
    )
    asked = Asked(pipe.transformer, monkeypatch)
    given = prompt()
    run("alone", pipe, **given)
    for token in (0, SIDE + 3, SEEN - 1):
        changed = given["prompt_embeds"].clone()
        changed[:, TEXT + token] += 1
        begun = len(asked.evaluations)
        run("alone", pipe, **{**given, "prompt_embeds": changed})
        moved = (asked.joint(places, begun)[0].k != asked.joint(places, 0)[0].k).flatten(3).any(3).any(1)[0]
        assert moved.nonzero()[:, 0].tolist() == [places.references[0][token]]


def test_redux_beside_a_canvas() -> None:
    _, maps = recorded("fill", build("fill"), reference_parts=[[0, 0, 0.5, 1]])
    found = [(r.name, r.grid.rows, r.grid.columns) for r in maps.references]
    assert found == [("reference 1", SIDE, SIDE), ("reference 2", 3, 3)]


def test_a_text_without_a_picture_and_other_models_are_refused() -> None:
    pipe, kontext = build("alone"), build("kontext")
    short = prompt()["prompt_embeds"][:, :TEXT]
    says = r"the text has 512 tokens, of which a picture alone takes 729.*FluxPriorRedux"
    with pytest.raises(LayoutError, match=says), record(pipe, redux=True):
        run("alone", pipe, prompt_embeds=short)
    parts = [[], [[0, 0, 0.5, 1]]]
    says = "has lists for 2 references, but the run has 1; give one list"
    with pytest.raises(LayoutError, match=says), record(kontext, redux=True, reference_parts=parts):
        run("kontext", kontext)
    case = CASES["Qwen-Image-Edit"]
    model = case.model()
    with pytest.raises(LayoutError, match=r"redux is for FLUX\.1 models"), record(model, steps=2, redux=True):
        case.run(model, case.inputs())
