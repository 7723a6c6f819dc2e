"""Proof: a planned set of runs with the same noise that answers a question by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..i2am.errors import I2AMError
from ..i2am.geometry.masks import mask_of
from ..i2am.geometry.parts import parts_of
from ..i2am.hosts.comfy.finished import FINISHED
from ..i2am.hosts.comfy.proof import Proof as Runs
from ..i2am.hosts.comfy.proof import check_sockets, decoded
from ..i2am.interventions.cells import fractions_of
from ..i2am.interventions.deletion import FRACTIONS
from ..i2am.interventions.questions import QUESTIONS, REGION, Plan
from ..i2am.levels.choice import layers_of
from ..i2am.maps.kinds import level_sides
from ..i2am.outputs.proven import prove
from .base import Heat, Maps, check, field, preview, schema
from .base import image as image_of
from .fields import layout_by_hand, reference, reference_parts, tokens_by_hand


class Proof(io.ComfyNode):
    """Runs a planned set of cuts."""

    def __init__(self) -> None:
        super().__init__()
        # the host keeps one object for each node of the graph until it is asked to free its memory
        FINISHED.keep_while(self)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_Proof",
            display_name="I²AM Proof",
            description="Did it matter? In the place of SamplerCustomAdvanced: samples the same noise once as it is and once "
            "for each cut of a planned set, and shows what each cut changed. Interrupted, it goes on where it stopped.",
            search_aliases=["ablation", "does it matter", "deletion curve", "causal", "knock out", "faithfulness"],
            is_output_node=True,
            inputs=[
                field(io.Noise, "noise", tooltip="From Random Noise; every run starts from it."),
                field(io.Guider, "guider", tooltip="From CFG Guider or Basic Guider, with a model that attends to references."),
                field(io.Sampler, "sampler", tooltip="From KSamplerSelect; such as euler: one without fresh noise."),
                field(io.Sigmas, "sigmas", tooltip="From Basic Scheduler; the number of steps of each run."),
                field(io.Latent, "latent_image", tooltip="Of one picture."),
                field(io.Vae, "vae", tooltip="Decodes what each run made."),
                field(
                    io.Combo,
                    "question",
                    options=list(QUESTIONS),
                    tooltip="Which runs are made. Each reference: one uncut, one without each. This region: one uncut, one "
                    "without the region, and some without a random region of as many tokens. Deletion curve: one uncut, and "
                    "by the map, at random and reversed one for each of the fractions. Which layers: one uncut, and one for "
                    "each layer, which alone loses sight of the reference.",
                ),
                reference(),
                field(
                    io.Combo,
                    "map",
                    options=list(level_sides()),
                    default="G2R",
                    tooltip="The map whose order the deletion curve follows: G2R cuts cells of the reference; the others cut "
                    "the direct way from cells of the generated picture to the reference.",
                ),
                field(
                    io.String,
                    "fractions",
                    default=" ".join(f"{f:g}" for f in FRACTIONS),
                    tooltip="Of the deletion curve: parts of the cells that are cut, such as 0.1 0.25 0.5 1. Each costs a run "
                    "in each of three orders; 1 costs one in all.",
                ),
                field(
                    io.Int,
                    "random_regions",
                    default=2,
                    min=1,
                    max=16,
                    tooltip="How many random regions are cut to compare with, a run each.",
                ),
                field(io.Int, "random_seed", default=0, min=0, max=2**31 - 1, tooltip="Of random regions and of random order."),
                *tokens_by_hand(),
                field(
                    io.Mask,
                    "region",
                    optional=True,
                    tooltip="On the reference's picture, 1 = the region that the question is about.",
                ),
                field(
                    io.Mask,
                    "picture_region",
                    optional=True,
                    tooltip="On the generated picture, 1 = where a change is expected; its share of each change is said.",
                ),
                field(Maps, "maps", optional=True, tooltip="Of the uncut run. Empty: the uncut run is recorded by itself."),
                reference_parts(),
                field(
                    io.String,
                    "layers",
                    default="",
                    optional=True,
                    tooltip="Of which layers: names or globs, a run for each, such as double.* single.*. Empty: a run for each "
                    "layer.",
                    advanced=True,
                ),
            ],
            outputs=[
                io.Image.Output("sheet", tooltip="The uncut picture, each run's, and where it changed."),
                io.String.Output("table", tooltip="The answer, and a line of figures for each run."),
                io.Image.Output("chart", tooltip="The deletion curves, or how much each cut changed."),
                Heat.Output("heat", tooltip="Where each run's picture changed, a panel each, on one scale."),
                io.Image.Output("images", tooltip="The uncut picture, then each run's, in the order of the table."),
                io.String.Output("effects", tooltip="Of which layers matter, for I²AM Rank Layers; empty for other questions."),
            ],
        )

    @classmethod
    def execute(
        cls,
        noise: Any,
        guider: Any,
        sampler: Any,
        sigmas: Any,
        latent_image: Any,
        vae: Any,
        question: str,
        reference: int,
        fractions: str,
        random_regions: int,
        random_seed: int,
        reference_tokens: str,
        rows: int,
        columns: int,
        leading_tokens: int,
        region: Tensor | None = None,
        picture_region: Tensor | None = None,
        maps: Any = None,
        reference_parts: str = "",
        map: str = "G2R",
        layers: str = "",
    ) -> io.NodeOutput:
        check_sockets(vae=vae)
        if maps is not None:
            check(maps=maps)
        if question == REGION and region is None:
            raise I2AMError("the question is about a region, but none is connected; paint one on the reference and connect it")
        layout = layout_by_hand(reference_tokens, rows, columns, leading_tokens)
        runs = Runs(noise, guider, sampler, sigmas, latent_image, layout, parts_of(reference_parts))
        plan = Plan(
            question,
            reference,
            region=None if region is None else mask_of(region, 0, 1, "region"),
            side=map,
            fractions=fractions_of(fractions),
            others=random_regions,
            seed=random_seed,
            layers=layers_of(layers) or (),
        )
        inside = None if picture_region is None else mask_of(picture_region, 0, 1, "picture region")
        found = prove(plan, runs, lambda latent: decoded(vae, latent), maps, inside, _bar())
        sheet, chart = image_of([found.sheet]), image_of([found.chart])
        effects = (
            json.dumps({"question": question, "reference": reference, "layers": found.of_layers}) if found.of_layers else ""
        )
        return io.NodeOutput(sheet, found.table, chart, found.heat, found.pictures, effects, ui=preview(sheet))


def _bar() -> Callable[[int, int], object]:
    """What the host's progress bar is told: how many steps are done, and of how many."""
    from comfy.utils import ProgressBar

    bar = ProgressBar(1)
    return bar.update_absolute
