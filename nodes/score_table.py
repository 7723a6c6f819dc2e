"""Scores of many runs of the queue in one table."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..i2am.errors import I2AMError
from ..i2am.outputs.names import check_prefix, inside
from ..i2am.outputs.running_table import Value, append_row
from ..i2am.outputs.table_picture import table_picture, table_text
from .base import Maps, check, field, preview, schema
from .base import image as image_of

OWN = ("time", "name", "setting", "imacs_g", "imacs_r", "model", "seed", "sampler", "steps", "cfg")
FACTS = ("time", "name", "setting", "model", "seed", "sampler", "steps", "cfg")
"""Columns of which no mean is shown."""
ENDING = ".csv"


class ScoreTable(io.ComfyNode):
    """A row per run of the queue."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_ScoreTable",
            display_name="I²AM Score Table",
            description="Adds a row with this run's scores to a table (CSV) in the output folder, and shows the table with its "
            "means: queue a data set pair by pair and watch it grow.",
            search_aliases=["csv", "log scores", "append", "spreadsheet", "evaluate", "data set"],
            is_output_node=True,
            inputs=[
                field(io.Float, "imacs_g", optional=True, force_input=True, tooltip="From I²AM IMACS or Look."),
                field(io.Float, "imacs_r", optional=True, force_input=True, tooltip="From I²AM IMACS or Look."),
                field(
                    io.Float,
                    "value",
                    optional=True,
                    force_input=True,
                    tooltip="Any other number, such as a score of another pack; its column is called as value_name says.",
                ),
                field(Maps, "maps", optional=True, tooltip="Adds the run's model, seed, sampler, steps and cfg."),
                field(
                    io.String,
                    "name",
                    default="",
                    tooltip="Of the picture: connect the name of I²AM VITON-HD, or write one such as 00891_00.",
                ),
                field(io.String, "setting", default="", tooltip="What you compare, such as cfg 5. Empty: nothing."),
                field(io.String, "value_name", default="value", tooltip="Column of value, such as ssim."),
                field(
                    io.String,
                    "filename",
                    default="I2AM/scores",
                    tooltip="The table in the output folder, without .csv. Every run adds to it; a new name begins another.",
                ),
            ],
            outputs=[
                io.Image.Output("picture", tooltip="The table's last rows and its means, as the node shows them."),
                io.String.Output("table", tooltip="The same as text."),
                io.String.Output("path", tooltip="The table's name relative to the output folder, such as I2AM/scores.csv."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> float:
        return float("nan")  # never the same: every run of the queue adds its row

    @classmethod
    def execute(
        cls,
        name: str,
        setting: str,
        value_name: str,
        filename: str,
        imacs_g: float | None = None,
        imacs_r: float | None = None,
        value: float | None = None,
        maps: Any = None,
    ) -> io.NodeOutput:
        if imacs_g is None and imacs_r is None and value is None:
            raise I2AMError("there is no score to write down; connect imacs_g, imacs_r or value")
        row: dict[str, Value] = {"time": datetime.now(timezone.utc).isoformat(timespec="seconds"), "name": name.strip()}
        row |= {"setting": setting.strip(), "imacs_g": imacs_g, "imacs_r": imacs_r}
        if value is not None:
            row[_column(value_name)] = value
        if maps is not None:
            check(maps=maps)
            run = maps.run
            row |= {"model": run.model, "seed": run.seed, "sampler": run.sampler, "steps": run.steps, "cfg": run.cfg}
        file = check_prefix(filename.removesuffix(ENDING)) + ENDING
        table = append_row(inside(folder_paths.get_output_directory(), file), row)
        about = f"{file}: {len(table.rows)} row{'s' * (len(table.rows) != 1)}"
        picture = image_of([table_picture(table, about, FACTS)])
        return io.NodeOutput(picture, table_text(table, about, FACTS), file, ui=preview(picture))


def _column(name: str) -> str:
    """The name of the column of ``value``.

    Raises:
        I2AMError: it is one of the node's own.
    """
    plain = " ".join(name.split()) or "value"
    if plain in OWN:
        raise I2AMError(f"value_name is {plain!r}, which is a column of the node's own; choose another, such as ssim")
    return plain
