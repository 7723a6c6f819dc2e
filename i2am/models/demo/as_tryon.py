"""The demo model as one of the paper's kind, from its bundled weights or from others of its layout."""

from __future__ import annotations

from pathlib import Path

import torch

from ...errors import WeightsFileError
from ..tryon.model import TryOnModel
from .family import WEIGHTS, DemoEncoder, load_part
from .networks import build_unet, build_vae
from .tryon import PARTS


def demo_files(path: Path | None = None) -> dict[str, Path]:
    """The files of "unet", "vae" and "encoder".

    Args:
        path: a folder with the three of them, or the U-Net's own file; what does not lie beside that is the bundled one. None:
            the bundled ones.

    Raises:
        WeightsFileError: a file is missing.
    """
    if path is None or path.is_dir():
        files = {name: (path or WEIGHTS) / f"{name}.safetensors" for name in PARTS}
    else:
        beside = {name: path.with_name(f"{name}.safetensors") for name in PARTS}
        files = {name: file if file.is_file() else WEIGHTS / file.name for name, file in beside.items()} | {"unet": path}
    missing = [file for file in files.values() if not file.is_file()]
    if missing:
        raise WeightsFileError(
            f"there is no {missing[0]}; expected a folder with {', '.join(f'{name}.safetensors' for name in PARTS)}, or a "
            f"U-Net's file of the demo model's layout"
        )
    return files


def load_demo(
    path: Path | None = None, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> TryOnModel:
    """The demo model, sampled and recorded as the paper's models are.

    Args:
        path: see `demo_files`.
        device: where to run.
        dtype: of the U-Net; the autoencoder and the reference encoder stay in fp32.

    Raises:
        WeightsFileError: a file is missing, or is not of the demo model's layout.
    """
    files = demo_files(path)
    unet, vae = build_unet(), build_vae()
    try:
        for name, part, kept in (("unet", unet, dtype), ("vae", vae, torch.float32)):
            state = load_part(files[name].stem, files[name].parent)
            part.load_state_dict({key: value.to(kept) for key, value in state.items()}, assign=True)
        encoder = DemoEncoder(files["encoder"].parent)
    except RuntimeError as error:
        raise WeightsFileError(
            f"{files['unet']} is not of the demo model's layout ({' '.join(str(error).split())[:200]}); give its weights, or "
            f"name the family that it is of"
        ) from error
    return TryOnModel(encoder, unet.to(device).eval(), vae.to(device).eval())
