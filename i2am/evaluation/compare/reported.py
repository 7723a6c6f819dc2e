"""The figures that the paper reports, to stand beside measured ones: they are of other data, weights and code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SOURCE = "Park and Jang, arXiv 2407.12331, table 2"
LATER = "ICLR 2025 version"
NOTE = (
    "Reported by the paper, not measured here: VITON-HD, the authors' weights, and IMACS by the authors' code, which scores "
    "another map than any preset here. Compare rows of the paper with each other only."
)


@dataclass(frozen=True)
class Reported:
    """A row of the paper's table 2.

    Attributes:
        model: its name there.
        values: of the preprint, by name; what it does not report is left out.
        later: those that the ICLR version changed or added.
    """

    model: str
    values: Mapping[str, float]
    later: Mapping[str, float] = field(default_factory=dict)


def _row(*values: float | None) -> dict[str, float]:
    names = ("fid", "kid", "lpips", "ssim", "imacs_g", "imacs_r")
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


REPORTED = (
    Reported("DCI-VTON", _row(13.0953, 0.0334, 0.1132, 0.8612, 0.0785, None), {"lpips": 0.0824}),
    Reported("StableVITON", _row(10.6755, 0.0064, 0.0817, 0.8634, 0.3083, 0.3388)),
    Reported(
        "custom",
        _row(11.7553, 0.0037, 0.0824, 0.8251, 0.0833, 0.0403),
        {"fid": 11.6572, "kid": 0.0042, "lpips": 0.1020, "ssim": 0.8396},
    ),
    Reported("refined custom", {}, _row(11.5420, 0.0022, 0.0964, 0.8644, 0.2215, 0.0948)),
)
