"""Which layers of a model to believe, measured on its own runs."""

from __future__ import annotations

from typing import Any

import folder_paths
from comfy_api.latest import io
from torch import Tensor

from ..i2am.evaluation.layers import rank_by_details
from ..i2am.geometry.masks import mask_of
from ..i2am.levels.batch import images_of
from ..i2am.levels.choice import Choice
from ..i2am.outputs.layer_preset import add_run, effects_of
from ..i2am.outputs.layer_sheet import layer_picture, layer_table
from ..i2am.outputs.names import check_prefix, inside
from ..i2am.pictures.matching import one_of
from ..i2am.scores.ranking import ACCURACY, ORDERS
from .base import Maps, check, field, pictures, preview, run_pictures, schema
from .base import image as image_of
from .fields import batch_index, branch

ENDING = ".json"


class RankLayers(io.ComfyNode):
    """Adds a run to what is known of a model's layers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_RankLayers",
            display_name="I²AM Rank Layers",
            description="Which layers of this model to believe: those whose patches look at the place on the reference where "
            "a classical matcher (SIFT) finds the same detail. Every run adds to a file, until there are enough details.",
            search_aliases=["best layers", "layer selection", "SIFT", "matching accuracy", "preset", "heads", "trust"],
            is_output_node=True,
            inputs=[
                field(Maps, "maps", tooltip="From I²AM Look, Collect or Load Maps, with pairwise detail of each layer."),
                field(io.Image, "image", tooltip="The generated picture, from VAE Decode; one, or one per image of the run."),
                field(io.Image, "reference_image", tooltip="The picture of the reference that reference_index names."),
                field(
                    io.Mask,
                    "inpaint_mask",
                    optional=True,
                    tooltip="On the generated picture, 1 = repainted; details outside of it are left out.",
                ),
                field(
                    io.Mask,
                    "reference_mask",
                    optional=True,
                    tooltip="On the reference, 1 = the object; details outside of it are left out.",
                ),
                field(
                    io.String,
                    "filename",
                    default="I2AM/layers",
                    tooltip="The file in the output folder, without .json. Every run adds to it; take one for each model.",
                ),
                field(
                    io.Boolean,
                    "heads",
                    default=False,
                    tooltip="Look at each head too; needs detail 'pairwise per head' on I²AM Record.",
                ),
                branch(),
                field(
                    io.Int,
                    "reference_index",
                    default=0,
                    min=0,
                    max=63,
                    advanced=True,
                    tooltip="Which reference of the run, counted from 0, reference_image and reference_mask are of.",
                ),
                batch_index(0, "Each image of a batch is a run of its own: queue them one after another."),
                field(
                    io.String,
                    "effects",
                    default="",
                    optional=True,
                    force_input=True,
                    tooltip="From I²AM Proof with the question which layers matter: what each layer changes when it is cut.",
                ),
                field(
                    io.Combo,
                    "ranked_by",
                    options=list(ORDERS),
                    default=ACCURACY,
                    optional=True,
                    advanced=True,
                    tooltip="Which layers come first. Which are believed is decided by accuracy alone.",
                ),
            ],
            outputs=[
                io.Image.Output("picture", tooltip="What is said of the layers, and how often each points right."),
                io.String.Output(
                    "layers",
                    tooltip="The layers to believe, for layers of I²AM Map; empty, which means all, while there are none.",
                ),
                io.String.Output("table", tooltip="All layers, the best first, and the heads behind them."),
                io.String.Output("path", tooltip="The file's name relative to the output folder, such as I2AM/layers.json."),
            ],
        )

    @classmethod
    def execute(
        cls,
        maps: Any,
        image: Tensor,
        reference_image: Tensor,
        filename: str,
        heads: bool = False,
        branch: str = "cond",
        reference_index: int = 0,
        batch_index: int = 0,
        inpaint_mask: Tensor | None = None,
        reference_mask: Tensor | None = None,
        effects: str = "",
        ranked_by: str = ACCURACY,
    ) -> io.NodeOutput:
        check(maps=maps)
        file = check_prefix(filename.removesuffix(ENDING)) + ENDING
        (chosen,) = images_of(maps, batch_index)
        cut = effects_of(effects, reference_index)
        inside_mask, object_ = (
            None if mask is None else mask_of(mask, chosen, maps.images, name)
            for name, mask in (("inpaint_mask", inpaint_mask), ("reference_mask", reference_mask))
        )
        shown = one_of(run_pictures(maps, image), chosen, maps.images), one_of(pictures(reference_image), chosen, maps.images)
        choice = Choice(branch, reference_index, chosen)
        found = rank_by_details(maps, *shown, choice, inpaint_mask=inside_mask, reference_mask=object_, heads=heads)
        path = inside(folder_paths.get_output_directory(), file)
        preset = add_run(path, maps, found, reference_index, chosen, cut)
        picture = image_of([layer_picture(preset, ranked_by)])
        return io.NodeOutput(picture, " ".join(preset.believed), layer_table(preset, ranked_by), file, ui=preview(picture))
