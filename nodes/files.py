"""Maps to a file and back, and the page that explores them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comfy_api.latest import io, ui

from ..i2am.errors import I2AMError
from ..i2am.maps.file import check_maps_file
from ..i2am.maps.value import AttributionMaps
from ..i2am.outputs.file_card import file_card
from ..i2am.outputs.report import report_of_run
from .base import Maps, check, field, pictures, preview, run_pictures, schema
from .base import image as image_of
from .fields import batch_index, branch, further_references
from .folders import SUFFIX, content_hash, maps_files, maps_path, new_file, saved_in
from .second import second_of, second_run

PREFIX = "Beginning of the file's name in the output folder, with subfolders such as I2AM/maps; a number is added."


class SaveMaps(io.ComfyNode):
    """Maps to one file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_SaveMaps",
            display_name="I²AM Save Maps",
            description="Writes all maps of a run to one .safetensors file in the output folder, for I²AM Load Maps or the "
            "command line (python -m i2am show, score).",
            search_aliases=["export attention", "save attribution"],
            is_output_node=True,
            inputs=[
                field(Maps, "maps", tooltip="From I²AM Collect or Look."),
                field(io.String, "filename_prefix", default="I2AM/maps", tooltip=PREFIX),
            ],
            outputs=[Maps.Output("maps", tooltip="The same maps, unchanged.")],
        )

    @classmethod
    def execute(cls, maps: Any, filename_prefix: str) -> io.NodeOutput:
        check(maps=maps)
        path, name = new_file(filename_prefix, SUFFIX)
        maps.save(path)
        return io.NodeOutput(maps, ui=_written(path, name, "maps of a run"))


class LoadMaps(io.ComfyNode):
    """Maps from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_LoadMaps",
            display_name="I²AM Load Maps",
            description="Reads maps that I²AM Save Maps or the command line wrote, from the input or the output folder.",
            search_aliases=["import attention", "load attribution"],
            inputs=[
                field(
                    io.Combo,
                    "file",
                    options=maps_files(),
                    tooltip="Files with I²AM maps in the input folder, and in the output folder with [output] behind the name. "
                    "Press R to read the list anew.",
                )
            ],
            outputs=[Maps.Output("maps")],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        if file is None:  # comes from another node, so it is known only when that has run
            return True
        try:
            check_maps_file(maps_path(file))
        except I2AMError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None) -> str | float:
        if file is None:  # comes from another node: not known yet, and never the same
            return float("nan")
        return content_hash(maps_path(file))

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(AttributionMaps.load(maps_path(file)))


class Report(io.ComfyNode):
    """The page that explores a run."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="I2AM_Report",
            display_name="I²AM Report",
            description="Writes one HTML page in which a click on a patch of either picture shows its map on the other (of "
            "several references, on each of them), with all levels and the scores; with a second recording, two runs are "
            "compared. It needs neither ComfyUI nor a network.",
            search_aliases=["html", "page", "explore", "viewer", "share"],
            is_output_node=True,
            inputs=[
                field(Maps, "maps", tooltip="From I²AM Collect, Look or Load Maps."),
                field(io.Image, "image", tooltip="The generated image; of a batch, one per image of the run."),
                field(
                    io.Image,
                    "reference_image",
                    optional=True,
                    tooltip="The first reference's image; or a batch of one picture for each reference. Empty: the small "
                    "picture kept with the maps, or grey.",
                ),
                field(io.Mask, "inpaint_mask", optional=True, tooltip="On the generated image, 1 = repainted; adds IMACS_g."),
                field(
                    io.Mask,
                    "reference_mask",
                    optional=True,
                    tooltip="On the reference image, 1 = the object; adds IMACS_r, and where the object went.",
                ),
                field(io.String, "title", default="I²AM report", tooltip="Heading of the page."),
                field(io.String, "filename_prefix", default="I2AM/report", tooltip=PREFIX),
                branch(),
                batch_index(0, "A page shows one image."),
                *further_references("reference_image"),
                *second_run(),
            ],
            outputs=[
                io.String.Output(
                    "path", tooltip="The page's name relative to the output folder, such as I2AM/report_00001_.html."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        maps: Any,
        image: Any,
        title: str,
        filename_prefix: str,
        reference_image: Any = None,
        inpaint_mask: Any = None,
        reference_mask: Any = None,
        branch: str = "cond",
        batch_index: int = 0,
        reference_2: Any = None,
        reference_3: Any = None,
        maps_2: Any = None,
        image_2: Any = None,
    ) -> io.NodeOutput:
        check(maps=maps)
        second = second_of(maps_2, image_2, batch_index) if batch_index < maps.images else None
        first, *further = (None if one is None else pictures(one) for one in (reference_image, reference_2, reference_3))
        path, name = new_file(filename_prefix, ".html")
        report_of_run(
            path,
            maps,
            run_pictures(maps, image),
            first,
            inpaint_mask,
            reference_mask,
            image=batch_index,
            branch=branch,
            title=title,
            further=further,
            second=second,
        )
        # the host hands out pages as downloads only, so that they cannot act in its name: web/report.js opens this one
        return io.NodeOutput(name, ui={**_written(path, name, "open it in any browser"), "i2am_report": [saved_in(name)]})


def _written(path: Path, name: str, about: str) -> dict[str, Any]:
    """What a node hands to the interface of a file that it wrote: its name, as text and as a picture that the host shows."""
    about = f"{path.stat().st_size / 1e6:.1f} MB in ComfyUI's output folder; {about}"
    card = preview(image_of([file_card(name, about)]))
    return {**card.as_dict(), **ui.PreviewText(f"{name}\n{about}").as_dict()}
