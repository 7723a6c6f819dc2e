"""Maps files of version 1, which did not say which layers' keys come from beside the conditioning."""

from __future__ import annotations

from dataclasses import replace

from .facts import Facts, LayerInfo

_OFFICIAL = {"warp.3": "over time", "warp.4": "always", "warp.5": "over time"}


def from_version_1(facts: Facts) -> Facts:
    """The facts as version 2 has them. The only such layers in version 1 were StableVITON's, "warp.0" to "warp.8"."""
    return replace(facts, layers=tuple(map(_layer, facts.layers)))


def _layer(layer: LayerInfo) -> LayerInfo:
    return replace(layer, beside=layer.name.startswith("warp."), official=_OFFICIAL.get(layer.name, ""))
