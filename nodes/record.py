"""Recording: patch a MODEL before its sampler, and collect the maps of the sampler's latent after it."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..i2am.geometry.parts import parts_of
from ..i2am.hosts.comfy.record import ComfyRecording, Options, attach
from ..i2am.hosts.registry import REGISTRY
from ..i2am.levels.choice import layers_of
from .base import Maps, Recording, check, field, samples, schema
from .fields import layout_by_hand, reference_parts, tokens_by_hand

DETAIL: dict[str, tuple[str | None, bool]] = {
    "pairwise": ("mean", False),
    "pairwise per head": ("heads", False),
    "marginals": (None, False),
    "pairwise and words": ("mean", True),
    "marginals and words": (None, True),
}
"""What pairwise maps are kept of, and whether maps of words are."""
QUERIES = {"a quarter": None, "all": 1}
BRANCHES = {"cond": ("cond",), "uncond": ("uncond",), "both": ("cond", "uncond")}


class Record(io.ComfyNode):
    """Patches a model so that its samplers are recorded."""

    def __init__(self) -> None:
        super().__init__()
        # the host keeps one object for each node of the graph until it is asked to free its memory
        REGISTRY.keep_while(self)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_Record",
            display_name="I²AM Record",
            description="Put it between the model and KSampler: the sampled picture stays the same to the last bit, and its "
            "cross-attention to the reference image is kept for I²AM Look or I²AM Collect.",
            search_aliases=["attention", "attribution", "cross attention map", "heatmap", "DAAM", "explain", "interpret"],
            not_idempotent=True,
            inputs=[
                field(
                    io.Model,
                    "model",
                    tooltip="A model that attends to references: a U-Net, FLUX Kontext, FLUX.2, Qwen-Image-Edit, Krea-2.",
                ),
                field(
                    io.Combo,
                    "detail",
                    options=list(DETAIL),
                    tooltip="'pairwise' allows patch maps; 'per head' keeps their heads too, where the memory budget allows; "
                    "'marginals' is enough for levels. '… and words' keeps a map of each word of the prompt too "
                    "(joint-attention models).",
                ),
                field(
                    io.String,
                    "layers",
                    default="",
                    tooltip="Names or globs such as 'output.* input.4.1.0'; empty: all.",
                    advanced=True,
                ),
                field(
                    io.Combo,
                    "branch",
                    options=list(BRANCHES),
                    tooltip="Which half of guidance; cond unless you study cfg.",
                    advanced=True,
                ),
                field(
                    io.Int, "budget_mb", default=300, min=1, max=16_000, tooltip="Memory for the maps, in MB.", advanced=True
                ),
                field(io.Int, "groups", default=5, min=1, max=50, tooltip="Time groups of the pairwise maps.", advanced=True),
                *tokens_by_hand(),
                field(io.Mask, "inpaint_mask", optional=True, tooltip="1 = repainted; makes IMACS_r exact for every layer."),
                reference_parts(),
                field(
                    io.Combo,
                    "queries",
                    options=list(QUERIES),
                    default="a quarter",
                    optional=True,
                    tooltip="Of joint-attention models (FLUX, Qwen-Image-Edit, Krea-2): how many of the generated picture's "
                    "tokens are recorded. U-Nets keep all.",
                    advanced=True,
                ),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="For KSampler."),
                Recording.Output(display_name="recording", tooltip="For I²AM Look or I²AM Collect."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        detail: str,
        layers: str,
        branch: str,
        budget_mb: int,
        groups: int,
        reference_tokens: str,
        rows: int,
        columns: int,
        leading_tokens: int,
        inpaint_mask: Tensor | None = None,
        reference_parts: str = "",
        queries: str = "a quarter",
    ) -> io.NodeOutput:
        pairwise, words = DETAIL[detail]
        options = Options(
            pairwise=pairwise,
            words=words,
            groups=groups,
            layers=layers_of(layers),
            branches=BRANCHES[branch],
            budget=budget_mb * 1_000_000,
            inpaint_mask=inpaint_mask,
            layout=layout_by_hand(reference_tokens, rows, columns, leading_tokens),
            parts=parts_of(reference_parts),
            stride=QUERIES[queries],
        )
        return io.NodeOutput(*attach(model, options))


class Collect(io.ComfyNode):
    """Finds the maps of a sampled latent."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_Collect",
            display_name="I²AM Collect",
            description="Put it between KSampler and VAE Decode: gives the attribution maps of the run that made this LATENT.",
            search_aliases=["attention maps", "attribution maps"],
            inputs=[
                field(io.Latent, "latent", tooltip="Straight from the recorded sampler."),
                field(Recording, "recording", tooltip="From the I²AM Record whose MODEL the sampler used."),
            ],
            outputs=[
                io.Latent.Output(display_name="LATENT", tooltip="Unchanged."),
                Maps.Output(display_name="maps", tooltip="For I²AM Map, Patch Map, IMACS, Save Maps and Report."),
            ],
        )

    @classmethod
    def execute(cls, latent: dict[str, Any], recording: ComfyRecording) -> io.NodeOutput:
        check(recording=recording)
        return io.NodeOutput(latent, recording.maps_of(samples(latent)))
