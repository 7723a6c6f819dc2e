"""`python -m i2am.demo.evaluate.features`: the bundled autoencoder as the network behind FID and KID, for drawn pictures.

An Inception network has seen photographs alone; this one knows the drawn world. Its figures compare with each other only.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from ...drawn.spec import PICTURE
from ...models.demo.tryon import DemoModel

log = logging.getLogger("i2am")

CELLS = (4, 3)
"""(rows, columns) that the latents are pooled to."""


class Features(nn.Module):
    """Pictures (B, 3, H, W), uint8, to (B, 48): the means of the bundled autoencoder's latents over 4 x 3 cells."""

    def __init__(self) -> None:
        super().__init__()
        vae = DemoModel.load().vae
        self.encoder, self.quant = vae.encoder, vae.quant_conv

    def forward(self, pictures: Tensor) -> Tensor:
        """See the class."""
        fitted = interpolate(pictures.float() / 127.5 - 1, size=PICTURE, mode="bilinear", antialias=True)
        mean = self.quant(self.encoder(fitted)).chunk(2, dim=1)[0]
        return adaptive_avg_pool2d(mean, CELLS).flatten(1)


def export(path: Path) -> Path:
    """Write the network as TorchScript, as `i2am evaluate --features` takes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    example = torch.zeros(2, 3, *PICTURE, dtype=torch.uint8)
    with torch.inference_mode():
        traced = torch.jit.trace(Features().eval(), example)
    torch.jit.save(traced, str(path))
    return path


def main(argv: list[str] | None = None) -> int:
    """Export from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m i2am.demo.evaluate.features", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    log.info("wrote %s", export(args.out))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
