"""I²AM: attribution maps of image-to-image diffusion models, from their own cross-attention.

Record a run (`i2am.hosts`), then look at its `AttributionMaps`: `ulam`, `tlam`, `hlam`, `llam`, `sram`, `mirror_of_object`,
scored with `imacs_pair`. After Park and Jang, "I²AM" (arXiv 2407.12331).
"""

from .errors import I2AMError, LayoutError, MapsFileError, MaskError, RecordingError, UnavailableError
from .geometry.layout import Layout, Reference, TokenGrid
from .levels.grids import common_grid
from .levels.heat import Heat, fit, normalise, threshold
from .levels.marginal import hlam, llam, tlam, ulam
from .levels.masked import masked_g2r
from .levels.mirror import mirror_of_object
from .levels.patch import sram
from .levels.presets import PRESETS
from .maps.facts import LayerInfo, RunInfo
from .maps.value import AttributionMaps
from .recording.recorder import Recorder
from .scores.imacs import Score, imacs, imacs_pair

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "AttributionMaps",
    "Heat",
    "I2AMError",
    "LayerInfo",
    "Layout",
    "LayoutError",
    "MapsFileError",
    "MaskError",
    "Recorder",
    "RecordingError",
    "Reference",
    "RunInfo",
    "Score",
    "TokenGrid",
    "UnavailableError",
    "common_grid",
    "fit",
    "hlam",
    "imacs",
    "imacs_pair",
    "llam",
    "masked_g2r",
    "mirror_of_object",
    "normalise",
    "sram",
    "threshold",
    "tlam",
    "ulam",
]
