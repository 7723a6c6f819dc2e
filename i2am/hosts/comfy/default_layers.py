"""The layers that a model's maps are made from unless others are chosen, where the model's own loader says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...maps.value import AttributionMaps


@dataclass(frozen=True)
class DefaultLayers:
    """Put by a loader as ``default_layers`` on the configuration of the host's own model.

    Attributes:
        names: of the layers.
        why: why not the others, as a part of a sentence.
    """

    names: tuple[str, ...]
    why: str


def default_layers_of(model: Any) -> DefaultLayers:
    """What the host's own model says; no names: it says nothing, and all layers count."""
    config = getattr(model, "model_config", None)
    found: DefaultLayers | None = getattr(config, "__dict__", {}).get("default_layers")  # else the host logs a warning
    return found or DefaultLayers((), "")


def default_notes(maps: AttributionMaps, why: str) -> Iterator[str]:
    """What must be said where a run's default leaves layers out; nothing where it takes all."""
    kept = [x.name for x in maps.default_layers]
    if len(kept) < len(maps.layers):
        yield (
            f"where no layers are chosen, maps are the mean over {', '.join(kept)} alone, of {len(maps.layers)} layers: {why}; "
            f"LLAM shows all of them"
        )
