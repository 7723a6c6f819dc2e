"""Wan 2.1 image-to-video: the picture's tokens have a softmax of their own, and each frame of the latent is an image."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import pytest
import torch
from host_tests import joint_case, tiny
from torch import Tensor

SHAPE = {
    "image_model": "wan2.1",
    "model_type": "i2v",
    "in_dim": 36,
    "out_dim": 16,
    "dim": 24,
    "ffn_dim": 32,
    "num_heads": 2,
    "num_layers": 2,
    "text_dim": 24,
    "freq_dim": 16,
    "patch_size": (1, 2, 2),
    "cross_attn_norm": True,
}
FRAMES, SIZE, EACH = 3, (5, 6), 257
GRID = (3, 3)


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    return joint_case.Lib(pack)


@cache
def network(pictures: int = 1) -> Any:
    """The host's own class, with random weights; of two pictures, that for the first and the last frame."""
    shape = {**SHAPE, **({"flf_pos_embed_token_number": EACH * pictures} if pictures > 1 else {})}
    config = comfy.supported_models.WAN21_I2V(shape)
    config.set_inference_dtype(torch.float32, None)
    made = config.get_model({})
    source = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in made.diffusion_model.parameters():
            spread = 0.1 if weight.dim() < 2 else 1.5 / weight[0].numel() ** 0.5
            weight.copy_(torch.randn(weight.shape, generator=source) * spread)
    return made.eval().requires_grad_(False)


def model(pictures: int = 1) -> Any:
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(network(pictures), load_device=device, offload_device=torch.device("cpu"))


def hidden(pictures: int = 1, seed: int = 4, tokens: int = EACH) -> Tensor:
    return torch.randn(1, tokens * pictures, 1280, generator=torch.Generator().manual_seed(seed))


def conditioning(seen: Tensor | None, seed: int = 10, words: int = 7) -> Any:
    """As WanImageToVideo leaves it."""
    source = torch.Generator().manual_seed(seed)
    about: dict[str, Any] = {"concat_latent_image": torch.randn(1, 16, FRAMES, *SIZE, generator=source)}
    if seen is not None:
        about["clip_vision_output"] = SimpleNamespace(penultimate_hidden_states=seen)
    return [[torch.randn(1, words, 24, generator=source), about]]


def sample(used: Any, positive: Any, negative: Any = None, batch: int = 1, **given: Any) -> Tensor:
    start = {"samples": torch.zeros(batch, 16, FRAMES, *SIZE)}
    how = {"sampler": "euler", "scheduler": "simple", "steps": 2, "latent": start, "cfg": 1.0 if negative is None else 3.0}
    return tiny.sample(used, positive, positive if negative is None else negative, **{**how, **given})


@dataclass
class Spy:
    """Every attention of a block, (layer, q, k), in order, as another pack's override sees it."""

    calls: list[tuple[int, Tensor, Tensor]] = field(default_factory=list)

    def attach(self, used: Any) -> Any:
        calls = self.calls

        def override(function: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **kwargs: Any) -> Tensor:
            calls.append((kwargs["transformer_options"]["block_index"], q.clone(), k.clone()))
            return function(q, k, v, heads, *args, **kwargs)

        used = used.clone()
        used.model_options["transformer_options"]["optimized_attention_override"] = override
        return used

    def weights(self) -> list[tuple[int, Tensor]]:
        """The softmax over the pictures' keys in float64, (rows, heads, frames, N, S), of each block in turn."""
        found = []
        for layer, q, k in self.calls[1::3]:
            split = [t.double().unflatten(2, (2, -1)).transpose(1, 2) for t in (q, k)]
            logits = split[0] @ split[1].transpose(-1, -2) * split[0].shape[-1] ** -0.5
            found.append((layer, logits.softmax(-1).unflatten(2, (FRAMES, -1))))
        return found


@pytest.mark.parametrize("pictures", [1, 2])
@pytest.mark.parametrize("branches", [("cond",), ("cond", "uncond")], ids=["cond", "both"])
def test_the_maps_are_of_the_attention_that_the_model_computed(lib: Any, pictures: int, branches: tuple[str, ...]) -> None:
    """In float64, frame by frame, of a latent of odd size and a batch of two; to the last bit the unrecorded run."""
    positive = conditioning(hidden(pictures))
    negative = conditioning(hidden(pictures, seed=5), seed=20) if len(branches) > 1 else None
    plain = sample(model(pictures), positive, negative, batch=2)
    spy = Spy()
    options = lib.record.Options(**joint_case.FULL, pairwise="heads", groups=50, branches=branches)
    recorded, recording = lib.record.attach(spy.attach(model(pictures)), options)
    latent = sample(recorded, positive, negative, batch=2)
    assert torch.equal(latent, plain)
    maps = recording.maps_of(latent)
    assert (maps.images, maps.recorded, maps.generated_size) == (2 * FRAMES, (0, 1), (40, 48))
    assert [(x.name, x.grid.rows, x.grid.columns) for x in maps.layers] == [("double.0", *GRID), ("double.1", *GRID)]
    assert maps.layers[0].grid.rect == pytest.approx((0, 0, 1, 6 / 5))
    assert [(r.grid.rows, r.grid.columns, r.grid.leading) for r in maps.references] == [(16, 16, 1)] * pictures
    assert any("each image of the maps is a frame of the latent" in note for note in maps.notes)
    found = spy.weights()
    assert len(found) == 2 * 2
    for i, (layer, weights) in enumerate(found):
        for branch, own in zip(("uncond", "cond")[-len(branches) :], weights.chunk(len(branches)), strict=True):
            by_frame = own.transpose(1, 2).flatten(0, 1)  # images, heads, N, S
            for r in range(pictures):
                keys = by_frame[..., EACH * r : EACH * (r + 1)]
                got = maps.pairwise(f"double.{layer}", branch, r)[:, i // 2].double()
                assert torch.allclose(got, keys, atol=3e-6)
                mass = maps.marginal("mass", f"double.{layer}", branch, r)[:, i // 2].double()
                assert torch.allclose(mass, keys.sum(-1), atol=3e-6)
    assert not torch.equal(latent, sample(model(pictures), conditioning(hidden(pictures, seed=8)), negative, batch=2))


def test_a_token_of_the_picture_moves_exactly_its_key() -> None:
    def first(seen: Tensor) -> Tensor:
        spy = Spy()
        sample(spy.attach(model()), conditioning(seen), steps=1)
        return spy.calls[1][2][0]

    changed = hidden()
    changed[0, 1 + 16 * 3 + 5] += 1
    moved = (first(changed) - first(hidden())).abs().amax(1) > 0
    assert moved.nonzero()[:, 0].tolist() == [1 + 16 * 3 + 5]


def adding(used: Any) -> Any:
    """Another pack that runs a block twice under one name."""

    def replace(args: dict[str, Any], extra: dict[str, Any]) -> Any:
        extra["original_block"](args)
        return extra["original_block"](args)

    used = used.clone()
    used.set_model_patch_replace(replace, "dit", "double_block", 0)
    return used


def test_what_cannot_be_is_refused(lib: Any, pack: ModuleType) -> None:
    for used, positive, says in (
        (model(), conditioning(None), "cond conditioning has no CLIP_VISION_OUTPUT.*connect clip_vision_output on WanImageTo"),
        (model(), conditioning(hidden(tokens=197)), "has 197 tokens, expected 257 a picture"),
        (adding(model()), conditioning(hidden()), "attention 4 of layer 'double.0' has 27 queries and 27 keys; expected three"),
    ):
        recorded, _ = lib.record.attach(used, lib.record.Options())
        with pytest.raises(lib.errors.LayoutError, match=says):
            sample(recorded, positive)
    with pytest.raises(lib.errors.LayoutError, match=r"this MODEL is Wan 2\.1, so leave it empty"):
        lib.record.attach(model(), lib.record.Options(parts=lib.parts.parts_of("[[0, 0, 0.5, 1]]")))
    with pytest.raises(lib.errors.RecordingError, match="no layer of this MODEL matches 'single"):
        lib.record.attach(model(), lib.record.Options(layers=("single.*",)))
