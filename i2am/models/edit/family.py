"""What the edit model is: its sizes, its shape in ComfyUI's words, and its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...drawn.spec import PICTURE, REFERENCE
from ...geometry.layout import Layout, Reference, TokenGrid

WEIGHTS = Path(__file__).parent / "weights"
FACTOR = 4
"""Pixels per latent cell: the bundled autoencoder's."""
PATCH = 2
"""Latent cells per token, along each side."""
CHANNELS = 4
TEXT, TEXT_WIDTH = 4, 32
"""Learned tokens that stand where a text would, and their width."""
VECTOR = 16
"""Width of the pooled text embedding, which is always zero."""
SHIFT = 2.5
"""Of the noise levels: sigma = SHIFT u / (1 + (SHIFT - 1) u). ComfyUI and diffusers take its logarithm, mu."""
STEPS = 25
REFERENCE_METHOD = "index"
"""How positions tell the references apart: reference i of 1, 2 at (i, row, column), the generated picture at 0."""

SHAPE: dict[str, Any] = {
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "vec_in_dim": VECTOR,
    "context_in_dim": TEXT_WIDTH,
    "hidden_size": 128,
    "mlp_ratio": 4.0,
    "num_heads": 4,
    "depth": 2,
    "depth_single_blocks": 4,
    "axes_dim": [4, 14, 14],
    "theta": 10000,
    "patch_size": PATCH,
    "qkv_bias": True,
    "guidance_embed": False,
    "txt_ids_dims": [],
}
"""What ComfyUI's `Flux` needs to be of this model's shape."""


def _grid(size: tuple[int, int]) -> tuple[int, int]:
    return size[0] // (FACTOR * PATCH), size[1] // (FACTOR * PATCH)


LATENT = (PICTURE[0] // FACTOR, PICTURE[1] // FACTOR)
"""Rows and columns of the generated picture's and the person's latent."""
GARMENT_LATENT = (REFERENCE[0] // FACTOR, REFERENCE[1] // FACTOR)
GRID = _grid(PICTURE)
"""Rows and columns of tokens of the generated picture and of the person."""
GARMENT_GRID = _grid(REFERENCE)

BLOCKS = tuple(f"double.{i}" for i in range(SHAPE["depth"])) + tuple(f"single.{i}" for i in range(SHAPE["depth_single_blocks"]))
"""The attention layers, in the order of the network."""
TAUGHT = ("single.1", "single.2")
"""The layers that training's attention loss taught; the others learned alone and are reported apart."""
LATE = ("single.1", "single.2", "single.3")
"""The layers that copy. Earlier ones locate: where the garment goes they look at the person."""
WHY_LATE = "the earlier ones only find places, so where the garment goes they look at the person"


def edit_layout() -> Layout:
    """The keys of every call: text, generated tokens, the person's, the garment's; queries likewise."""
    generated = TEXT + GRID[0] * GRID[1]
    person = TokenGrid(*GRID, picture=PICTURE)
    garment = TokenGrid(*GARMENT_GRID, picture=REFERENCE)
    references = (Reference(person, generated, "person"), Reference(garment, generated + person.tokens, "garment"))
    return Layout(references, query_start=TEXT)
