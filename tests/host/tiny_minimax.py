"""A tiny MiniMax H3 with random weights, of the host's own class, on its real sampling path, and what its blocks attend to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import pytest
import torch
from host_tests import tiny, tiny_joint
from host_tests.joint_spy import JointSpy
from torch import Tensor

HERE = hasattr(comfy.supported_models, "MiniMaxH3")
"""Whether this host knows it."""
NEEDS = pytest.mark.where(HERE)
SHAPE = {
    "image_model": "minimax_h3",
    "hidden_size": 32,
    "num_layers": 3,
    "token_refiner_num_layers": 1,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "ffn_hidden_size": 48,
    "text_dim": 24,
    "timestep_input_dim": 16,
    "time_embed_hidden_size": 16,
    "time_embed_dim": 16,
    "rope_inv_freq_len": 2,
}
LAYERS = ("single.0", "single.1", "single.2")
FRAMES, SIZE, SOUND = 2, (5, 6), 9
"""Of the generated latent: frames, rows and columns (odd rows, where tokens are of 2 x 2 cells), frames of sound."""
GRID = (3, 3)


@cache
def _network() -> Any:
    config = comfy.supported_models.MiniMaxH3(dict(SHAPE))
    config.set_inference_dtype(torch.float32, None)
    made = config.get_model({})
    source = torch.Generator().manual_seed(3)
    norms = [x.weight for x in made.diffusion_model.modules() if "Norm" in type(x).__name__]
    with torch.no_grad():
        for weight in made.diffusion_model.parameters():  # the host leaves them uninitialised
            spread = 0.1 if weight.dim() < 2 else 1.5 / weight[0].numel() ** 0.5
            weight.copy_(torch.randn(weight.shape, generator=source) * spread + any(weight is norm for norm in norms))
        made.diffusion_model.rope.inv_freq.copy_(torch.tensor([1.0, 0.1]))
    for name, block in zip(LAYERS, made.diffusion_model.blocks, strict=True):
        block.attn.register_forward_pre_hook(lambda *_, name=name: tiny_joint.NOW.append(name))
        block.attn.register_forward_hook(lambda *_: tiny_joint.NOW.clear(), always_call=True)
    return made.eval().requires_grad_(False)


def model() -> Any:
    """A new patcher of the network."""
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(_network(), load_device=device, offload_device=torch.device("cpu"))


def noise(*shape: int, seed: int = 4) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def picture(rows: int, columns: int, seed: int = 4) -> dict[str, Any]:
    """A reference picture, as MiniMax H3 Reference to Video leaves it."""
    return {"kind": "image", "latent_h": rows, "latent_w": columns, "latent": noise(1, 24, 1, rows, columns, seed=seed)}


def video(frames: int, rows: int, columns: int, sound: int = 0, seed: int = 5) -> dict[str, Any]:
    """A reference video, with ``sound`` frames of sound."""
    about = {"latent_t": frames, "latent_h": rows, "latent_w": columns, "ref_audio_t": sound}
    heard = noise(1, 32, 2, sound, seed=seed) if sound else None
    latent = noise(1, 24, frames, rows, columns, seed=seed)
    return {"kind": "video_audio" if sound else "video", **about, "latent": latent, "audio_latent": heard}


def audio(frames: int, seed: int = 6) -> dict[str, Any]:
    """A reference sound."""
    return {"kind": "audio", "ref_audio_t": frames, "audio_latent": noise(1, 32, 2, frames, seed=seed)}


def keyframe(at: int, seed: int = 7, sound: int = 0) -> dict[str, Any]:
    """A picture for one of the frames, as MiniMax H3 Image to Video leaves it; its latent is as large as the video's."""
    held = {"audio_latent": noise(1, 32, 2, sound, seed=seed)} if sound else {}
    return {"resolved_frame_index": at, "latent": noise(1, 24, 1, 6, 6, seed=seed), **held}


def conditioning(*refs: dict[str, Any], words: int = 7, tags: Sequence[int] = (), seed: int = 10, **about: Any) -> Any:
    """As the host's nodes leave it; ``tags`` say of each token of the text whether it is the vision encoder's, 0, or not, 1."""
    given = {**about, **({"minimax_refs": list(refs)} if refs else {})}
    if tags:
        given["minimax_token_tags"] = torch.tensor(tags)
    return [[noise(1, words, 24, seed=seed), given]]


def latent(frames: int = FRAMES, size: tuple[int, int] = SIZE) -> dict[str, Any]:
    """An empty LATENT of a video and its sound."""
    from comfy.nested_tensor import NestedTensor

    return {"samples": NestedTensor((torch.zeros(1, 24, frames, *size), torch.zeros(1, 32, 2, SOUND)))}


def sample(used: Any, positive: Any, negative: Any = None, start: Any = None, **given: Any) -> Any:
    """What KSampler makes; cfg 1 where there is no negative."""
    how = {"sampler": "euler", "scheduler": "simple", "steps": 2, "cfg": 1.0 if negative is None else 3.0}
    return tiny.sample(used, positive, positive if negative is None else negative, latent=start or latent(), **{**how, **given})


def same(one: Any, other: Any) -> bool:
    """Whether two LATENTs of video and sound are the same to the last bit."""
    return all(torch.equal(a, b) for a, b in zip(one.unbind(), other.unbind(), strict=True))


@dataclass
class Places:
    """Where the tokens of a call are, counted apart from the pack: spans in the order in which they were added."""

    at: int = 0
    spans: dict[str, list[int]] = field(default_factory=dict)

    def then(self, name: str, tokens: int) -> Places:
        """Add the next tokens under a name, which may have some already."""
        self.spans.setdefault(name, []).extend(range(self.at, self.at + tokens))
        self.at += tokens
        return self


def first_keys(positive: Any) -> Tensor:
    """The first block's keys in the first step, (S, heads * d)."""
    spy = JointSpy()
    sample(spy.attach(model()), positive, steps=1)
    return spy.calls[0].k[0].transpose(0, 1).flatten(1)
