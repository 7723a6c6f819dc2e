"""The list of the pack's nodes, in the order of the way from a model to a report."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .conditioning import TryOnConditioning
from .demo import DemoModel, DemoPair
from .files import LoadMaps, Report, SaveMaps
from .levels import Map, PatchMap, Threshold
from .load import LoadTryOn
from .look import Look
from .record import Collect, Record
from .render import Animate, Grid, Overlay
from .score import IMACS

NODES: list[type[io.ComfyNode]] = [
    DemoModel,
    DemoPair,
    LoadTryOn,
    TryOnConditioning,
    Record,
    Look,
    Collect,
    Map,
    PatchMap,
    Threshold,
    Overlay,
    Grid,
    Animate,
    IMACS,
    SaveMaps,
    LoadMaps,
    Report,
]


class I2AMExtension(ComfyExtension):
    """Everything that the pack adds to ComfyUI."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
