"""What goes wrong with what a cut changed, and with the runs that prove it, see `bad_inputs`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from host_tests.bad_case import Case
from host_tests.graph_bench import Bench, Prompt
from host_tests.maps_case import GENERATED, picture
from host_tests.proof_graph import proof_graph

NODE = "I2AM_Effect"
BEFORE = picture(GENERATED)
AFTER = 1 - BEFORE


def _effect(b: Bench, **inputs: Any) -> Prompt:
    given = {"before": BEFORE, "after": AFTER, **inputs}
    return b.alone(NODE, **{name: value for name, value in given.items() if value is not None})


def _latents(b: Bench, *shape: int) -> dict[str, Any]:
    made = (torch.full((shape[0], 4, *shape[1:]), fill) for fill in (0.0, 1.0))
    return {f"latent_{name}": b.link({"samples": t}) for name, t in zip(("before", "after"), made, strict=True)}


def _proof(b: Bench, **inputs: Any) -> Prompt:
    """Proof of the demo edit model, with random weights, in one step."""
    b.edit()
    return proof_graph(steps=1, **{k: b.link(v) if isinstance(v, torch.Tensor) else v for k, v in inputs.items()})


PROOF, REGION, CURVE = "I2AM_Proof", {"question": "does this region matter?"}, {"question": "deletion curve"}
EFFECTS: dict[str, Case] = {
    "layers that are not there": Case(
        "asked Proof which layers matter, by another model's names",
        PROOF, r"no recorded layer matches 'output\.\*'; recorded layers: double\.0, ",
        lambda b: _proof(b, question="which layers matter?", layers="output.*"),
    ),
    "nothing to compare": Case(
        "connected nothing to Effect",
        NODE, r"nothing to compare: connect before and after, or latent_before and latent_after",
        lambda b: _effect(b, before=None, after=None),
    ),
    "one of two pictures": Case(
        "connected Effect's picture with the cut alone",
        NODE, r"the picture before the cut is missing, the other one is connected; connect both",
        lambda b: _effect(b, before=None),
    ),
    "one of two latents": Case(
        "connected one latent to Effect beside both pictures",
        NODE, r"the latent after the cut is missing, the other one is connected; connect both",
        lambda b: _effect(b, latent_before=b.link({"samples": torch.zeros(1, 4, 10, 8)})),
    ),
    "the same picture twice": Case(
        "connected the same picture to both sides of Effect",
        NODE, r"identical to the last bit, so nothing was changed, or it is the same picture twice; give the picture",
        lambda b: _effect(b, after=BEFORE),
    ),
    "pictures of two sizes": Case(
        "compared pictures of two sizes on Effect",
        NODE, r"before is 64 x 80 with 3 channels, after 80 x 64 .*not two runs of one size; give both as the sampler",
        lambda b: _effect(b, after=AFTER.transpose(1, 2)),
    ),
    "one picture and two": Case(
        "compared one picture with a batch of two",
        NODE, r"before holds 1 picture\(s\), after 2; an effect is taken picture by picture: give as many of each",
        lambda b: _effect(b, after=picture(GENERATED, 2)),
    ),
    "a broken picture": Case(
        "compared a picture with one that a half-precision VAE broke",
        NODE, r"this IMAGE holds NaN or infinity, which shows as black: its VAE overflowed",
        lambda b: _effect(b, after=AFTER * torch.nan),
    ),
    "latents of two models": Case(
        "compared latents of two models on Effect",
        NODE, r"before is 8 x 10 with 4 channels, after 8 x 10 with 16 channels: not two runs of one size",
        lambda b: _effect(
            b, **{f"latent_{k}": b.link({"samples": torch.zeros(1, c, 10, 8)}) for k, c in (("before", 4), ("after", 16))}
        ),
    ),
    "latents of other pictures": Case(
        "connected a batch of two latents to Effect beside one picture",
        NODE, r"before holds 1 picture\(s\), but the latents hold 2; connect the pictures that were decoded from these latents",
        lambda b: _effect(b, **_latents(b, 2, 10, 8)),
    ),
    "latents of another shape": Case(
        "connected latents of another shape than the pictures to Effect",
        NODE, r"the picture before is 64 x 80 pixels, but the latent is 25 x 10: another shape",
        lambda b: _effect(b, **_latents(b, 1, 10, 25)),
    ),
    "a region without a pixel": Case(
        "connected an empty mask to Effect's region",
        NODE, r"the region is empty: no pixel is 1",
        lambda b: _effect(b, region=torch.zeros(1, *GENERATED)),
    ),
    "a region that is everything": Case(
        "connected a mask of the whole picture to Effect's region",
        NODE, r"the region covers the whole picture",
        lambda b: _effect(b, region=torch.ones(1, *GENERATED)),
    ),
    "a region of another shape": Case(
        "painted Effect's region on a picture of another shape",
        NODE, r"the region is 200 x 80 pixels, but the picture is 64 x 80: another shape",
        lambda b: _effect(b, region=torch.eye(200)[None, :80]),
    ),
    "regions of other pictures": Case(
        "connected three masks to Effect, which compares one picture",
        NODE, r"the region holds 3 masks, but there are 1 picture\(s\); give one, or one per image",
        lambda b: _effect(b, region=torch.ones(3, *GENERATED)),
    ),
    "maps of another batch": Case(
        "connected maps of a batch of two to Effect, which compares one picture",
        NODE, r"maps are of a run of 2 image\(s\), but 1 changed; connect those of the run before",
        lambda b: _effect(b, maps=b.maps()),
    ),
    "a reference that Effect's maps lack": Case(
        "set Effect's reference to one that the run did not have",
        NODE, r"reference 4 does not exist: the run had 1, counted from 0; set reference",
        lambda b: _effect(b, maps=b.maps(images=1), reference=4),
    ),
    "a map that Effect's run lacks": Case(
        "asked Effect for which of several references of a run with one",
        NODE, r"this recording has no which reference, but R2G, R2G-balanced, mass; set side",
        lambda b: _effect(b, maps=b.maps(images=1), side="which reference"),
    ),
    "Effect's maps of another shape": Case(
        "compared pictures of another run with Effect's maps",
        NODE, r"the picture is 200 x 80 pixels, but the map's picture is 64 x 80: another shape",
        lambda b: _effect(b, before=picture((80, 200)), after=1 - picture((80, 200)), maps=b.maps(images=1)),
    ),
    "something else for Effect's maps": Case(
        "connected a text to Effect's maps through a node that takes anything",
        NODE, r"maps got a str, which is none of this pack; connect the maps of I²AM Collect, Look or Load Maps",
        lambda b: _effect(b, maps=b.link("maps")),
    ),
    "no region to ask about": Case(
        "asked Proof about a region without connecting one",
        PROOF, r"the question is about a region, but none is connected; paint one on the reference and connect it",
        lambda b: _proof(b, **REGION),
    ),
    "a region to ask about that is everything": Case(
        "asked Proof about a region that is the whole reference",
        PROOF, r"covers all of the 20 x 14 tokens of reference 2, so there is no other region like it.*paint a smaller one",
        lambda b: _proof(b, **REGION, region=torch.ones(1, 160, 112)),
    ),
    "a region to ask about that is nothing": Case(
        "asked Proof about an empty region",
        PROOF, r"the region of the reference is empty: no pixel is 1, so nothing would be cut; paint it",
        lambda b: _proof(b, **REGION, region=torch.zeros(1, 160, 112)),
    ),
    "a region to ask about of another picture": Case(
        "asked Proof about a region that was painted on another picture",
        PROOF, r"the region is 400 x 160 pixels, but reference 2 is 112 x 160; paint it on that picture",
        lambda b: _proof(b, **REGION, region=torch.eye(400)[None, :160]),
    ),
    "a third reference to ask about": Case(
        "asked Proof for a deletion curve of the third of two references",
        PROOF, r"reference number 2 is to be cut, but the run has 2: number 0 is reference 1, 1 is reference 2",
        lambda b: _proof(b, **CURVE, reference=2),
    ),
    "fractions in words": Case(
        "wrote Proof's fractions in words",
        PROOF, r"expected fractions above 0 and up to 1, such as 0\.1 0\.25 0\.5 1, got 'half'",
        lambda b: _proof(b, **CURVE, fractions="half"),
    ),
    "fractions in per cent": Case(
        "wrote Proof's fractions in per cent",
        PROOF, r"expected fractions above 0 and up to 1.*got '10 50'",
        lambda b: _proof(b, **CURVE, fractions="10 50"),
    ),
    "several pictures to prove": Case(
        "gave Proof a batch of two",
        PROOF, r"latent_image holds 2 pictures, but runs are compared one picture at a time; set batch_size to 1",
        lambda b: _proof(b, latent_image=b.link({"samples": torch.zeros(2, 4, 32, 24)})),
    ),
    "no step to prove": Case(
        "set denoise of Basic Scheduler to 0 before Proof",
        PROOF, r"sigmas hold 0 value\(s\), so there is no step to run; connect those of a whole schedule",
        lambda b: _proof(b, sigmas=torch.zeros(0)),
    ),
    "a model as Proof's guider": Case(
        "connected a text to Proof's guider through a node that takes anything",
        PROOF, r"guider got a str, which is no GUIDER; connect that of CFG Guider or Basic Guider",
        lambda b: _proof(b, guider=b.link("model")),
    ),
    "something else as Proof's noise": Case(
        "connected a seed to Proof's noise through a node that takes anything",
        PROOF, r"noise got a int, which is no NOISE; connect that of Random Noise",
        lambda b: _proof(b, noise=b.link(3)),
    ),
    "something else as Proof's VAE": Case(
        "connected a text to Proof's vae through a node that takes anything",
        PROOF, r"vae got a str, which is no VAE; connect that of the model's loader",
        lambda b: _proof(b, vae=b.link("vae")),
    ),
    "a prompt without references to prove": Case(
        "connected positive of the Demo Edit Model straight to Proof's guider",
        PROOF, r"cond conditioning has no reference latent \(its text has 4 tokens\).*add ReferenceLatent behind",
        lambda b: {
            **_proof(b),
            "guider": {"class_type": "BasicGuider", "inputs": {"model": ["model", 0], "conditioning": ["model", 2]}},
        },
    ),
    "another kind of network to prove": Case(
        "gave Proof's guider a video model",
        PROOF, r"this MODEL is a WanModel, which cannot",
        lambda b: _proof(b, guider=b.link(SimpleNamespace(model_patcher=b.network("WanModel", "comfy.ldm.wan.model")))),
    ),
    "an empty picture region to prove": Case(
        "connected an empty mask to Proof's picture_region",
        PROOF, r"the picture region is empty: no pixel is 1",
        lambda b: _proof(b, picture_region=torch.zeros(1, 128, 96)),
    ),
    "a picture region of another shape to prove": Case(
        "painted Proof's picture_region on a picture of another shape",
        PROOF, r"the picture region is 200 x 80 pixels, but the picture is 96 x 128: another shape",
        lambda b: _proof(b, picture_region=torch.eye(200)[None, :80]),
    ),
    "something else as Proof's maps": Case(
        "connected a text to Proof's maps through a node that takes anything",
        PROOF, r"maps got a str, which is none of this pack; connect the maps of I²AM Collect",
        lambda b: _proof(b, maps=b.link("maps")),
    ),
}  # fmt: skip
