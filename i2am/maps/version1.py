"""Maps files of version 1, which did not say which layers stand beside the conditioning."""

from __future__ import annotations

from typing import Any

_OFFICIAL = {"warp.3": "over time", "warp.4": "always", "warp.5": "over time"}


def from_version_1(about: dict[str, Any]) -> dict[str, Any]:
    """A description as version 2 has it. The only such layers that version 1 knew were StableVITON's, "warp.0" to "warp.8"."""
    layers = [
        {**layer, "beside": layer["name"].startswith("warp."), "official": _OFFICIAL.get(layer["name"], "")}
        for layer in about["layers"]
    ]
    return {**about, "layers": layers}
