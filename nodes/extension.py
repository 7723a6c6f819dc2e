"""The list of the pack's nodes, in the order of the way from a model to a report."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .conditioning import TryOnConditioning
from .data import VitonHD
from .demo import DemoModel, DemoPair
from .demo_edit import DemoEditModel, DemoEditPair
from .effect import Effect
from .explorer import Explorer
from .files import LoadMaps, Report, SaveMaps
from .intervene import Intervene
from .levels import Map, PatchMap, Threshold
from .load import LoadTryOn
from .look import Look
from .proof import Proof
from .rank import RankLayers
from .record import Collect, Record
from .redux import MarkRedux
from .render import Animate, Grid, Overlay
from .score import IMACS
from .score_table import ScoreTable
from .text import WatchText

NODES: list[type[io.ComfyNode]] = [
    DemoModel,
    DemoPair,
    DemoEditModel,
    DemoEditPair,
    VitonHD,
    LoadTryOn,
    TryOnConditioning,
    MarkRedux,
    WatchText,
    Record,
    Intervene,
    Effect,
    Proof,
    Look,
    Explorer,
    Collect,
    Map,
    PatchMap,
    Threshold,
    Overlay,
    Grid,
    Animate,
    IMACS,
    RankLayers,
    ScoreTable,
    SaveMaps,
    LoadMaps,
    Report,
]


class I2AMExtension(ComfyExtension):
    """Everything that the pack adds to ComfyUI."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
