"""From maps to heats: a level over steps, heads and layers, the map of one patch, and the threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfy_api.latest import io

from ..i2am.levels.batch import images_of, join
from ..i2am.levels.choice import choice_of
from ..i2am.levels.heat import shown
from ..i2am.levels.marginal import LEVELS, level_of
from ..i2am.levels.presets import THRESHOLD
from ..i2am.levels.share import SHARES
from ..i2am.levels.word_maps import SIDE as WORDS
from ..i2am.levels.word_maps import told_words
from ..i2am.maps.kinds import level_sides
from ..i2am.pictures.pointed import SRAM_AND_MIRROR, patch_heat
from .base import Heat, Maps, check, field, pictures, run_pictures, schema
from .base import image as image_of
from .fields import filters, placed_only, preset, progress

HEAT = "Raw values, labels and picture size, for I²AM Threshold, Overlay, Grid and Animate."


class Map(io.ComfyNode):
    """One level of a recording."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_Map",
            display_name="I²AM Map",
            description="Where the reference's information went (R2G, mass) or which of it was used (G2R), over all steps, "
            "heads and layers (ULAM), or by time group (TLAM), head (HLAM) or layer (LLAM).",
            search_aliases=[
                "attribution map",
                "attention map",
                "heat map",
                "ULAM",
                "TLAM",
                "HLAM",
                "LLAM",
                "R2G",
                "G2R",
                "DAAM",
            ],
            inputs=[
                field(Maps, "maps", tooltip="From I²AM Collect, Look or Load Maps."),
                field(
                    io.Combo,
                    "side",
                    options=[*level_sides(calls="any"), *SHARES, *level_sides(calls="joint"), WORDS],
                    default="R2G",
                    tooltip="Where it went, on the generated image: R2G (as in the paper; comparative, not causal), "
                    "R2G-balanced (each reference token splits one vote among all places), mass (what each place spends on "
                    "the reference). What was used, on the reference image: G2R. Which one, of several: share (what each place "
                    "spends on each reference, the text and the picture itself, a panel each), which reference (the shares "
                    "among the references). By which way: routes (each reference directly and via text), or one reference's "
                    "via text and G2R via text. Which words of the prompt were read: words (needs detail '… and words' on I²AM "
                    "Record).",
                ),
                field(
                    io.Combo,
                    "level",
                    options=list(LEVELS),
                    default="ULAM",
                    tooltip="All in one map: ULAM. Over time, a panel per group of steps: TLAM. By head: HLAM (not of shares). "
                    "By layer, all of them: LLAM.",
                ),
                field(
                    io.Int,
                    "groups",
                    default=5,
                    min=1,
                    max=1000,
                    tooltip="Time groups of TLAM, such as 5: with 50 steps 0–9, 10–19, …; with fewer steps than groups, one "
                    "per step. The other levels ignore it.",
                ),
                preset(),
                *filters(),
                placed_only(),
                field(
                    io.Mask,
                    "reference_mask",
                    optional=True,
                    tooltip="On the reference image, 1 = the object. The preset official shows G2R times it; others ignore it.",
                ),
                field(
                    io.String,
                    "word",
                    default="",
                    optional=True,
                    tooltip="Of the side words: which words or phrases of the prompt, such as dress; red shoes. Empty: all of "
                    "them, beside the references and the rest. Other sides ignore it.",
                ),
            ],
            outputs=[
                Heat.Output("heat", tooltip=HEAT),
                io.Mask.Output("mask", tooltip="Each panel min-maxed to 0–1 at picture size, (panels, height, width)."),
                io.String.Output("labels", tooltip="The panels' labels, a line each; of words with their mean shares."),
            ],
        )

    @classmethod
    def execute(
        cls,
        maps: Any,
        side: str,
        level: str,
        groups: int,
        preset: str,
        layers: str = "",
        heads: str = "",
        steps: str = "",
        branch: str = "cond",
        reference: int = 0,
        batch_index: int = -1,
        placed_only: bool = False,
        reference_mask: Any = None,
        word: str = "",
    ) -> io.NodeOutput:
        check(maps=maps)
        chosen = images_of(maps, batch_index)
        choice = choice_of(layers, heads, steps, branch=branch, reference=reference)
        found = [
            level_of(
                maps,
                level,
                side,
                choice.on_image(image),
                groups=groups,
                preset=preset,
                placed_only=placed_only,
                reference_mask=reference_mask,
                word=word,
            )
            for image in progress(chosen)
        ]
        heat = join(found, chosen, maps.frames)
        labels = told_words(heat) if side == WORDS else heat.labels
        return io.NodeOutput(heat, shown(heat), "\n".join(labels))


class PatchMap(io.ComfyNode):
    """The map of one or several patches, or of a region."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_PatchMap",
            display_name="I²AM Patch Map",
            description="Point at a patch of one picture and see its map on the other: which reference patches a generated "
            "patch used (SRAM), or where a reference patch went (mirror). Needs a recording with pairwise maps.",
            search_aliases=["SRAM", "patch attribution", "click", "correspondence", "point"],
            inputs=[
                field(Maps, "maps", tooltip="From I²AM Collect, Look or Load Maps; recorded with pairwise detail."),
                field(
                    io.Combo,
                    "direction",
                    options=list(SRAM_AND_MIRROR),
                    tooltip="SRAM: point at the generated image, see which reference patches it used. mirror: point at the "
                    "reference image, see where that patch went on the generated one.",
                ),
                field(io.Int, "x", default=48, min=0, max=16383, tooltip="Pixels from the left of the picture pointed at."),
                field(io.Int, "y", default=64, min=0, max=16383, tooltip="Pixels from the top of the picture pointed at."),
                field(
                    io.String,
                    "points",
                    default="",
                    optional=True,
                    tooltip="Several points in pixels, such as [[120, 80], [64, 200]], or 120, 80 as captions, tables and "
                    "reports write it; they go before x and y, and each patch gets a panel.",
                ),
                field(
                    io.Image,
                    "image",
                    optional=True,
                    tooltip="The picture pointed at: generated for SRAM, reference for the mirror. x, y and points count in "
                    "its pixels. Without it they count in those of the recorded picture.",
                ),
                field(
                    io.Mask,
                    "region",
                    optional=True,
                    tooltip="A painted region of that picture instead of points; gives the mean over its patches.",
                ),
                preset(),
                *filters(),
                field(
                    io.String,
                    "pins",
                    optional=True,
                    force_input=True,
                    tooltip="From I²AM Explorer: its named patches and regions on the picture pointed at, a panel each. They "
                    "go before points, x and y.",
                ),
            ],
            outputs=[
                Heat.Output("heat", tooltip=HEAT),
                io.Mask.Output("mask", tooltip="Each panel min-maxed to 0–1 at the size of the picture that it lies on."),
                io.Image.Output("marked", tooltip="The picture pointed at, with the patches marked."),
            ],
        )

    @classmethod
    def execute(
        cls,
        maps: Any,
        direction: str,
        x: int,
        y: int,
        preset: str,
        points: str = "",
        image: Any = None,
        region: Any = None,
        layers: str = "",
        heads: str = "",
        steps: str = "",
        branch: str = "cond",
        reference: int = 0,
        batch_index: int = -1,
        pins: str = "",
    ) -> io.NodeOutput:
        check(maps=maps)
        chosen = images_of(maps, batch_index)
        choice = choice_of(layers, heads, steps, branch=branch, reference=reference)
        points_at_generated = SRAM_AND_MIRROR[direction] == "reference"
        given = None if image is None else run_pictures(maps, image) if points_at_generated else pictures(image)
        found = [
            patch_heat(
                maps,
                SRAM_AND_MIRROR[direction],
                (x, y),
                choice.on_image(i),
                points=points,
                pictures=given,
                region=region,
                preset=preset,
                pins=pins,
            )
            for i in progress(chosen)
        ]
        heat = join([heat for heat, _ in found], chosen, maps.frames)
        return io.NodeOutput(heat, shown(heat), image_of([picture for _, picture in found]))


class Threshold(io.ComfyNode):
    """Keeps of a heat what lies above a part of its range."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_Threshold",
            display_name="I²AM Threshold",
            description="Shows only what lies strictly above a part of the range, as in the paper (eqs. 8 and 9). The heat "
            "keeps its raw values and carries the threshold along, for what draws it.",
            search_aliases=["heat map to mask", "binarize", "min-max"],
            inputs=[
                field(Heat, "heat", tooltip="From I²AM Map or Patch Map."),
                field(
                    io.Float,
                    "threshold",
                    default=THRESHOLD,
                    min=0.0,
                    max=0.99,
                    step=0.05,
                    tooltip="Part of the min-maxed range; values strictly above are kept. The paper uses 0.4.",
                ),
                field(
                    io.Combo,
                    "scale",
                    options=["each", "shared"],
                    default="each",
                    tooltip="each: every panel is stretched to its own range. shared: one range for all panels, "
                    "so that they can be compared.",
                ),
            ],
            outputs=[
                Heat.Output("heat", tooltip="The same raw values, with the threshold and the scale that pictures of it show."),
                io.Mask.Output("mask", tooltip="Min-maxed values where above the threshold, 0 elsewhere."),
            ],
        )

    @classmethod
    def execute(cls, heat: Any, threshold: float, scale: str) -> io.NodeOutput:
        check(heat=heat)
        kept = replace(heat, threshold=threshold, scale=scale)
        return io.NodeOutput(kept, shown(kept))
