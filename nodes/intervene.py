"""Interventions: runs with the same noise in which something is cut."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..i2am.geometry.parts import parts_of
from ..i2am.hosts.comfy.intervene import CutOptions, intervene
from ..i2am.interventions.plan import BOTH, ROUTES, WHAT, Cut, tokens_of
from ..i2am.levels.choice import heads_of, layers_of, steps_of
from .base import field, schema
from .fields import AUTO, layout_by_hand, reference, reference_parts, tokens_by_hand

BRANCHES = {AUTO: None, "both": BOTH, "cond": BOTH[:1], "uncond": BOTH[1:]}


class Intervene(io.ComfyNode):
    """Patches a model so that something is cut in its samplers' runs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_Intervene",
            display_name="I²AM Intervene",
            description="Put it between the model and KSampler, and sample the same seed with and without it: takes a "
            "reference, a region of it or text out of the model's attention, so that what changes in the picture was "
            "caused by it.",
            search_aliases=[
                "ablation",
                "knock out",
                "cut attention",
                "attention mask",
                "causal",
                "intervention",
                "does it matter",
            ],
            inputs=[
                field(io.Model, "model", tooltip="As for I²AM Record; that node may stand before or after this one."),
                field(
                    io.Combo,
                    "cut",
                    options=list(WHAT),
                    tooltip="What is taken away. 'nothing' leaves the run as it is, to compare with.",
                ),
                reference(),
                field(
                    io.Combo,
                    "route",
                    options=list(ROUTES),
                    tooltip="From whom: all tokens; the generated picture's alone (the direct way); the text's alone (the way "
                    "by the text); the other references' alone. U-Nets and Wan only have the direct way.",
                ),
                field(
                    io.String,
                    "steps",
                    default="",
                    tooltip="Steps first:stop such as 0:10, half-open: step 10 is not included. 0 is the noisiest. Empty: all.",
                ),
                field(
                    io.String,
                    "layers",
                    default="",
                    tooltip="Names or globs such as 'output.* input.4.1.0' or 'double.*'; empty: all.",
                    advanced=True,
                ),
                field(
                    io.String,
                    "heads",
                    default="",
                    tooltip="Head numbers such as 0,2,5, counted from 0. Empty: all.",
                    advanced=True,
                ),
                field(
                    io.Combo,
                    "branch",
                    options=list(BRANCHES),
                    tooltip="Half of classifier-free guidance. auto: both, but cond alone for chosen tokens of the text.",
                    advanced=True,
                ),
                field(
                    io.String,
                    "tokens",
                    default="",
                    tooltip="With cut 'text': numbers of its tokens such as 2 5:8 (5 to 7), counted from 0. Empty: all.",
                    advanced=True,
                ),
                *tokens_by_hand(),
                field(
                    io.Mask,
                    "region",
                    optional=True,
                    tooltip="1 = taken away, painted on the reference's picture. Empty: the whole reference.",
                ),
                field(
                    io.Mask,
                    "picture_region",
                    optional=True,
                    tooltip="1 = cut, painted on the generated picture: only its tokens there lose sight. Needs route "
                    "'generated'.",
                ),
                reference_parts(),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="For KSampler or I²AM Record."),
                io.String.Output(display_name="said", tooltip="What is cut, in a plain sentence."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        cut: str,
        reference: int,
        route: str,
        steps: str,
        layers: str,
        heads: str,
        branch: str,
        tokens: str,
        reference_tokens: str,
        rows: int,
        columns: int,
        leading_tokens: int,
        region: Tensor | None = None,
        picture_region: Tensor | None = None,
        reference_parts: str = "",
    ) -> io.NodeOutput:
        what = Cut(
            cut,
            reference,
            region=region,
            tokens=tokens_of(tokens),
            route=route,
            where=picture_region,
            steps=steps_of(steps),
            layers=layers_of(layers),
            heads=heads_of(heads),
            branches=BRANCHES[branch],
        )
        layout = layout_by_hand(reference_tokens, rows, columns, leading_tokens)
        return io.NodeOutput(*intervene(model, CutOptions(what, layout, parts_of(reference_parts))))
