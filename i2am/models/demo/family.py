"""The bundled model: the facts of its family, its weights' files and its reference encoder. Needs no diffusers."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...drawn.spec import PICTURE, REFERENCE
from ...errors import I2AMError
from ...geometry.layout import Layout, TokenGrid
from ..family import Family
from .encoder import REFERENCE_GRID, ReferenceEncoder

WEIGHTS = Path(__file__).parent / "weights"
DEMO = Family(
    name="demo",
    title="the demo",
    channels=12,
    inputs=("agnostic", "densepose"),
    size=PICTURE,
    needs=("densepose",),
    single_token=False,
    factor=4,
    scale=1.0,  # its autoencoder normalises the latents itself
)


def demo_layout() -> Layout:
    """The keys of every cross-attention call: one leading token, then 20x14 tokens of the 160x112 reference picture."""
    return Layout.of(TokenGrid(*REFERENCE_GRID, leading=1, picture=REFERENCE))


def load_part(name: str, folder: Path = WEIGHTS) -> dict[str, Tensor]:
    """The state dict of "unet", "vae" or "encoder", in fp32.

    Raises:
        FileNotFoundError: the weights are missing.
        I2AMError: a file is damaged.
    """
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; the demo model's weights ship with the pack: install it anew")
    try:
        return {key: value.float() for key, value in load_file(path).items()}
    except SafetensorError as error:
        raise I2AMError(
            f"{path} is not a whole safetensors file ({error}); the demo model's weights ship with the pack: install it anew"
        ) from error


class DemoEncoder:
    """The bundled model's reference encoder, as `conditioning.assemble` takes it."""

    family = DEMO
    name = DEMO.name
    size = DEMO.size
    reference_size = REFERENCE

    def __init__(self, folder: Path = WEIGHTS) -> None:
        self.encoder = ReferenceEncoder().eval()
        self.encoder.load_state_dict(load_part("encoder", folder))

    @torch.no_grad()
    def encode(self, reference: Tensor) -> Tensor:
        """Reference pictures (B, 3, 160, 112) in 0-1 to tokens (B, 281, 128)."""
        tokens: Tensor = self.encoder(reference.float().cpu().contiguous())
        return tokens

    @torch.no_grad()
    def null(self, batch: int) -> Tensor:
        """The learned tokens that stand for "no reference", (batch, 281, 128)."""
        return self.encoder.null(batch).clone()

    def layers(self) -> dict[str, Layout]:
        """All layers attend to the encoder's tokens."""
        return {}

    def layout(self) -> Layout:
        """See `demo_layout`."""
        return demo_layout()
