"""IMACS: do the maps lie inside the masks?"""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..i2am.levels.batch import images_of
from ..i2am.levels.choice import Choice
from ..i2am.levels.presets import THRESHOLD
from ..i2am.outputs.score_card import score_cards
from ..i2am.scores.imacs import LAMBDA, SCORED
from ..i2am.scores.run import score_image
from ..i2am.scores.table import mean_of, scores_text
from .base import Maps, check, field, pictures, preview, run_pictures, schema
from .base import image as image_of
from .fields import batch_index, branch, placed_only, preset, progress, reference

NAN = "NaN (not a number) where there is no score: no mask, a flat map, or a map that the recording cannot give."


class IMACS(io.ComfyNode):
    """The score of both maps against both masks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_IMACS",
            display_name="I²AM IMACS",
            description="Scores whether the reference's information went into the inpainting mask (IMACS_g) and came from the "
            "object (IMACS_r): mean inside − λ × mean outside, with baselines beside it.",
            search_aliases=["score", "metric", "evaluate", "attention in mask", "IMACS"],
            is_output_node=True,
            inputs=[
                field(Maps, "maps", tooltip="From I²AM Collect, Look or Load Maps."),
                field(
                    io.Mask,
                    "inpaint_mask",
                    optional=True,
                    tooltip="Lies on the generated image: 1 = the area that was to change, as given to the inpainting. "
                    "IMACS_g scores the map on that image against it. Empty: the mask given to I²AM Record.",
                ),
                field(
                    io.Mask,
                    "reference_mask",
                    optional=True,
                    tooltip="Lies on the reference image: 1 = the object, such as the garment. IMACS_r scores the map "
                    "on that image against it, and needs inpaint_mask too (preset official does not).",
                ),
                field(
                    io.Image,
                    "image",
                    optional=True,
                    tooltip="The generated image, for the card; one, or one per image of the run. Empty: a kept one, or grey.",
                ),
                field(
                    io.Image,
                    "reference_image",
                    optional=True,
                    tooltip="The reference image, for the card. Empty: the small picture kept with the maps, or grey.",
                ),
                field(
                    io.Float,
                    "lambda",
                    default=LAMBDA,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="λ, the weight of what lies outside the mask. The paper uses 3.",
                ),
                field(
                    io.Float,
                    "threshold",
                    default=THRESHOLD,
                    min=0.0,
                    max=0.99,
                    step=0.05,
                    tooltip="Part of the min-maxed range; only values strictly above count. The paper uses 0.4.",
                ),
                preset(),
                field(
                    io.Combo,
                    "side",
                    options=list(SCORED),
                    default="R2G",
                    advanced=True,
                    tooltip="Which map on the generated image IMACS_g scores; R2G is the paper's. mirror: where the object "
                    "under reference_mask went, from a recording with pairwise detail.",
                ),
                branch(),
                reference(),
                batch_index(-1, "-1 scores all images; the numbers are then their means."),
                placed_only(),
            ],
            outputs=[
                io.Float.Output("imacs_g", tooltip=f"On the generated image; 1 is the best, −λ the worst. {NAN}"),
                io.Float.Output("imacs_r", tooltip=f"On the reference image; 1 is the best, −λ the worst. {NAN}"),
                io.String.Output("table", tooltip="Scores, means inside and outside, AUC, mass ratio, baselines and notes."),
                io.Image.Output("card", tooltip="The same as a picture, one per image of the batch."),
            ],
        )

    @classmethod
    def execute(
        cls,
        maps: Any,
        threshold: float,
        preset: str,
        inpaint_mask: Any = None,
        reference_mask: Any = None,
        image: Any = None,
        reference_image: Any = None,
        side: str = "R2G",
        branch: str = "cond",
        reference: int = 0,
        batch_index: int = -1,
        placed_only: bool = False,
        **named_lambda: float,  # no parameter can have the name of this widget
    ) -> io.NodeOutput:
        check(maps=maps)
        weight = named_lambda["lambda"]
        chosen = images_of(maps, batch_index)
        scored = [
            score_image(
                maps,
                inpaint_mask,
                reference_mask,
                Choice(branch, reference, i),
                side=side,
                placed_only=placed_only,
                preset=preset,
                weight=weight,
                threshold=threshold,
            )
            for i in progress(chosen)
        ]
        given = {
            "g": None if image is None else run_pictures(maps, image),
            "r": None if reference_image is None else pictures(reference_image),
        }
        cards = image_of(score_cards(maps, scored, threshold, reference, given))
        about = f"λ {weight:g}, threshold {threshold:g}, preset {preset}, side {side}, branch {branch}, reference {reference}"
        table = scores_text(scored, f"{about}, placed_only {placed_only}")
        return io.NodeOutput(mean_of(scored, "g"), mean_of(scored, "r"), table, cards, ui=preview(cards))
