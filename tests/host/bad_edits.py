"""What goes wrong with the demo edit model and its pictures, see `bad_inputs`."""

from __future__ import annotations

import torch
from host_tests.bad_case import Case

EDITS: dict[str, Case] = {
    "edit model without its weights": Case(
        "installed the pack without the demo edit model's weights",
        "I2AM_DemoEditModel", r"edit\.safetensors is missing; the edit model's weights ship with the pack: install it anew",
        lambda b: b.edit_weights(None),
    ),
    "edit model with broken weights": Case(
        "cloned the pack without git-lfs, so that the demo edit model's weights are a pointer",
        "I2AM_DemoEditModel", r"edit\.safetensors is not a whole safetensors file.*ship with the pack: install it anew",
        lambda b: b.edit_weights(b"version https://git-lfs.github.com/spec/v1\n"),
    ),
    "edit model of another version": Case(
        "copied the demo edit model's weights from another version of the pack",
        "I2AM_DemoEditModel", r"weights of the edit model do not fit: missing: txt_in\.weight.*install the pack anew",
        lambda b: b.edit(changed=lambda state: state.pop("txt_in.weight")),
    ),
    "seed of no edit": Case(
        "asked Demo Edit Pair for a seed beyond its last",
        "I2AM_DemoEditPair", r"9000000 bigger than max of 2000000: seed",
        lambda b: b.alone("I2AM_DemoEditPair", seed=9_000_000),
    ),
    "colour of no garment": Case(
        "typed a colour into Demo Edit Pair that it does not have",
        "I2AM_DemoEditPair", r"colour: 'beige' not in \['as drawn', 'red', 'orange'",
        lambda b: b.alone("I2AM_DemoEditPair", colour="beige"),
    ),
    "demo edit without references": Case(
        "connected positive of the Demo Edit Model straight to the recorded sampler",
        "KSampler", r"cond conditioning has no reference latent \(its text has 4 tokens\).*add ReferenceLatent behind",
        lambda b: b.edit(sampler={"positive": ["model", 2]}),
    ),
    "demo edit with another VAE": Case(
        "encoded the garment for the Demo Edit Model with the VAE of FLUX",
        "KSampler", r"reference latent 2 is 1 x 16 x 20 x 14.*generated latent is 1 x 4 x 32 x 24; encode each picture alone",
        lambda b: b.edit(add_garment={"latent": b.link({"samples": torch.zeros(1, 16, 20, 14)})}),
    ),
    "demo edit's dropped references": Case(
        "recorded branch uncond of the Demo Edit Model, whose negative has no reference",
        "KSampler", r"uncond conditioning has no reference latent \(its text has 4 tokens\)",
        lambda b: b.edit(record={"branch": "uncond"}, sampler={"cfg": 3.0}),
    ),
    "demo edit with its layers misspelt": Case(
        "named a layer on Record that the Demo Edit Model does not have",
        "I2AM_Record", r"no layer of this MODEL matches 'late'; it has: double\.0, double\.1, single\.0, single\.1, single\.2",
        lambda b: b.edit(record={"layers": "late"}),
    ),
}  # fmt: skip
