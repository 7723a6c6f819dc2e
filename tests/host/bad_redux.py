"""What goes wrong with FLUX.1 Redux, whose picture's tokens lie in the text, see `bad_inputs`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from host_tests import tiny, tiny_joint
from host_tests.bad_case import Case
from host_tests.graph_bench import Bench, Prompt
from host_tests.maps_case import picture
from host_tests.tiny_redux import style_model, styled, vision

NODE = "I2AM_MarkRedux"


def marked(b: Bench, conditioning: Any = None, seen: Any = None, **inputs: Any) -> Prompt:
    """I²AM Mark Redux behind a tiny prompt with a picture, in which some things may be others."""
    given = {
        "conditioning": styled(tiny_joint.conditioning("kontext"), vision(3)) if conditioning is None else conditioning,
        "style_model": style_model(),
        "clip_vision_output": vision(3) if seen is None else seen,
        **inputs,
    }
    return b.alone(NODE, **{k: v if isinstance(v, str) else b.link(v) for k, v in given.items()})


def sampled(b: Bench, name: str, last: str) -> Prompt:
    """A run with a conditioning that was marked ("node"), and zeroed behind that ("zero")."""
    prompt = marked(b, styled(tiny_joint.conditioning(name), vision(3)))
    prompt["zero"] = {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["node", 0]}}
    run = b.joint(name, references=(), positive=tiny_joint.conditioning(name))
    run["sampler"]["inputs"]["positive"] = [last, 0]
    return {**prompt, **run}


def twice(b: Bench) -> Prompt:
    """Two of our nodes, one behind the other, of one picture."""
    first, second = marked(b)["node"], marked(b)["node"]
    second["inputs"]["conditioning"] = ["first", 0]
    return {"first": first, "node": second}


def dropped() -> Any:
    """A conditioning with a picture of which only some tokens are left."""
    return [[text[:, [*range(9), 12, 15]], about] for text, about in styled(tiny_joint.conditioning("kontext"), vision(3))]


REDUX: dict[str, Case] = {
    "Redux that is not marked": Case(
        "recorded FLUX.1 with the conditioning of Apply Style Model (Redux)",
        "KSampler", r"has no reference latent \(its text has 16 tokens\).*or add I²AM Mark Redux behind Apply Style Model",
        lambda b: b.joint(references=(), positive=styled(tiny_joint.conditioning("kontext"), vision(3))),
    ),
    "the prompt alone": Case(
        "connected the prompt, rather than Apply Style Model, to I²AM Mark Redux",
        NODE, r"holds 7 tokens of 24 numbers, among which the 9 tokens.*are not, nor a smaller square.*of Apply Style Model",
        lambda b: marked(b, tiny_joint.conditioning("kontext")),
    ),
    "another picture for Redux": Case(
        "connected another picture's CLIP_VISION_OUTPUT to I²AM Mark Redux",
        NODE, r"holds 16 tokens of 24 numbers, among which the 9 tokens.*the same style_model and clip_vision_output",
        lambda b: marked(b, seen=vision(4)),
    ),
    "tokens left out": Case(
        "marked a conditioning of which another node drops some of Redux's tokens",
        NODE, r"a node that drops some of the tokens is not known",
        lambda b: marked(b, dropped()),
    ),
    "marked twice": Case(
        "put I²AM Mark Redux twice behind one Apply Style Model",
        NODE, r"this picture's tokens are marked already; one I²AM Mark Redux is enough",
        twice,
    ),
    "no style model": Case(
        "connected a MODEL to style_model of I²AM Mark Redux",
        NODE, r"style_model got a ModelPatcher, which is no STYLE_MODEL; connect the one of Apply Style Model",
        lambda b: marked(b, style_model=tiny.model()),
    ),
    "no vision output": Case(
        "connected something else to clip_vision_output of I²AM Mark Redux",
        NODE, r"clip_vision_output got a SimpleNamespace, which is no CLIP_VISION_OUTPUT; connect CLIP Vision Encode",
        lambda b: marked(b, seen=SimpleNamespace()),
    ),
    "a LATENT to Redux": Case(
        "connected a LATENT to conditioning of I²AM Mark Redux",
        NODE, r"conditioning got a dict, which is no CONDITIONING; connect that of Apply Style Model",
        lambda b: marked(b, {"samples": torch.zeros(1, 16, 4, 4)}),
    ),
    "another number of pictures for Redux": Case(
        "gave I²AM Mark Redux two pictures where CLIP Vision Encode got one",
        NODE, r"image holds 2 pictures, but clip_vision_output is of 1; connect the IMAGE that CLIP Vision Encode got",
        lambda b: marked(b, image=torch.cat([picture((32, 24))] * 2)),
    ),
    "changed behind its mark": Case(
        "put ConditioningZeroOut behind I²AM Mark Redux",
        "KSampler", r"tokens 7 to 16 of the text were marked as a picture's.*put I²AM Mark Redux behind that node",
        lambda b: sampled(b, "kontext", "zero"),
    ),
    "Redux for another model": Case(
        "sampled Qwen-Image with a conditioning of I²AM Mark Redux",
        "KSampler", r"was marked by I²AM Mark Redux, but this MODEL is a QwenImageTransformer2DModel.*use a FLUX\.1 model",
        lambda b: sampled(b, "qwen", "node"),
    ),
}  # fmt: skip
