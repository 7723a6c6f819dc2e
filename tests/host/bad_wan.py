"""What goes wrong with Wan 2.1 image-to-video, see `bad_inputs`."""

from __future__ import annotations

from typing import Any

import torch
from host_tests.bad_case import Case
from host_tests.graph_bench import Bench, Prompt
from host_tests.test_wan import FRAMES, SIZE, conditioning, hidden, model
from torch import Tensor


def recorded(b: Bench, seen: Tensor | None, **record: Any) -> Prompt:
    """A recorded video from a picture as the vision encoder saw it."""
    positive = conditioning(seen)
    given = {"model": model(), "positive": positive, "negative": positive, "cfg": 1.0, "steps": 2}
    prompt = b.sampled({"reference_tokens": "auto", **record}, **given)
    prompt["sampler"]["inputs"]["latent_image"] = b.link({"samples": torch.zeros(1, 16, FRAMES, *SIZE)})
    return prompt


WAN: dict[str, Case] = {
    "Wan without a vision encoder": Case(
        "recorded Wan 2.1 with a start image alone, without clip_vision_output",
        "KSampler", r"cond conditioning has no CLIP_VISION_OUTPUT.*connect clip_vision_output on WanImageToVideo",
        lambda b: recorded(b, None),
    ),
    "another vision encoder for Wan": Case(
        "encoded the picture for Wan 2.1 with another CLIP vision model",
        "KSampler", r"CLIP_VISION_OUTPUT has 197 tokens, expected 257 a picture.*CLIP vision model of Wan 2\.1",
        lambda b: recorded(b, hidden(tokens=197)),
    ),
    "tokens by hand for Wan": Case(
        "set reference_tokens to 'rows x columns' for Wan 2.1",
        "I2AM_Record", r"this model's pictures comes from the run itself.*set reference_tokens on I²AM Record to 'auto'",
        lambda b: recorded(b, hidden(), reference_tokens="rows x columns"),
    ),
    "reference_parts for Wan": Case(
        "set reference_parts for Wan 2.1",
        "I2AM_Record", r"reference_parts is for models that take reference latents; this MODEL is Wan 2\.1",
        lambda b: recorded(b, hidden(), reference_parts="[[0, 0, 0.5, 1]]"),
    ),
    "a cut in Wan": Case(
        "cut the reference of Wan 2.1",
        "I2AM_Intervene", r"of which maps can be recorded, but nothing can be cut yet; leave I²AM Intervene out",
        lambda b: b.alone("I2AM_Intervene", model=b.link(model())),
    ),
}  # fmt: skip
