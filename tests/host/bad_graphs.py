"""What goes wrong with sockets, with recording, and with finding a run again, see `bad_inputs`."""

from __future__ import annotations

import torch
from host_tests import tiny
from host_tests.bad_case import Case
from host_tests.graph_bench import Bench, Prompt
from host_tests.maps_case import GENERATED, picture

AUTO = {"reference_tokens": "auto"}


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


def _large_vae(b: Bench) -> Prompt:
    class Vae:
        """As one of SD1.5: a latent cell is 8 pixels."""

        def encode(self, pictures: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(pictures), 4, pictures.shape[1] // 8, pictures.shape[2] // 8)

    return b.try_on(vae=b.link(Vae()))


GRAPHS: dict[str, Case] = {
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
        "I2AM_Overlay",
        r"this IMAGE has the shape \(80, 64, 3\), expected \(pictures, height, width, 3\).*connect what a node puts out",
        lambda b: b.after_map("I2AM_Overlay", image=picture(GENERATED)[0]),
    ),
    # ------------------------------------------------------------------ recording
    "another kind of network": Case(
        "recorded a video model",
        "I2AM_Record", r"this MODEL is a WanModel, which cannot.*what can: U-Nets.*FLUX\.1 Kontext.*Connect one.*diffusers",
        lambda b: b.sampled({"model": b.link(b.network("WanModel", "comfy.ldm.wan.model"))}),
    ),
    "kernels of their own": Case(
        "recorded a FLUX model of Nunchaku's loader",
        "I2AM_Record", r"ComfyFluxWrapper \(of .*unchaku.*kernels of its own.*load the model with ComfyUI's own loader",
        lambda b: b.sampled({"model": b.link(b.network("ComfyFluxWrapper", "custom_nodes.ComfyUI-nunchaku.wrappers.flux"))}),
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
    "a text as negative": Case(
        "connected a text prompt's conditioning as the negative of a try-on",
        "KSampler", r"the sampler's negative conditioning lacks the channels.*connect its negative to the sampler's negative",
        lambda b: b.demo(sampler={"negative": b.link(tiny.negative())}),
    ),
    "another latent": Case(
        "sampled the demo from an empty latent of 512 × 512",
        "KSampler", r"this latent is 64 x 64 cells, but the conditioning was made for 32 x 24; connect the LATENT of I²AM",
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
    "Look for a region that is empty": Case(
        "connected an empty mask to Look's region_mask",
        "I2AM_Look", r"mask of region .* holds no pixel above 0.5.*paint it on the reference",
        lambda b: b.look(b.sampled(), region_mask=b.link(torch.zeros(1, 16, 16))),
    ),
    "Look for several regions at once": Case(
        "connected a batch of masks to Look's region_mask",
        "I2AM_Look", r"region mask holds 2 masks",
        lambda b: b.look(b.sampled(), region_mask=b.link(torch.ones(2, 16, 16))),
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
}  # fmt: skip
