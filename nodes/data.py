"""Data sets on disk: some of their pairs at a time."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker

from ..i2am.data.kinds import AUTO, KINDS, open_data_set
from ..i2am.data.pairs import Pair
from ..i2am.data.selection import BROKEN, select
from ..i2am.errors import I2AMError
from ..i2am.outputs.names import inside
from .base import field, schema
from .folders import version

LAYOUTS = ("list", "batch")
MOST = 4096
SHOWN = ("person", "agnostic", "inpaint_mask", "densepose", "reference", "reference_mask", "hands_mask", "warped")
TOLD = {
    "person": "The photo of the person.",
    "agnostic": "The person with the garment's area grey, where the data set has it.",
    "inpaint_mask": "1 = to repaint.",
    "densepose": "The body's part map.",
    "reference": "The photo of the garment to try on; for paired pairs the person's own.",
    "reference_mask": "1 = the garment.",
    "hands_mask": "1 = the person's hands and arms, from VITON-HD's parse maps; for DCI-VTON's version 1.",
    "warped": "The garment already laid on the body, on grey; for DCI-VTON.",
}


class VitonHD(io.ComfyNode):
    """Pairs of a data set."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        titles = ", ".join(kind.title for kind in KINDS.values())
        return schema(
            node_id="I2AM_VitonHD",
            display_name="I²AM VITON-HD",
            description=f"Pictures and masks of some pairs of a data set on disk ({titles}), checked. With index on "
            "'increment' the queue goes through the whole data set.",
            search_aliases=["data set", "dataset", "DressCode", "load images from folder", "batch", "pairs", "csv", "evaluate"],
            inputs=[
                field(
                    io.String,
                    "folder",
                    default="",
                    tooltip="The data set's folder as it unpacks, such as /data/zalando-hd-resized, or its name in the input "
                    "folder. `i2am draw-data` writes one to try.",
                ),
                field(io.Combo, "split", options=["test", "train"], tooltip="Which part of the data set."),
                field(
                    io.Combo,
                    "pairs",
                    options=["paired", "unpaired"],
                    tooltip="paired: every person with their own garment, so the photo is the right answer. unpaired: with the "
                    "garment that the data set's list gives them.",
                ),
                field(
                    io.Int,
                    "index",
                    default=0,
                    min=0,
                    max=10_000_000,
                    control_after_generate=True,
                    tooltip="The first pair, counted from 0. On 'increment' each run takes the next one.",
                ),
                field(io.Int, "count", default=1, min=1, max=MOST, tooltip="How many pairs, from index on; fewer at the end."),
                field(
                    io.Combo,
                    "layout",
                    options=list(LAYOUTS),
                    tooltip="list: nodes behind this one run once for each pair, whatever its size. batch: all pairs in one "
                    "batch; their pictures must have one size.",
                ),
                field(
                    io.Combo,
                    "broken",
                    options=list(BROKEN),
                    tooltip="What to do about pairs whose files are missing, unreadable, mixed up or no masks. stop: an error "
                    "that lists them. leave out: go on with the others. keep: take all that can be opened.",
                ),
                field(
                    io.String,
                    "pair_list",
                    default="",
                    advanced=True,
                    tooltip="A list of pairs in the data set's folder, such as mine.txt with a person and a garment a line; "
                    "'pairs' is then not used. Empty: the data set's own.",
                ),
                field(
                    io.Combo,
                    "kind",
                    options=[AUTO, *KINDS],
                    advanced=True,
                    tooltip="How the data set lies on disk. auto: told by what lies in the folder.",
                ),
            ],
            outputs=[
                *(
                    (io.Mask if name.endswith("mask") else io.Image).Output(name, tooltip=TOLD[name], is_output_list=True)
                    for name in SHOWN
                ),
                io.String.Output("name", tooltip="Each pair's name, fit for file names.", is_output_list=True),
                io.Int.Output("total", tooltip="How many pairs the data set has."),
                io.String.Output("findings", tooltip="What is wrong with the pairs that were chosen; empty: nothing."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **given: Any) -> str | float:
        try:
            pairs = _pairs(**{name: given[name] for name in ("folder", "split", "pairs", "pair_list", "kind")})
            chosen = pairs[given["index"] :][: given["count"]]
            seen = [(pair.name, str(file), *version(file)) for pair in chosen for file in pair.files.values()]
            return hashlib.sha256(repr((len(pairs), seen)).encode()).hexdigest()
        except (I2AMError, OSError, KeyError, TypeError):  # comes from another node, or is told when the node runs
            return float("nan")

    @classmethod
    def execute(
        cls,
        folder: str,
        split: str,
        pairs: str,
        index: int,
        count: int,
        layout: str,
        broken: str,
        pair_list: str,
        kind: str,
    ) -> io.NodeOutput:
        listed = _pairs(folder, split, pairs, pair_list, kind)
        chosen = select(listed, index, count, broken)
        if layout == LAYOUTS[1]:
            shown = {name: [picture] for name, picture in chosen.stacked().items()}
        else:
            shown = {name: [*of] for name, of in chosen.pictures.items()}
        findings = "\n".join(chosen.findings.lines())
        names = [pair.name for pair in chosen.pairs]
        told = f"{len(names)} of {len(listed)} pairs, from {index} on"
        return io.NodeOutput(
            *([_socket(picture) for picture in shown[name]] for name in SHOWN),
            names,
            len(listed),
            findings,
            ui=ui.PreviewText("\n".join([told, *names, findings]).strip()),
        )


def _pairs(folder: str, split: str, pairs: str, pair_list: str, kind: str) -> list[Pair]:
    data = open_data_set(_folder(folder), kind)
    return data.pairs(inside(data.folder, pair_list.strip()) if pair_list.strip() else pairs, split)


def _folder(name: str) -> Path:
    """A folder by its path, or by its name in the input folder.

    Raises:
        I2AMError: it is empty, or a name leads out of the input folder.
    """
    plain = name.strip().strip("\"'")  # as file managers copy paths
    if not plain:
        raise I2AMError("no folder is set; give a data set's folder, such as /data/zalando-hd-resized")
    path = Path(plain).expanduser()
    return path if path.is_absolute() else inside(folder_paths.get_input_directory(), plain)


def _socket(picture: Any) -> Any:
    """What is put out: the picture, or in place of one that is missing what tells so at the node that wants it."""
    return ExecutionBlocker(picture) if isinstance(picture, str) else picture
