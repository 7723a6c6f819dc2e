"""What goes wrong with Wan 2.1 image-to-video, see `bad_inputs`."""

from __future__ import annotations

from typing import Any

import torch
from host_tests.bad_case import Case
from host_tests.graph_bench import Bench, Prompt
from host_tests.test_wan import FRAMES, SIZE, conditioning, hidden, model
from host_tests.wan_graph import wan_graph
from torch import Tensor

import nodes


def recorded(b: Bench, seen: Tensor | None, **record: Any) -> Prompt:
    """A recorded video from a picture as the vision encoder saw it."""
    positive = conditioning(seen)
    given = {"model": model(), "positive": positive, "negative": positive, "cfg": 1.0, "steps": 2}
    prompt = b.sampled({"reference_tokens": "auto", **record}, **given)
    prompt["sampler"]["inputs"]["latent_image"] = b.link({"samples": torch.zeros(1, 16, FRAMES, *SIZE)})
    return prompt


def windows() -> Any:
    """A MODEL that gets two latent frames at a time."""
    made = nodes.NODE_CLASS_MAPPINGS["WanContextWindowsManual"]
    given = {"context_length": 5, "context_overlap": 0, "context_schedule": "standard_static", "context_stride": 1}
    return made.execute(model(), **given, closed_loop=False, fuse_method="pyramid", freenoise=False)[0]


def cut(b: Bench, used: Any = None, **intervene: Any) -> Prompt:
    """A video in which something is cut."""
    prompt = wan_graph(b, used=used)
    given = prompt.pop("record")["inputs"]["model"]
    prompt["cut"] = b.node("I2AM_Intervene", model=given, **{"reference_tokens": "auto", **intervene})
    prompt["sampler"]["inputs"]["model"] = ["cut", 0]
    del prompt["collect"], prompt["decode"]
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
    "a way that Wan's text does not look": Case(
        "cut the reference of Wan 2.1 with route 'text'",
        "I2AM_Intervene", r"route is 'text', but this MODEL is Wan 2\.1.*set it to 'all' or 'generated'",
        lambda b: b.alone("I2AM_Intervene", model=b.link(model()), route="text", reference_tokens="auto"),
    ),
    "a small region in Wan": Case(
        "cut a region of Wan's picture that is smaller than half of a patch",
        "KSampler", r"the region of 'reference' covers less than half of each of its 16 x 16 tokens",
        lambda b: cut(b, region=torch.nn.functional.pad(torch.ones(1, 8, 8), (0, 216, 0, 216))),
    ),
    "a second picture of Wan that is not there": Case(
        "cut reference number 1 of Wan 2.1 with a first picture alone",
        "KSampler", r"reference number 1 is to be cut, but the run has 1: number 0 is reference",
        lambda b: cut(b, reference=1),
    ),
    "a region of another shape on Wan's video": Case(
        "painted picture_region for Wan 2.1 on a picture of another shape than the video",
        "KSampler", r"the region is 90 x 30 pixels, but the generated picture is 48 x 32; paint it on that picture",
        lambda b: cut(b, route="generated", picture_region=torch.ones(1, 30, 90)),
    ),
    "Wan in windows": Case(
        "recorded Wan 2.1 behind Wan Context Windows",
        "KSampler", r"windows of the latent's frames \(first 0 to 1\).*leave out the node that sets context windows",
        lambda b: wan_graph(b, used=windows()),
    ),
    "a cut of Wan in windows": Case(
        "cut in Wan 2.1 behind Wan Context Windows",
        "KSampler", r"windows of the latent's frames.*leave out the node that sets context windows",
        lambda b: cut(b, used=windows()),
    ),
    "frames dropped before Look": Case(
        "gave Look 8 frames of a video of Wan 2.1 that has 9",
        "I2AM_Look", r"8 pictures were given, but the run had 3 latent frames, which decode to 9 frames; connect the IMAGE of",
        lambda b: b.look(wan_graph(b), image=torch.rand(8, 32, 48, 3)),
    ),
    "frames dropped before Overlay": Case(
        "gave Overlay 8 frames of a video of Wan 2.1 that has 9",
        "I2AM_Overlay", r"8 pictures do not fit this ULAM R2G of 3 image.*or all 9 frames that the 3 latent frames of a video",
        lambda b: {
            **wan_graph(b),
            "map": b.node("I2AM_Map", maps=["collect", 1]),
            "node": b.node("I2AM_Overlay", heat=["map", 0], image=torch.rand(8, 32, 48, 3)),
        },
    ),
}  # fmt: skip
