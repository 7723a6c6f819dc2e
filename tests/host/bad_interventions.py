"""What goes wrong with interventions, see `bad_inputs`."""

from __future__ import annotations

from typing import Any

import torch
from host_tests import tiny
from host_tests.bad_case import Case
from host_tests.graph_bench import Bench, Prompt

TWO = ((4, 4), (4, 6))
NODE = "I2AM_Intervene"


def _cut(b: Bench, prompt: Prompt, **inputs: Any) -> Prompt:
    """The graph with the node between its model and its sampler, in the place of I²AM Record."""
    model = prompt.pop("record")["inputs"]["model"]
    del prompt["collect"]
    prompt["sampler"]["inputs"]["model"] = ["cut", 0]
    return {"cut": b.node(NODE, **{"model": model, **inputs}), **prompt}


def _joint(b: Bench, references: Any = TWO, **inputs: Any) -> Prompt:
    return _cut(b, b.joint(references=references), **inputs)


def _unet(b: Bench, sampler: dict[str, Any] | None = None, **inputs: Any) -> Prompt:
    by_hand = {"reference_tokens": "rows x columns", "rows": 3, "columns": 4, "leading_tokens": 0}
    return _cut(b, b.sampled(**(sampler or {})), **{**by_hand, **inputs})


INTERVENTIONS: dict[str, Case] = {
    "no model to cut in": Case(
        "cut in a loader's output that is not a MODEL",
        NODE, r"model got a NoneType, which is no MODEL",
        lambda b: _unet(b, model=b.link(None)),
    ),
    "a cut in another kind of network": Case(
        "cut in a video model",
        NODE, r"this MODEL is a WanModel, which cannot.*U-Nets.*FLUX\.1 Kontext",
        lambda b: _unet(b, model=b.link(b.network("WanModel", "comfy.ldm.wan.model"))),
    ),
    "unknown layer at Intervene": Case(
        "named a U-Net's layers on Intervene for FLUX.1 Kontext",
        NODE, r"no layer of this MODEL matches 'output\.\*'; it has: double\.0",
        lambda b: _joint(b, layers="output.*"),
    ),
    "a route that is not there": Case(
        "cut the way by the text in a U-Net, whose text looks at nothing",
        NODE, r"route is 'text', but this MODEL is a U-Net.*set it to 'all' or 'generated'",
        lambda b: _unet(b, route="text"),
    ),
    "the text from itself": Case(
        "cut the text from its own tokens",
        NODE, r"the text cannot be cut from its own tokens alone; set the route to 'all', 'generated' or 'references'",
        lambda b: _joint(b, cut="text", route="text"),
    ),
    "an empty region": Case(
        "connected a mask without a painted pixel to region",
        NODE, r"the region of the reference is empty.*paint it, or give no mask",
        lambda b: _joint(b, region=torch.zeros(1, 32, 32)),
    ),
    "several regions": Case(
        "connected three masks to region",
        NODE, r"the region of the reference is one mask of shape \(H, W\), got \(3, 32, 32\)",
        lambda b: _joint(b, region=torch.ones(3, 32, 32)),
    ),
    "a region of the text": Case(
        "gave a region of the reference, but cut the text",
        NODE, r"a region was given, but 'text' is cut.*cut 'reference', or give none",
        lambda b: _joint(b, cut="text", region=torch.ones(1, 32, 32)),
    ),
    "a region of the picture for all": Case(
        "painted a region of the generated picture and left the route at all",
        NODE, r"the route is 'all', so tokens of others would lose sight as well; set the route to 'generated'",
        lambda b: _joint(b, picture_region=torch.ones(1, 48, 40)),
    ),
    "tokens of a reference": Case(
        "wrote numbers of text tokens, but cut a reference",
        NODE, r"tokens of the text were given, but 'reference' is cut; cut 'text', or give no tokens",
        lambda b: _joint(b, tokens="1 2"),
    ),
    "tokens in words": Case(
        "wrote a word of the prompt instead of its number",
        NODE, r"expected numbers of the text's tokens such as 2 5:8.*got 'shirt'",
        lambda b: _joint(b, cut="text", tokens="shirt"),
    ),
    "steps backwards": Case(
        "wrote steps backwards",
        NODE, r"the steps of a cut are first:stop with 0 ≤ first < stop.*got 10:5",
        lambda b: _joint(b, steps="10:5"),
    ),
    "heads in words": Case(
        "wrote heads in words",
        NODE, r"expected head numbers such as 0,2,5, got 'all'",
        lambda b: _joint(b, heads="all"),
    ),
    "tokens by hand for FLUX at Intervene": Case(
        "set reference_tokens on Intervene to 'rows x columns' for FLUX.1 Kontext",
        NODE, r"comes from the run itself, but rows and columns were given; set reference_tokens on I²AM Intervene to 'auto'",
        lambda b: _joint(b, reference_tokens="rows x columns"),
    ),
    "a third of two references": Case(
        "cut the third reference of two",
        "KSampler", r"reference number 2 is to be cut, but the run has 2: number 0 is reference 1, 1 is reference 2",
        lambda b: _joint(b, reference=2),
    ),
    "a head too many": Case(
        "cut head 8 of layers that have 2",
        "KSampler", r"head 8 is to be cut, but the layer has 2, counted from 0",
        lambda b: _joint(b, heads="0,8"),
    ),
    "a token too many": Case(
        "cut the tenth token of a text of 7",
        "KSampler", r"token 9 of the text is to be cut, but the text has 7 tokens, counted from 0",
        lambda b: _joint(b, cut="text", tokens="9"),
    ),
    "steps after the last": Case(
        "cut steps 20 to 29 of a run of 2",
        "KSampler", r"steps 20:30 are to be cut, but this sampler's run has 2.*set steps on I²AM Intervene to at most 1:2",
        lambda b: _joint(b, steps="20:30"),
    ),
    "a region of another picture": Case(
        "painted the region on another picture than the reference",
        "KSampler", r"the region is 64 x 32 pixels, but reference 1 is 32 x 32; paint it on that picture",
        lambda b: _joint(b, region=torch.ones(1, 32, 64)),
    ),
    "a region of a few pixels": Case(
        "painted a region of a few pixels",
        "KSampler", r"covers less than half of each of its 2 x 2 tokens, so that none would be cut; paint a larger one",
        lambda b: _joint(b, region=torch.eye(32)[None]),
    ),
    "nothing to cut": Case(
        "cut a reference of FLUX.1 Kontext with a prompt alone",
        "KSampler", r"cond conditioning has no reference latent.*add ReferenceLatent behind the prompt",
        lambda b: _joint(b, references=()),
    ),
    "a cut in a text prompt": Case(
        "cut a reference in a graph with text prompts only",
        "KSampler", r"no layout of reference tokens.*set reference_tokens on I²AM Intervene to 'rows x columns'",
        lambda b: _unet(b, {"positive": tiny.positive(77), "negative": tiny.negative(77)}, reference_tokens="auto"),
    ),
    "rows and columns that do not fit at Intervene": Case(
        "set 4 × 4 tokens on Intervene, where the encoder gives 12",
        "KSampler", r"with 12 keys, but the layout expects 16.*set the rows, columns and leading tokens",
        lambda b: _unet(b, rows=4),
    ),
    "a branch that is not evaluated": Case(
        "cut in the branch uncond, and sampled with cfg 1",
        "KSampler", r"nothing was cut, so the picture is that of an unchanged run.*never evaluated uncond.*cfg",
        lambda b: _joint(b, branch="uncond"),
    ),
}  # fmt: skip
