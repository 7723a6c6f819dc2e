"""Wan 2.1 image-to-video as a user builds it: the host's own nodes, a tiny random network and a tiny random VAE."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import comfy.ldm.wan.vae
import comfy.sd
import torch
from host_tests.graph_bench import Bench, Prompt
from host_tests.test_wan import hidden, model

WIDTH, HEIGHT, LENGTH = 48, 32, 9
"""In pixels and in frames: a latent of 3 frames of 4 x 6 cells, in which a frame has 2 x 3 tokens."""
SAMPLING = {"seed": 1, "steps": 2, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}


@cache
def vae() -> Any:
    """The host's own class, with random weights."""
    made = comfy.ldm.wan.vae.WanVAE(
        dim=8,
        z_dim=16,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=2,
        attn_scales=[],
        temperal_downsample=[False, True, True],
        dropout=0.0,
    )
    source = torch.Generator().manual_seed(7)
    state = {}
    for name, weight in made.state_dict().items():  # the host leaves them uninitialised
        if weight.dim() > 1 and not name.endswith("gamma"):
            state[name] = torch.randn(weight.shape, generator=source) / weight[0].numel() ** 0.5
        else:
            state[name] = torch.full_like(weight, float(name.endswith("gamma")))
    return comfy.sd.VAE(sd=state)


def text(seed: int, words: int = 7) -> Any:
    return [[torch.randn(1, words, 24, generator=torch.Generator().manual_seed(seed)), {}]]


def start_image(seed: int = 6) -> torch.Tensor:
    return torch.rand(1, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(seed))


def wan_graph(b: Bench, pictures: int = 1, used: Any = None, videos: int = 1, **record: Any) -> Prompt:
    """Up to the collected maps and the decoded frames; node ids are words."""
    given = b.link(used or model(pictures))
    seen = b.link(SimpleNamespace(penultimate_hidden_states=hidden(pictures)))
    size = {"width": WIDTH, "height": HEIGHT, "length": LENGTH, "batch_size": videos}
    video = {**size, "vae": b.link(vae()), "clip_vision_output": seen, "start_image": b.link(start_image())}
    sampled = {**SAMPLING, "latent_image": ["video", 2]}
    return {
        "video": {
            "class_type": "WanImageToVideo",
            "inputs": {"positive": b.link(text(10)), "negative": b.link(text(11)), **video},
        },
        "record": b.node("I2AM_Record", model=given, **{"reference_tokens": "auto", **record}),
        "sampler": {
            "class_type": "KSampler",
            "inputs": {**sampled, "model": ["record", 0], "positive": ["video", 0], "negative": ["video", 1]},
        },
        "collect": b.node("I2AM_Collect", latent=["sampler", 0], recording=["record", 1]),
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["sampler", 0], "vae": b.link(vae())}},
    }


def proof_graph(b: Bench, pictures: int = 1, **inputs: Any) -> Prompt:
    """I²AM Proof in the place of the custom sampler, and that sampler beside it."""
    graph = wan_graph(b, pictures)
    given = graph["record"]["inputs"]["model"]
    sockets = {"guider": ["guider", 0], "sampler": ["euler", 0], "sigmas": ["sigmas", 0], "latent_image": ["video", 2]}
    sockets = {**sockets, "noise": ["noise", 0]}
    own = {
        "video": graph["video"],
        "noise": {"class_type": "RandomNoise", "inputs": {"noise_seed": 3}},
        "guider": {"class_type": "BasicGuider", "inputs": {"model": given, "conditioning": ["video", 0]}},
        "euler": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
        "sigmas": {
            "class_type": "BasicScheduler",
            "inputs": {"model": given, "scheduler": "simple", "steps": 2, "denoise": 1.0},
        },
        "own": {"class_type": "SamplerCustomAdvanced", "inputs": sockets},
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["own", 0], "vae": b.link(vae())}},
        "proof": b.node("I2AM_Proof", **{**sockets, "vae": b.link(vae()), "reference_tokens": "auto", **inputs}),
    }
    return own
