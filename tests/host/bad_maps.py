"""What goes wrong with choosing, pointing at, drawing and scoring maps, see `bad_inputs`."""

from __future__ import annotations

import torch
from host_tests import tiny
from host_tests.bad_case import Case
from host_tests.graph_bench import Bench, Prompt
from host_tests.maps_case import GENERATED, REFERENCE, box, picture

TURNED = (GENERATED[1], GENERATED[0])  # another shape than any picture of the planted run
LEFT = box(GENERATED, 0, 0, 1, 0.5)


def _one_token(b: Bench) -> Prompt:
    one = {"rows": 1, "columns": 1}
    prompt = b.sampled(one, positive=tiny.positive(tokens=1), negative=tiny.negative(tokens=1))
    return b.behind(prompt, "I2AM_Map", maps=["collect", 1], side="G2R")


def _grey(size: tuple[int, int]) -> torch.Tensor:
    """An IMAGE without any texture."""
    return torch.full((1, *size, 3), 0.5)


def _plaid(size: tuple[int, int]) -> torch.Tensor:
    """An IMAGE of random blocks, the same at any size."""
    blocks = torch.rand(1, 3, 10, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(blocks, size, mode="bicubic").clamp(0, 1).movedim(1, -1)


MAPS: dict[str, Case] = {
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
        "I2AM_Map", r"heads is 'two'; expected numbers such as 0,2,5",
        lambda b: b.alone("I2AM_Map", heads="two"),
    ),
    "routes of a U-Net": Case(
        "asked Map for the routes of a U-Net, whose text looks at nothing",
        "I2AM_Map", r"routes is unavailable: the chosen layers attend to references alone.*use the mass of a reference",
        lambda b: b.alone("I2AM_Map", side="routes"),
    ),
    "via text of a U-Net": Case(
        "asked Map for the way by the text of a U-Net",
        "I2AM_Map", r"this recording has no via text: the route via text was not recorded.*mass gives the direct way",
        lambda b: b.alone("I2AM_Map", side="via text"),
    ),
    "heads of G2R via text": Case(
        "chose heads of G2R via text, which is a mean over them",
        "I2AM_Map", r"G2R via text is kept as its mean over heads.*leave out the choice of heads",
        lambda b: b.alone("I2AM_Map", side="G2R via text", heads="0"),
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
        "I2AM_Map", r"steps is '0-3'; expected first:stop, such as 0:10",
        lambda b: b.alone("I2AM_Map", steps="0-3"),
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
        "I2AM_Map", r"too short for single heads.*raise budget_mb on I²AM Record",
        lambda b: b.behind(b.sampled({"budget_mb": 1}, images=16), "I2AM_Map", maps=["collect", 1], side="R2G", level="HLAM"),
    ),
    # ------------------------------------------------------------------ pointing
    "no pairwise maps": Case(
        "asked for the map of a patch, where Record's detail was marginals",
        "I2AM_PatchMap", r"none of the chosen layers has pairwise maps.*set detail to pairwise on I²AM Record",
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
        "I2AM_PatchMap", r"points is '\[\[1, 2\]'; expected pixels, such as \[\[120, 80\], \[64, 200\]\], or 120, 80 as",
        lambda b: b.alone("I2AM_PatchMap", points="[[1, 2]"),
    ),
    "points that are numbers": Case(
        "wrote points as a flat list",
        "I2AM_PatchMap", r"points is '\[20, 60\]'; expected pixels, such as \[\[120, 80\], \[64, 200\]\], or 120, 80 as",
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
        "I2AM_Grid", r"neither heat nor image is connected.*connect one of them",
        lambda b: b.alone("I2AM_Grid"),
    ),
    # ------------------------------------------------------------------ scoring
    "no mask": Case(
        "asked for IMACS without a mask",
        "I2AM_IMACS", r"no mask is given, and IMACS needs a mask; connect the inpainting mask, the reference mask, or both",
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
    "table without a score": Case(
        "connected no score to Score Table",
        "I2AM_ScoreTable", r"there is no score to write down; connect imacs_g, imacs_r or value",
        lambda b: b.alone("I2AM_ScoreTable"),
    ),
    "column of the table's own": Case(
        "called the column of Score Table's value as one of its own",
        "I2AM_ScoreTable", r"value_name is 'seed', which is a column of the node's own; choose another, such as ssim",
        lambda b: b.alone("I2AM_ScoreTable", value=b.link(0.5), value_name="seed"),
    ),
    "nothing to match": Case(
        "ranked the layers by pictures without any texture",
        "I2AM_RankLayers", r"SIFT finds no detail on both pictures.*take a reference with more texture",
        lambda b: b.alone("I2AM_RankLayers", image=b.link(_grey(GENERATED)), reference_image=b.link(_grey(REFERENCE))),
    ),
    "ranked on another picture": Case(
        "ranked the layers by a picture of another shape",
        "I2AM_RankLayers", r"the picture is 400 x 64 pixels, but the recorded generated image is 64 x 80: another shape",
        lambda b: b.alone("I2AM_RankLayers", image=b.link(_grey((64, 400))), reference_image=b.link(_grey(REFERENCE))),
    ),
    "ranked with other effects": Case(
        "connected Proof's effects of another question to Rank Layers",
        "I2AM_RankLayers", r"effects are what I²AM Proof gives for the question 'which layers matter\?'.*or nothing",
        lambda b: b.alone(
            "I2AM_RankLayers",
            image=b.link(_plaid(GENERATED)),
            reference_image=b.link(_plaid(REFERENCE)),
            effects=b.link('{"question": "deletion curve"}'),
        ),
    ),
    "ranked into no name": Case(
        "ranked the layers into a file outside of the output folder",
        "I2AM_RankLayers", r"the file name prefix '\.\./layers' leads out of the output folder",
        lambda b: b.alone(
            "I2AM_RankLayers",
            image=b.link(_plaid(GENERATED)),
            reference_image=b.link(_plaid(REFERENCE)),
            filename="../layers",
        ),
    ),
    "ranked on the reference itself": Case(
        "connected the reference's picture to both pictures of Rank Layers",
        "I2AM_RankLayers", r"Check the wires: image is the picture of the reference\. Connect the generated picture",
        lambda b: b.alone("I2AM_RankLayers", image=b.link(_plaid(REFERENCE)), reference_image=b.link(_plaid(REFERENCE))),
    ),
    "ranked by an empty mask": Case(
        "ranked the layers under an empty inpainting mask",
        "I2AM_RankLayers", r"the inpainting mask is empty: no pixel of it is 1; connect another, or none",
        lambda b: b.alone(
            "I2AM_RankLayers",
            image=b.link(_grey(GENERATED)),
            reference_image=b.link(_grey(REFERENCE)),
            inpaint_mask=b.link(torch.zeros(1, *GENERATED)),
        ),
    ),
}  # fmt: skip
