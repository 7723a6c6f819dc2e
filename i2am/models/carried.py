"""The token layout that travels beside a ComfyUI conditioning, so that a recording knows and never guesses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..errors import LayoutError
from ..geometry.layout import Layout, Reference, TokenGrid

KEY = "i2am_layout"
FORMAT = 1

Conditioning = list[list[Any]]
"""ComfyUI's own: a list of [context (B, S, C), options]."""


@dataclass(frozen=True)
class Carried:
    """What a conditioning says of its tokens.

    Attributes:
        layout: what the keys of a cross-attention call are.
        layers: the same for layers that attend to something else, by layer name.
        generated_size: (H, W) of the picture to generate, in pixels.
        null: whether the tokens stand for "no reference".
        thumbnails: small pictures to keep with the maps, (H, W, 3) uint8.
        inpaint_mask: (images or 1, H, W) in 0-1, 1 = repainted, on the picture to generate; None: not known.
    """

    layout: Layout
    generated_size: tuple[int, int] | None = None
    null: bool = False
    thumbnails: dict[str, Tensor] | None = None
    layers: dict[str, Layout] = field(default_factory=dict)
    inpaint_mask: Tensor | None = None


def carry(conditioning: Conditioning, carried: Carried) -> Conditioning:
    """The conditioning with a layout beside each of its entries; tensors are shared, options copied."""
    return [[tokens, {**options, KEY: _plain(carried)}] for tokens, options in conditioning]


def carried_by(options: Mapping[str, Any]) -> Carried | None:
    """What one entry's options (or the host's own copy of them) carry; None: nothing.

    Raises:
        LayoutError: it was written by a newer version of this pack.
    """
    found = options.get(KEY)
    if found is None:
        return None
    if found.get("format") != FORMAT:
        raise LayoutError(
            f"the conditioning carries a token layout of format {found.get('format')!r}, this version reads {FORMAT}; "
            f"use one version of the pack"
        )
    layers = {name: _layout(plain) for name, plain in found.get("layers", {}).items()}
    size, thumbnails = pair(found["generated_size"]), dict(found["thumbnails"])
    return Carried(_layout(found), size, found["null"], thumbnails, layers, found.get("inpaint_mask"))


def _layout(plain: dict[str, Any]) -> Layout:
    references = tuple(
        Reference(TokenGrid(r["rows"], r["columns"], r["leading"], pair(r["picture"]), rect(r["rect"])), r["start"], r["name"])
        for r in plain["references"]
    )
    return Layout(references, plain["keys"], beside=plain.get("beside", False), official=plain.get("official", ""))


def _plain(carried: Carried) -> dict[str, Any]:
    return {
        "format": FORMAT,
        **_plain_layout(carried.layout),
        "layers": {name: _plain_layout(layout) for name, layout in carried.layers.items()},
        "generated_size": carried.generated_size,
        "null": carried.null,
        "thumbnails": dict(carried.thumbnails or {}),
        "inpaint_mask": carried.inpaint_mask,
    }


def _plain_layout(layout: Layout) -> dict[str, Any]:
    return {
        "keys": layout.keys,
        "beside": layout.beside,
        "official": layout.official,
        "references": [
            {
                "rows": r.grid.rows,
                "columns": r.grid.columns,
                "leading": r.grid.leading,
                "picture": r.grid.picture,
                "rect": r.grid.rect,
                "start": r.start,
                "name": r.name,
            }
            for r in layout.references
        ],
    }


def pair(value: Any) -> tuple[int, int] | None:
    """Two whole numbers as they are written beside a conditioning; None stays."""
    return None if value is None else (int(value[0]), int(value[1]))


def rect(value: Any) -> tuple[float, float, float, float] | None:
    """A rectangle as it is written beside a conditioning; None stays."""
    return None if value is None else (float(value[0]), float(value[1]), float(value[2]), float(value[3]))
