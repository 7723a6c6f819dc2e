"""I²AM: attribution maps of image-to-image diffusion models, from their own cross-attention.

Record a run (`record`), then look at its `AttributionMaps`: `ulam`, `tlam`, `hlam`, `llam`, `sram`, `mirror_of_object`,
drawn with `overlay`, scored with `imacs_pair`. After Park and Jang, "I²AM" (arXiv 2407.12331).

Every name here is imported from its room when it is first used, so that `import i2am` loads nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_ROOMS = {
    "data.kinds": ("open_data_set",),
    "data.pairs": ("DataSet", "Pair"),
    "errors": (
        "DatasetError",
        "I2AMError",
        "LayoutError",
        "MapsFileError",
        "MaskError",
        "RecordingError",
        "UnavailableError",
        "UnsafePickleError",
        "WeightsFileError",
    ),
    "geometry.layout": ("Layout", "Reference", "TokenGrid"),
    "geometry.sequence": ("Sequence",),
    "geometry.words": ("Word", "words_of"),
    "maps.facts": ("LayerInfo", "RunInfo"),
    "maps.value": ("AttributionMaps",),
    "recording.recorder": ("Recorder",),
    "levels.choice": ("Choice",),
    "levels.difference": ("Difference", "difference", "patch_difference"),
    "levels.grids": ("common_grid",),
    "levels.heat": ("Heat", "fit", "keep_above", "normalise"),
    "levels.marginal": ("hlam", "llam", "tlam", "ulam"),
    "levels.masked": ("masked_g2r",),
    "levels.mirror": ("mirror_of_object",),
    "levels.patch": ("sram",),
    "levels.presets": ("PRESETS",),
    "levels.share": ("routes", "share", "which_reference"),
    "levels.sinks": ("sinks",),
    "levels.word_maps": ("word_shares",),
    "levels.words": ("words",),
    "scores.imacs": ("Score", "imacs", "imacs_pair"),
    "pictures.look": ("Look",),
    "pictures.overlay": ("overlay",),
    "outputs.first_look": ("first_look",),
    "outputs.report": ("write_report",),
    "outputs.second": ("SecondRun",),
    "hosts.diffusers.record": ("record",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

if TYPE_CHECKING:
    from .data.kinds import open_data_set
    from .data.pairs import DataSet, Pair
    from .errors import (
        DatasetError,
        I2AMError,
        LayoutError,
        MapsFileError,
        MaskError,
        RecordingError,
        UnavailableError,
        UnsafePickleError,
        WeightsFileError,
    )
    from .geometry.layout import Layout, Reference, TokenGrid
    from .geometry.sequence import Sequence
    from .geometry.words import Word, words_of
    from .hosts.diffusers.record import record
    from .levels.choice import Choice
    from .levels.difference import Difference, difference, patch_difference
    from .levels.grids import common_grid
    from .levels.heat import Heat, fit, keep_above, normalise
    from .levels.marginal import hlam, llam, tlam, ulam
    from .levels.masked import masked_g2r
    from .levels.mirror import mirror_of_object
    from .levels.patch import sram
    from .levels.presets import PRESETS
    from .levels.share import routes, share, which_reference
    from .levels.sinks import sinks
    from .levels.word_maps import word_shares
    from .levels.words import words
    from .maps.facts import LayerInfo, RunInfo
    from .maps.value import AttributionMaps
    from .outputs.first_look import first_look
    from .outputs.report import write_report
    from .outputs.second import SecondRun
    from .pictures.look import Look
    from .pictures.overlay import overlay
    from .recording.recorder import Recorder
    from .scores.imacs import Score, imacs, imacs_pair

__all__ = [
    "PRESETS",
    "AttributionMaps",
    "Choice",
    "DataSet",
    "DatasetError",
    "Difference",
    "Heat",
    "I2AMError",
    "LayerInfo",
    "Layout",
    "LayoutError",
    "Look",
    "MapsFileError",
    "MaskError",
    "Pair",
    "Recorder",
    "RecordingError",
    "Reference",
    "RunInfo",
    "Score",
    "SecondRun",
    "Sequence",
    "TokenGrid",
    "UnavailableError",
    "UnsafePickleError",
    "WeightsFileError",
    "Word",
    "common_grid",
    "difference",
    "first_look",
    "fit",
    "hlam",
    "imacs",
    "imacs_pair",
    "keep_above",
    "llam",
    "masked_g2r",
    "mirror_of_object",
    "normalise",
    "open_data_set",
    "overlay",
    "patch_difference",
    "record",
    "routes",
    "share",
    "sinks",
    "sram",
    "tlam",
    "ulam",
    "which_reference",
    "word_shares",
    "words",
    "words_of",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_ROOM_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
