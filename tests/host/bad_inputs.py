"""What goes wrong in people's graphs: each case as a person would tell it, its graph, and what the message must say."""

from __future__ import annotations

import argparse
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from host_tests import tiny
from host_tests.graph_bench import Bench, Prompt
from host_tests.maps_case import GENERATED, REFERENCE, box, picture, planted
from safetensors.torch import save_file

TURNED = (GENERATED[1], GENERATED[0])  # another shape than any picture of the planted run
LEFT = box(GENERATED, 0, 0, 1, 0.5)


@dataclass(frozen=True)
class Case:
    """One thing that goes wrong.

    Attributes:
        did: what a person did, in plain words.
        node: the type of the node that must complain.
        says: a regular expression of the message: what was seen, and what to do.
        make: the graph.
    """

    did: str
    node: str
    says: str
    make: Callable[[Bench], Prompt]


def _saved(b: Bench, change: Callable[[bytes], bytes]) -> Prompt:
    """I²AM Load Maps on a maps file in the output folder, altered."""
    path = planted(b.pack).save(b.output / "maps.safetensors")
    path.write_bytes(change(path.read_bytes()))
    return b.file("maps.safetensors [output]")


def _described(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """A maps file with another description."""

    def changed(whole: bytes) -> bytes:
        size = struct.unpack("<Q", whole[:8])[0]
        header = json.loads(whole[8 : 8 + size])
        about = json.loads(header["__metadata__"]["i2am"])
        change(about)
        header["__metadata__"]["i2am"] = json.dumps(about)
        new = json.dumps(header).encode()
        return struct.pack("<Q", len(new)) + new + whole[8 + size :]

    return changed


def _with_nan(whole: bytes) -> bytes:
    """A maps file whose first number is NaN."""
    start = 8 + struct.unpack("<Q", whole[:8])[0]
    return whole[:start] + struct.pack("<f", float("nan")) + whole[start + 4 :]


def _foreign(b: Bench) -> Prompt:
    save_file({"x": torch.zeros(3)}, b.output / "model.safetensors", {"format": "pt"})
    return b.file("model.safetensors [output]")


def _edited(b: Bench) -> Prompt:
    prompt = b.sampled()
    prompt["edit"] = {"class_type": "LatentFlip", "inputs": {"samples": ["sampler", 0], "flip_method": "x-axis: vertically"}}
    prompt["collect"]["inputs"]["latent"] = ["edit", 0]
    return prompt


def _unrecorded(b: Bench) -> Prompt:
    prompt = b.sampled(seed=99)  # one that no other case records: the same latent would have maps
    prompt["sampler"]["inputs"]["model"] = prompt["record"]["inputs"]["model"]
    return prompt


def _unsampled(b: Bench, node: str) -> Prompt:
    prompt = b.sampled()
    latent = prompt.pop("sampler")["inputs"]["latent_image"]
    if node == "I2AM_Look":
        return b.look(prompt, latent=latent)
    prompt["collect"]["inputs"]["latent"] = latent
    return prompt


def _one_token(b: Bench) -> Prompt:
    one = {"rows": 1, "columns": 1}
    prompt = b.sampled(one, positive=tiny.positive(tokens=1), negative=tiny.negative(tokens=1))
    return b.behind(prompt, "I2AM_Map", maps=["collect", 1], side="G2R")


def _large_vae(b: Bench) -> Prompt:
    class Vae:
        """As one of SD1.5: a latent cell is 8 pixels."""

        def encode(self, pictures: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(pictures), 4, pictures.shape[1] // 8, pictures.shape[2] // 8)

    return b.try_on(vae=b.link(Vae()))


AUTO = {"reference_tokens": "auto"}
CASES: dict[str, Case] = {
    # ------------------------------------------------------------------ what another pack puts on a socket
    "recording of another pack": Case(
        "connected something that is no recording to Collect, through a node that accepts anything",
        "I2AM_Collect", r"recording got a dict.*connect the recording of I²AM Record",
        lambda b: b.alone("I2AM_Collect", latent=b.link({"samples": torch.zeros(1, 4, 16, 12)}), recording=b.link({})),
    ),
    "latent that is a picture": Case(
        "connected a picture to Collect's latent, through a node that accepts anything",
        "I2AM_Collect", r"latent got a Tensor.*connect the recorded sampler's LATENT",
        lambda b: {**b.sampled(), "collect": b.node("I2AM_Collect", latent=picture((8, 8)), recording=["record", 1])},
    ),
    "maps of another pack": Case(
        "connected text to Map's maps, through a node that accepts anything",
        "I2AM_Map", r"maps got a str.*I²AM Collect, Look or Load Maps",
        lambda b: b.alone("I2AM_Map", maps=b.link("maps")),
    ),
    "heat of another pack": Case(
        "connected a picture to Overlay's heat, through a node that accepts anything",
        "I2AM_Overlay", r"heat got a Tensor.*I²AM Map, Patch Map or Threshold",
        lambda b: b.alone("I2AM_Overlay", image=picture(GENERATED), heat=picture(GENERATED)),
    ),
    "encoder of another pack": Case(
        "connected another pack's image encoder to Try-On Conditioning",
        "I2AM_TryOnConditioning", r"encoder got a Linear.*I²AM Demo Model",
        lambda b: b.try_on(encoder=b.link(torch.nn.Linear(1, 1))),
    ),
    "checkpoint without a VAE": Case(
        "used a checkpoint without a VAE",
        "I2AM_TryOnConditioning", r"vae got a NoneType.*connect the VAE",
        lambda b: b.try_on(vae=b.link(None)),
    ),
    "VAE of another model": Case(
        "used the VAE of SD1.5 with the demo model",
        "I2AM_TryOnConditioning", r"latents of shape \(4, 16, 12\) where the demo model needs \(4, 32, 24\); connect the VAE",
        _large_vae,
    ),
    "picture without a batch": Case(
        "gave Overlay a picture of shape (height, width, 3)",
        "I2AM_Overlay", r"\(pictures, height, width, 3\).*got the shape \(80, 64, 3\); connect what a node puts out as IMAGE",
        lambda b: b.after_map("I2AM_Overlay", image=picture(GENERATED)[0]),
    ),
    # ------------------------------------------------------------------ recording
    "no U-Net": Case(
        "recorded a Flux model",
        "I2AM_Record", r"this MODEL is a Flux, and only U-Nets.*connect one of those",
        lambda b: b.sampled({"model": b.link(b.flux())}),
    ),
    "no model": Case(
        "recorded a loader's output that is not a MODEL",
        "I2AM_Record", r"model got a NoneType, which is no MODEL",
        lambda b: b.sampled({"model": b.link(None)}),
    ),
    "unknown layer at Record": Case(
        "mistyped a layer's name on Record: outptu.*",
        "I2AM_Record", r"no layer of this MODEL matches 'outptu\.\*'; it has: input\.1\.1\.0, .*middle\.0\.1\.0.*output\.3",
        lambda b: b.sampled({"layers": "input.* outptu.*"}),
    ),
    "time groups below 1": Case(
        "set −1 time groups on Record",
        "I2AM_Record", r"-1 smaller than min of 1: groups",
        lambda b: b.sampled({"groups": -1}),
    ),
    "text prompts": Case(
        "recorded a graph with text prompts only (77 tokens)",
        "KSampler", r"no layout of reference tokens.*77 tokens.*text prompts have none: use I²AM Try-On Conditioning",
        lambda b: b.sampled(AUTO, positive=tiny.positive(tokens=77), negative=tiny.negative(tokens=77)),
    ),
    "an encoder that says nothing": Case(
        "recorded another pack's reference encoder of 257 tokens with reference_tokens auto",
        "KSampler", r"257 tokens often mean 16 x 16 and 1 leading.*reference_tokens on I²AM Record to 'rows x columns'",
        lambda b: b.sampled(AUTO, positive=tiny.positive(tokens=257), negative=tiny.negative(tokens=257)),
    ),
    "an encoder of one token": Case(
        "recorded another pack's reference encoder of one token with reference_tokens auto",
        "KSampler", r"has 1 token; a single token is 1 x 1 and 0 leading.*rows, columns and leading_tokens",
        lambda b: b.sampled(AUTO, positive=tiny.positive(tokens=1), negative=tiny.negative(tokens=1)),
    ),
    "rows and columns that do not fit": Case(
        "set 4 × 4 tokens on Record, where the encoder gives 12",
        "KSampler", r"with 12 keys, but the layout expects 16 \(reference: 4 x 4 \+ 0\); set the rows, columns and leading",
        lambda b: b.sampled({"rows": 4, "columns": 4}),
    ),
    "odd number of tokens": Case(
        "set 16 × 16 tokens and 1 leading on Record, where the encoder gives 13",
        "KSampler", r"with 13 keys, but the layout expects 257.*set the rows, columns and leading tokens",
        lambda b: b.sampled(
            {"rows": 16, "columns": 16, "leading_tokens": 1},
            positive=tiny.positive(tokens=13),
            negative=tiny.negative(tokens=13),
        ),
    ),
    "conditioning of a newer pack": Case(
        "used a conditioning made by a newer version of this pack",
        "KSampler", r"token layout of format 2, this version reads 1; use one version of the pack",
        lambda b: b.sampled(AUTO, positive=b.carrying(tiny.positive(), lambda beside: beside["i2am_layout"].update(format=2))),
    ),
    "reference limited to an area": Case(
        "limited the reference's conditioning to an area of the picture",
        "KSampler", r"limited to an area.*leave out the node that sets the area",
        lambda b: b.sampled(
            positive=b.carrying(tiny.positive(), lambda beside: beside.update(area=(8, 6, 0, 0), strength=1.0))
        ),
    ),
    "merged tokens": Case(
        "used another pack that merges the generated image's tokens in cross-attention",
        "KSampler", r"96 queries on a 16 x 12 grid.*leave the layer out with 'layers', or switch that node off",
        lambda b: b.sampled(model=b.merging()),
    ),
    "another model's conditioning": Case(
        "sampled an SD1.5-like model with the conditioning of I²AM Try-On Conditioning",
        "KSampler", r"tokens have 128 numbers each, but this MODEL attends to tokens of 32; connect the MODEL that belongs",
        lambda b: b.demo(record={"model": b.link(tiny.model())}),
    ),
    "another latent": Case(
        "sampled the demo from an empty latent of 512 × 512",
        "KSampler", r"for a latent of 32 x 24 cells, but the sampler got one of 64 x 64; connect the LATENT of I²AM Try-On",
        lambda b: b.demo(sampler={"latent_image": b.link({"samples": torch.zeros(1, 4, 64, 64)})}),
    ),
    "empty mask at Record": Case(
        "gave Record an empty inpainting mask",
        "KSampler", r"mask given to the recording is empty.*1 = repainted.*give another mask, or none",
        lambda b: b.sampled({"inpaint_mask": torch.zeros(1, 128, 96)}),
    ),
    "masks at Record": Case(
        "gave Record three inpainting masks for two images",
        "KSampler", r"\(3, 128, 96\), but the run makes 2 image.*give one mask, \(h, w\), or one per image, \(2, h, w\)",
        lambda b: b.sampled({"inpaint_mask": torch.ones(3, 128, 96)}, images=2),
    ),
    "turned mask at Record": Case(
        "gave Record an inpainting mask of another shape than the picture",
        "KSampler", r"mask is 128 x 96 pixels, but the generated image is 96 x 128.*connect the one",
        lambda b: b.sampled({"inpaint_mask": torch.ones(1, 96, 128)}),
    ),
    "uncond without guidance": Case(
        "recorded branch uncond, and sampled with cfg 1",
        "I2AM_Collect", r"never evaluated uncond.*with cfg 1 it evaluates cond alone: check branch on I²AM Record",
        lambda b: b.sampled({"branch": "uncond"}, cfg=1.0),
    ),
    "both branches without guidance": Case(
        "recorded both branches, and sampled with cfg 1",
        "I2AM_Collect", r"branch 'uncond' was never evaluated.*cfg 1.*record the branches that it has, or set another cfg",
        lambda b: b.sampled({"branch": "both"}, cfg=1.0),
    ),
    # ------------------------------------------------------------------ finding a run again
    "Collect before a run": Case(
        "connected Collect to an empty latent: no sampler ran between",
        "I2AM_Collect", r"no sampler has done a step with this recording's MODEL yet.*connect the LATENT of the sampler itself",
        lambda b: _unsampled(b, "I2AM_Collect"),
    ),
    "Look before a run": Case(
        "connected Look to an empty latent: no sampler ran between",
        "I2AM_Look", r"no sampler has done a step with this recording's MODEL yet.*connect the LATENT of the sampler itself",
        lambda b: _unsampled(b, "I2AM_Look"),
    ),
    "sampler of no steps": Case(
        "sampled with denoise 0: the sampler does no step",
        "I2AM_Collect", r"no sampler has done a step",
        lambda b: b.sampled(denoise=0.0),
    ),
    "unrecorded sampler": Case(
        "connected the sampler to the MODEL from before Record",
        "I2AM_Collect", r"no recorded run gave this latent.*give that sampler the MODEL of this recording's node",
        _unrecorded,
    ),
    "edited latent": Case(
        "put a node that flips the latent between the sampler and Collect",
        "I2AM_Collect", r"connect the LATENT of the sampler itself, before any node that edits it",
        _edited,
    ),
    "Look at a reference that is not there": Case(
        "set reference_index 1 on Look for a run of one reference",
        "I2AM_Look", r"reference 1 does not exist; the run had 1, counted from 0",
        lambda b: b.look(b.sampled(), reference_index=1),
    ),
    "Look at a branch that is not there": Case(
        "set branch uncond on Look, where Record kept cond",
        "I2AM_Look", r"branch 'uncond' was not recorded; recorded: cond",
        lambda b: b.look(b.sampled(), branch="uncond"),
    ),
    "Look at another picture": Case(
        "gave Look a picture of another shape",
        "I2AM_Look", r"picture is 128 x 96 pixels, but the recorded generated image is 96 x 128",
        lambda b: b.look(b.sampled(), image=picture((96, 128))),
    ),
    "Look with a full mask": Case(
        "gave Look an inpainting mask that is white all over",
        "I2AM_Look", r"inpainting mask covers the whole picture: its complement is empty",
        lambda b: b.look(b.sampled(), inpaint_mask=torch.ones(1, 128, 96)),
    ),
    # ------------------------------------------------------------------ choosing maps
    "unknown layer at Map": Case(
        "mistyped a layer's name on Map: outptu.*",
        "I2AM_Map", r"no recorded layer matches 'outptu\.\*'; recorded layers: input\.1, output\.1",
        lambda b: b.alone("I2AM_Map", layers="outptu.*"),
    ),
    "head that does not exist": Case(
        "asked for head 7 of a model that has two",
        "I2AM_Map", r"heads \[7\] were asked for; the chosen layers have heads 0 to 1",
        lambda b: b.alone("I2AM_Map", heads="7"),
    ),
    "heads in words": Case(
        "wrote the heads in words",
        "I2AM_Map", r"head numbers such as 0,2,5, got 'two'",
        lambda b: b.alone("I2AM_Map", heads="two"),
    ),
    "negative steps": Case(
        "asked for steps −1:3",
        "I2AM_Map", r"steps -1 to 3 were asked for; the run has steps 0 to 4.*choose first:stop within them, such as 0:4",
        lambda b: b.alone("I2AM_Map", steps="-1:3"),
    ),
    "backward steps": Case(
        "asked for steps 3:1",
        "I2AM_Map", r"steps 3 to 1 were asked for; the run has steps 0 to 4.*choose first:stop within them",
        lambda b: b.alone("I2AM_Map", steps="3:1"),
    ),
    "too many steps": Case(
        "asked for steps 0:50 of a run of 4",
        "I2AM_Map", r"steps 0 to 50 were asked for; the run has steps 0 to 4.*choose first:stop within them",
        lambda b: b.alone("I2AM_Map", steps="0:50"),
    ),
    "steps with a dash": Case(
        "wrote the steps with a dash: 0-3",
        "I2AM_Map", r"steps first:stop, such as 0:10.*got '0-3'",
        lambda b: b.alone("I2AM_Map", steps="0-3"),
    ),
    "more groups than steps": Case(
        "asked for 9 time groups of a run of 4 steps",
        "I2AM_Map", r"9 time groups were asked for; the recorded steps 0 to 4 can be split into 1 to 4",
        lambda b: b.alone("I2AM_Map", level="TLAM", groups=9),
    ),
    "branch that was not recorded": Case(
        "chose branch uncond on Map, where Record kept cond",
        "I2AM_Map", r"branch 'uncond' was not recorded; recorded: cond",
        lambda b: b.alone("I2AM_Map", branch="uncond"),
    ),
    "G2R of the null tokens": Case(
        "asked for G2R of branch uncond, which sees no reference",
        "I2AM_Map", r"G2R of branch 'uncond' is refused.*use branch 'cond'",
        lambda b: b.behind(b.sampled({"branch": "both"}), "I2AM_Map", maps=["collect", 1], side="G2R", branch="uncond"),
    ),
    "reference that does not exist": Case(
        "chose reference 1 of a run of one reference",
        "I2AM_Map", r"reference 1 does not exist; the run had 1, counted from 0",
        lambda b: b.alone("I2AM_Map", reference=1),
    ),
    "image that does not exist": Case(
        "chose batch_index 2 of a run of two images",
        "I2AM_Map", r"image 2 does not exist; the run had 2, counted from 0 \(-1 means all\)",
        lambda b: b.alone("I2AM_Map", batch_index=2),
    ),
    "mass over all keys": Case(
        "asked for the mass of a model that attends to nothing but the reference's tokens",
        "I2AM_Map", r"mass of layer .* is refused.*mass is 1 everywhere; use placed_only.*or another side",
        lambda b: b.behind(b.sampled(), "I2AM_Map", maps=["collect", 1], side="mass"),
    ),
    "G2R of one token": Case(
        "asked for G2R of a model that sees its reference as one token",
        "I2AM_Map", r"G2R is unavailable.*single token.*R2G is still defined",
        _one_token,
    ),
    "heads that were not kept": Case(
        "asked for HLAM of a recording whose memory budget was too small for heads",
        "I2AM_Map", r"kept only as their mean over heads; record again with more memory",
        lambda b: b.behind(b.sampled({"budget_mb": 1}, images=16), "I2AM_Map", maps=["collect", 1], side="R2G", level="HLAM"),
    ),
    # ------------------------------------------------------------------ pointing
    "no pairwise maps": Case(
        "asked for the map of a patch, where Record's detail was marginals",
        "I2AM_PatchMap", r"none of the chosen layers has pairwise maps.*record again with pairwise switched on",
        lambda b: b.alone("I2AM_PatchMap", maps=b.maps(pairwise=None)),
    ),
    "steps across groups": Case(
        "asked Patch Map for steps 1:3 of pairwise maps kept in groups of two",
        "I2AM_PatchMap", r"steps 1 to 3 are not a union.*\(0-2, 2-4, half-open\); choose steps .* such as 0:2",
        lambda b: b.alone("I2AM_PatchMap", steps="1:3"),
    ),
    "point outside": Case(
        "pointed at x = 64 of a picture 64 pixels wide",
        "I2AM_PatchMap", r"pixel \(64, 64\) lies outside.*64 x 80.*choose x from 0 to below 64 and y from 0 to below 80",
        lambda b: b.alone("I2AM_PatchMap", x=64),
    ),
    "points that are no JSON": Case(
        "wrote points without the last bracket",
        "I2AM_PatchMap", r"points as JSON in pixels, such as \[\[120, 80\], \[64, 200\]\], got '\[\[1, 2\]'",
        lambda b: b.alone("I2AM_PatchMap", points="[[1, 2]"),
    ),
    "points that are numbers": Case(
        "wrote points as a flat list",
        "I2AM_PatchMap", r"points as JSON in pixels, such as \[\[120, 80\], \[64, 200\]\], got '\[20, 60\]'",
        lambda b: b.alone("I2AM_PatchMap", points="[20, 60]"),
    ),
    "empty region": Case(
        "painted nothing into the region",
        "I2AM_PatchMap", r"region is empty: no pixel of it is 1; paint the patches",
        lambda b: b.alone("I2AM_PatchMap", region=torch.zeros(1, *GENERATED)),
    ),
    "region of another shape": Case(
        "gave Patch Map a region painted on another picture",
        "I2AM_PatchMap", r"region is 80 x 64 pixels, but the generated image is 64 x 80.*connect the one",
        lambda b: b.alone("I2AM_PatchMap", region=torch.ones(1, *TURNED)),
    ),
    "pointing at another picture": Case(
        "gave Patch Map three pictures for a run of two",
        "I2AM_PatchMap", r"3 pictures were given, but the run had 2 image\(s\); give one, or one per image",
        lambda b: b.alone("I2AM_PatchMap", image=picture(GENERATED, 3)),
    ),
    # ------------------------------------------------------------------ drawing
    "a heat's own wire": Case(
        "connected Map's mask to Threshold's heat",
        "I2AM_Threshold", r"Return type mismatch between linked nodes: heat, received_type\(MASK\)",
        lambda b: {"map": b.node("I2AM_Map", maps=b.maps()), "node": b.node("I2AM_Threshold", heat=["map", 1])},
    ),
    "pictures and panels": Case(
        "drew a heat of two images and four panels over three pictures",
        "I2AM_Overlay", r"3 pictures do not fit.*2 image\(s\) with 4 panels.*give one picture, one per image or one per panel",
        lambda b: b.after_map("I2AM_Overlay", image=picture(GENERATED, 3)),
    ),
    "another picture": Case(
        "drew a heat over a picture of another shape",
        "I2AM_Animate", r"picture is 80 x 64 pixels, but the recorded generated image is 64 x 80.*connect the one",
        lambda b: b.after_map("I2AM_Animate", image=picture(TURNED)),
    ),
    "labels and panels": Case(
        "wrote three labels for a sheet of four panels",
        "I2AM_Grid", r"3 labels were given for 4 panels; give one line for each, or none",
        lambda b: b.after_map("I2AM_Grid", labels="a\nb\nc"),
    ),
    "empty Grid": Case(
        "connected nothing to Grid",
        "I2AM_Grid", r"a grid needs a heat, pictures or both: connect one of them",
        lambda b: b.alone("I2AM_Grid"),
    ),
    # ------------------------------------------------------------------ scoring
    "no mask": Case(
        "asked for IMACS without a mask",
        "I2AM_IMACS", r"IMACS needs a mask: connect the inpainting mask, the reference mask, or both",
        lambda b: b.alone("I2AM_IMACS"),
    ),
    "empty inpainting mask": Case(
        "gave IMACS an empty inpainting mask",
        "I2AM_IMACS", r"inpainting mask is empty: no pixel is 1, so there is no inside to score",
        lambda b: b.alone("I2AM_IMACS", inpaint_mask=torch.zeros(1, *GENERATED)),
    ),
    "full reference mask": Case(
        "gave IMACS a reference mask that is white all over",
        "I2AM_IMACS", r"reference mask covers the whole picture: its complement is empty",
        lambda b: b.alone("I2AM_IMACS", inpaint_mask=LEFT, reference_mask=torch.ones(1, *REFERENCE)),
    ),
    "masks of another batch": Case(
        "gave IMACS three masks for a run of two images",
        "I2AM_IMACS", r"inpainting mask holds 3 masks, but the run had 2 image\(s\); give one, or one per image",
        lambda b: b.alone("I2AM_IMACS", inpaint_mask=LEFT.expand(3, -1, -1)),
    ),
    "mask of another shape": Case(
        "gave IMACS an inpainting mask of another shape",
        "I2AM_IMACS", r"inpainting mask is 80 x 64 pixels, but the recorded generated image is 64 x 80",
        lambda b: b.alone("I2AM_IMACS", inpaint_mask=box(TURNED, 0, 0, 1, 0.5)),
    ),
    "mask in bytes": Case(
        "gave IMACS a mask of 0 to 255",
        "I2AM_IMACS", r"inpainting mask holds values from 0 to 255, expected 0 to 1: scale it",
        lambda b: b.alone("I2AM_IMACS", inpaint_mask=LEFT * 255),
    ),
    # ------------------------------------------------------------------ a try-on's pictures
    "no densepose": Case(
        "left densepose unconnected at Try-On Conditioning",
        "I2AM_TryOnConditioning", r"demo model also needs densepose; connect it",
        lambda b: b.try_on("densepose"),
    ),
    "no agnostic picture": Case(
        "left agnostic unconnected at Try-On Conditioning, and person too",
        "I2AM_TryOnConditioning", r"also needs agnostic \(or person with inpaint_mask\); connect it",
        lambda b: b.try_on("agnostic"),
    ),
    "numbers of pictures": Case(
        "gave Try-On Conditioning two garments and three densepose pictures",
        "I2AM_TryOnConditioning", r"reference has 2 images where other inputs have 3; give one, or 3",
        lambda b: b.try_on(reference=picture((160, 112), 2), densepose=picture((128, 96), 3)),
    ),
    "mask of another picture": Case(
        "gave Try-On Conditioning an inpainting mask of another shape than the person's picture",
        "I2AM_TryOnConditioning", r"inpaint_mask is 128 x 96 pixels, but the picture of the person is 96 x 128.*connect",
        lambda b: b.try_on("agnostic", person=["pair", 0], inpaint_mask=torch.ones(1, 96, 128)),
    ),
    "seed of no pair": Case(
        "asked Demo Pair for a seed beyond its last",
        "I2AM_DemoPair", r"9000000 bigger than max of 2000000: seed",
        lambda b: b.alone("I2AM_DemoPair", seed=9_000_000),
    ),
    "demo without its weights": Case(
        "installed the pack without the demo model's weights",
        "I2AM_DemoModel", r"unet\.safetensors is missing; the demo model's weights ship with the pack: install it anew",
        lambda b: b.demo_weights(None),
    ),
    "demo with broken weights": Case(
        "downloaded only a part of the demo model's weights",
        "I2AM_DemoModel", r"unet\.safetensors is not a whole safetensors file.*ship with the pack: install it anew",
        lambda b: b.demo_weights(b"version https://git-lfs.github.com/spec/v1\n"),
    ),
    "checkpoint that is a pointer": Case(
        "cloned a repository of weights without git-lfs",
        "I2AM_LoadTryOn", r"pointer\.ckpt is a git-lfs pointer \(.*run `git lfs pull`",
        lambda b: b.checkpoint("pointer.ckpt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    ),
    "checkpoint that was cut off": Case(
        "downloaded only a part of a checkpoint",
        "I2AM_LoadTryOn", r"part\.ckpt is cut off or damaged.*download or copy it again",
        lambda b: b.checkpoint("part.ckpt", b"PK\x03\x04" + bytes(500)),
    ),
    "checkpoint that could run programs": Case(
        "chose a checkpoint that needs unsafe pickle",
        "I2AM_LoadTryOn", r"it names argparse\.Namespace.*i2am convert ",
        lambda b: b.checkpoint("unsafe.ckpt", {"state_dict": argparse.Namespace()}),
    ),
    "checkpoint of another model": Case(
        "chose an inpainting checkpoint of Stable Diffusion for Load Try-On",
        "I2AM_LoadTryOn", r"missing: cond_stage_model\.transformer\.vision_model\..*it has a text encoder, so",
        lambda b: b.checkpoint(
            "inpainting.ckpt",
            {
                "model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32, 9, 3, 3),
                "first_stage_model.quant_conv.weight": torch.zeros(8, 8, 1, 1),
                "cond_stage_model.transformer.text_model.final_layer_norm.weight": torch.zeros(8),
            },
        ),
    ),
    "checkpoint of another family": Case(
        "chose the family custom for a checkpoint of Paint-by-Example",
        "I2AM_LoadTryOn", r"family is 'custom' with 12 channels, but this file's U-Net takes 9; set family to paint-by-example",
        lambda b: b.checkpoint(
            "example.ckpt", {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32, 9, 3, 3)}, "custom"
        ),
    ),
    # ------------------------------------------------------------------ files
    "save elsewhere": Case(
        "saved maps under ../maps",
        "I2AM_SaveMaps", r"prefix '\.\./maps' leads out of the output folder; give one such as I2AM/maps",
        lambda b: b.alone("I2AM_SaveMaps", filename_prefix="../maps"),
    ),
    "save without a name": Case(
        "saved maps under a folder without a name",
        "I2AM_SaveMaps", r"a file name prefix such as I2AM/maps is needed, got 'I2AM/'",
        lambda b: b.alone("I2AM_SaveMaps", filename_prefix="I2AM/"),
    ),
    "report elsewhere": Case(
        "wrote a report to /tmp/report",
        "I2AM_Report", r"prefix '/tmp/report' leads out of the output folder; give one such as I2AM/maps",
        lambda b: b.alone("I2AM_Report", image=picture(GENERATED), filename_prefix="/tmp/report"),
    ),
    "report without a picture": Case(
        "left the picture of Report unconnected",
        "I2AM_Report", r"Required input is missing: image",
        lambda b: b.alone("I2AM_Report"),
    ),
    "report of too many references": Case(
        "gave Report two reference pictures for a run of one",
        "I2AM_Report", r"2 reference pictures were given, but the run had 1 reference\(s\); give one for each",
        lambda b: b.alone("I2AM_Report", image=picture(GENERATED), reference_image=picture(REFERENCE, 2)),
    ),
    "load from elsewhere": Case(
        "loaded maps from ../secret.safetensors",
        "I2AM_LoadMaps", r"'\.\./secret\.safetensors' leads out of its folder; choose one of the files in it",
        lambda b: b.file("../secret.safetensors"),
    ),
    "no such file": Case(
        "loaded a file that was deleted",
        "I2AM_LoadMaps", r"no file 'gone\.safetensors' in the input folder; press R to read the list anew",
        lambda b: b.file("gone.safetensors"),
    ),
    "broken file": Case(
        "loaded a maps file whose end is missing",
        "I2AM_LoadMaps", r"maps\.safetensors is not a whole safetensors file.*truncated one; choose a maps file, or save it",
        lambda b: _saved(b, lambda whole: whole[:-100]),
    ),
    "foreign file": Case(
        "loaded a model's safetensors file",
        "I2AM_LoadMaps", r"safetensors file, but not of I2AM maps.*choose one that I²AM Save Maps",
        _foreign,
    ),
    "newer file": Case(
        "loaded a maps file written by a newer version of this pack",
        "I2AM_LoadMaps", r"has version 3 of the maps format, this I2AM reads versions 1 to 2; update I2AM",
        lambda b: _saved(b, _described(lambda about: about.update(version=3))),
    ),
    "file that says too much": Case(
        "loaded a maps file from a stranger that says it has a thousand million heads",
        "I2AM_LoadMaps", r"damaged \(layers\.0\.heads is 1000000000, expected less than or equal to 1024\); save them again",
        lambda b: _saved(b, _described(lambda about: about["layers"][0].update(heads=10**9))),
    ),
    "file with NaN": Case(
        "loaded a maps file in which a number is NaN",
        "I2AM_LoadMaps", r"holds I2AM maps, but the tensor '.*' holds NaN or infinity; record them again",
        lambda b: _saved(b, _with_nan),
    ),
    "load by a long name": Case(
        "pasted a text of 5,000 letters as the file's name",
        "I2AM_LoadMaps", r"the file name 'x{20}…' has 5000 characters; give at most 255 bytes between two slashes",
        lambda b: b.file("x" * 5000),
    ),
    "save by a long name": Case(
        "pasted a text of 5,000 letters as the prefix of Save Maps",
        "I2AM_SaveMaps", r"the file name prefix 'x{20}…' has 5000 characters; give at most 200 bytes between two slashes",
        lambda b: b.alone("I2AM_SaveMaps", filename_prefix="x" * 5000),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Said:
    """Something that is no error, but is said where a person sees it.

    Attributes:
        did: what a person did, in plain words.
        node: the type of the node that says it.
        output: the index of the STRING or heat that it is said in.
        says: a regular expression of it.
        make: the graph; its last node says it.
    """

    did: str
    node: str
    output: int
    says: str
    make: Callable[[Bench], Prompt]


NO_ERRORS: dict[str, Said] = {
    "a budget of 1 MB": Said(
        "recorded 16 images with a memory budget of 1 MB",
        "I2AM_Map", 0, r"the memory budget of 1 MB was short: marginal maps are kept as their mean over heads",
        lambda b: b.behind(b.sampled({"budget_mb": 1}, images=16), "I2AM_Map", maps=["collect", 1], side="R2G"),
    ),
    "one mask of two": Said(
        "gave IMACS only the inpainting mask",
        "I2AM_IMACS", 2, r"IMACS_r: no reference mask was given IMACS_r is output as NaN \(not a number\)",
        lambda b: b.alone("I2AM_IMACS", inpaint_mask=LEFT, batch_index=0, side="mass"),
    ),
    "several references at once": Said(
        "gave the sampler two conditionings with reference tokens",
        "I2AM_Map", 0, r"cond has several conditionings with reference tokens; the first is recorded",
        lambda b: b.behind(
            b.sampled(positive=[*tiny.positive(), *tiny.positive(seed=12)]), "I2AM_Map", maps=["collect", 1], side="R2G"
        ),
    ),
}  # fmt: skip
