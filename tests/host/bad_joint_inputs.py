"""What goes wrong with models whose text, picture and references share one sequence, see `bad_inputs`."""

from __future__ import annotations

import torch
from host_tests import tiny_joint
from host_tests.bad_case import Case

JOINT: dict[str, Case] = {
    "no reference latent": Case(
        "recorded FLUX.1 Kontext with a prompt alone",
        "KSampler", r"cond conditioning has no reference latent \(its text has 7 tokens\).*add ReferenceLatent behind",
        lambda b: b.joint(references=()),
    ),
    "references on the negative alone": Case(
        "put ReferenceLatent behind the negative prompt only",
        "KSampler", r"negative conditioning has a reference, but its positive has none, so the two look swapped; connect",
        lambda b: b.joint("qwen", references=(), negative=tiny_joint.conditioning("qwen", (4, 4)), cfg=3.0),
    ),
    "negative without references": Case(
        "recorded branch uncond of FLUX.1 Kontext, whose negative prompt has no reference",
        "KSampler", r"uncond conditioning has no reference latent \(its text has 7 tokens\)",
        lambda b: b.joint(record={"branch": "uncond"}, negative=tiny_joint.conditioning("kontext"), cfg=3.0),
    ),
    "other references on the negative": Case(
        "gave the negative prompt a reference of another size, and recorded both branches",
        "KSampler", r"references of layer 'double\.0' changed within the run.*give both branches the same ones, or record one",
        lambda b: b.joint(record={"branch": "both"}, negative=tiny_joint.conditioning("kontext", (4, 6)), cfg=3.0),
    ),
    "reference of another VAE": Case(
        "encoded the reference of FLUX.1 Kontext with the VAE of SD1.5",
        "KSampler", r"reference latent 1 is 1 x 4 x 4 x 4.*generated latent is 1 x 16 x 6 x 5; encode each picture alone",
        lambda b: b.joint(references=(torch.zeros(1, 4, 4, 4),)),
    ),
    "FLUX's VAE for Qwen": Case(
        "encoded the second reference of Qwen-Image-Edit with the VAE of FLUX",
        "KSampler", r"reference latent 2 is 1 x 16 x 16 x 4 x 4.*which is no single picture of this model",
        lambda b: b.joint("qwen", references=((4, 4), torch.zeros(1, 16, 4, 4))),
    ),
    "a film as a reference": Case(
        "encoded several pictures at once as one reference of Qwen-Image-Edit",
        "KSampler", r"reference latent 1 is 1 x 16 x 3 x 4 x 4.*encode each picture alone",
        lambda b: b.joint("qwen", references=(torch.zeros(1, 16, 3, 4, 4),)),
    ),
    "layers of a picture": Case(
        "sampled a latent of several layers with Qwen-Image",
        "KSampler", r"the generated latent is 1 x 16 x 3 x 6 x 5.*sample one picture, not layers or frames",
        lambda b: b.joint("qwen", size=(3, 6, 5)),
    ),
    "tokens by hand for FLUX": Case(
        "set reference_tokens to 'rows x columns' for FLUX.1 Kontext",
        "I2AM_Record", r"comes from the run itself, but rows and columns were given; set reference_tokens on .* to 'auto'",
        lambda b: b.joint(record={"reference_tokens": "rows x columns"}),
    ),
    "try-on conditioning for FLUX": Case(
        "sampled FLUX.1 Kontext with the conditioning of I²AM Try-On Conditioning",
        "KSampler", r"that of I²AM Try-On Conditioning, which is not for this model.*add ReferenceLatent behind its prompt",
        lambda b: b.joint(positive=b.carrying(tiny_joint.conditioning("kontext", (4, 4)), lambda _beside: None)),
    ),
    "unknown block at Record": Case(
        "named a U-Net's layers on Record for FLUX.1 Kontext",
        "I2AM_Record", r"no layer of this MODEL matches 'output\.\*'; it has: double\.0, double\.1, single\.0, single\.1",
        lambda b: b.joint(record={"layers": "output.*"}),
    ),
    "a picture in channels": Case(
        "recorded FLUX.1 Fill",
        "KSampler", r"gets its other picture in channels of the latent \(as FLUX\.1 Fill.*record a model that takes reference",
        lambda b: b.joint("fill", references=()),
    ),
    "a mask over a canvas' reference": Case(
        "masked all of FLUX.1 Fill's canvas, the part in reference_parts too",
        "KSampler", r"paints over 3 of the 3 tokens of \[0\.5, 0\.0, 1\.0, 1\.0\].*give the rectangle of the part that is kept",
        lambda b: b.joint("fill", references=(), record={"reference_parts": "[[0.5, 0, 1, 1]]"}),
    ),
    "several lists for a canvas": Case(
        "gave parts of two references for FLUX.1 Fill's one canvas",
        "KSampler", r"lists for 2 references, but the conditioning has none, and the latent is one canvas.*give one list",
        lambda b: b.joint("fill", references=(), record={"reference_parts": "[[[0.5, 0, 1, 1]], []]"}),
    ),
    "an area of FLUX": Case(
        "limited the prompt of FLUX.1 Kontext to an area of the picture",
        "KSampler", r"limited to an area.*leave out the node that sets the area",
        lambda b: b.joint(positive=tiny_joint.conditioning("kontext", (4, 4), area=(3, 3, 0, 0), strength=1.0)),
    ),
    "parts that are no rectangles": Case(
        "wrote a reference's parts in words",
        "I2AM_Record", r"reference_parts is 'left and right'; expected rectangles as JSON, \[left, top, right, bottom\]",
        lambda b: b.joint(record={"reference_parts": "left and right"}),
    ),
    "parts in pixels": Case(
        "wrote a reference's parts in pixels",
        "I2AM_Record", r"rectangle \[0, 0, 512, 1024\] in reference_parts is not .*divide pixels by the width and the height",
        lambda b: b.joint(record={"reference_parts": "[[0, 0, 512, 1024], [512, 0, 1024, 1024]]"}),
    ),
    "parts that overlap": Case(
        "gave two parts of a reference that overlap",
        "I2AM_Record", r"\(numbers 1 and 2\) overlap; give each picture of the stitched reference a place of its own",
        lambda b: b.joint(record={"reference_parts": "[[0, 0, 0.6, 1], [0.4, 0, 1, 1]]"}),
    ),
    "parts smaller than a token": Case(
        "gave a part of a reference that is smaller than a token",
        "KSampler", r"holds no whole token of a reference of 2 x 2 tokens; make it larger",
        lambda b: b.joint(record={"reference_parts": "[[0, 0, 0.3, 1]]"}),
    ),
    "parts of too many references": Case(
        "gave parts of two references, where the conditioning has one",
        "KSampler", r"lists for 2 references, but the conditioning has 1; give one list for each, and an empty one",
        lambda b: b.joint(record={"reference_parts": "[[[0, 0, 0.5, 1], [0.5, 0, 1, 1]], []]"}),
    ),
    "parts of a U-Net's reference": Case(
        "set reference_parts for a U-Net",
        "I2AM_Record", r"reference_parts is for models that take reference latents; this MODEL is a U-Net.*leave it empty",
        lambda b: b.sampled({"reference_parts": "[[0, 0, 0.5, 1], [0.5, 0, 1, 1]]"}),
    ),
}  # fmt: skip
