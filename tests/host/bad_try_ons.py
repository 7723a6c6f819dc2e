"""What goes wrong with a try-on's pictures and with data sets, see `bad_inputs`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from host_tests.bad_case import Case
from host_tests.maps_case import picture
from PIL import Image


def _agnostic_mask(root: Path) -> None:
    agnostic = Image.open(root / "agnostic-v3.2" / "10000001_00.jpg")
    agnostic.save(root / "agnostic-mask" / "10000001_00_mask.png")


def _small_garment(root: Path) -> None:
    path = root / "cloth" / "10000001_00.jpg"
    Image.open(path).resize((56, 80)).save(path)


TRY_ONS: dict[str, Case] = {
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
    "no data set": Case(
        "gave VITON-HD the folder test in place of the data set's",
        "I2AM_VitonHD", r"test is no data set of a kind that is known.*looks like VITON-HD: give that folder",
        lambda b: b.data_set(folder="data/test"),
    ),
    "pair beyond the last": Case(
        "asked VITON-HD for index 3 of three pairs",
        "I2AM_VitonHD", r"index 3 was asked for, but there are 3 pairs, counted from 0",
        lambda b: b.data_set(index=3),
    ),
    "data set with a picture missing": Case(
        "deleted a garment's picture of a data set",
        "I2AM_VitonHD", r"1 of 3 pairs cannot be used: missing \(reference\): 1 of 3; .*there is no .*cloth.10000001_00\.jpg",
        lambda b: b.data_set(lambda root: (root / "cloth" / "10000001_00.jpg").unlink(), count=3),
    ),
    "data set with agnostic pictures as masks": Case(
        "unpacked agnostic pictures into a data set's folder of masks",
        "I2AM_VitonHD", r"no mask \(inpaint_mask\): 1 of 3; .*is this the agnostic picture.*save masks as white on black",
        lambda b: b.data_set(_agnostic_mask, count=3),
    ),
    "batch of several sizes": Case(
        "asked VITON-HD for a batch of garments of two sizes",
        "I2AM_VitonHD", r"is 112 x 160 pixels, that of 10000001_00 56 x 80 pixels.*take them as a list",
        lambda b: b.data_set(_small_garment, count=3, layout="batch"),
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
        "I2AM_LoadTryOn", r"it has a text encoder, so.*missing: cond_stage_model\.transformer\.vision_model\.",
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
}  # fmt: skip
