"""Paint-by-Example from a folder in diffusers' layout, as model hubs offer it, under its authors' own names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ...errors import WeightsFileError
from ..weights.file import read_weights
from .ldm_keys import PREFIX, unet_to_ldm, vae_to_ldm

PARTS = ("unet", "vae", "image_encoder")
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
VARIANTS = (".safetensors", ".fp16.safetensors", ".bin", ".fp16.bin")
"""In the order in which they are looked for."""
_BLOCK = {
    "norm1": "ln_1",
    "attn1.to_out.0": "attn.c_proj",
    "norm3": "ln_2",
    "ff.net.0.proj": "mlp.c_fc",
    "ff.net.2": "mlp.c_proj",
}
_FUSED = ("attn1.to_q", "attn1.to_k", "attn1.to_v")
"""In the order in which the authors' one projection holds them."""
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""What the autoencoder's attention was called before diffusers 0.17; folders of that time still do."""


def is_folder(path: Path) -> bool:
    """Whether a folder looks like a pipeline with an image encoder in diffusers' layout."""
    return all((path / part).is_dir() for part in PARTS)


def read_model(path: Path) -> dict[str, Tensor]:
    """The state dict, in the authors' layout, of a weights file or of a folder in diffusers' layout.

    Raises:
        WeightsFileError: as `read_weights` and `read_folder`.
    """
    return read_folder(path) if path.is_dir() else read_weights(path)


def read_folder(path: Path) -> dict[str, Tensor]:
    """The state dict, in the authors' layout, of Paint-by-Example's pipeline folder.

    Raises:
        WeightsFileError: a part or its weights are missing or cannot be read safely, or a key is of another model.
    """
    missing = [part for part in PARTS if not (path / part).is_dir()]
    if missing:
        raise WeightsFileError(
            f"{path} has no folder {' and no folder '.join(missing)}; expected Paint-by-Example in diffusers' layout, with "
            f"{', '.join(PARTS)}, or one checkpoint file"
        )
    state: dict[str, Tensor] = {}
    for part, prefix, renamed in (
        ("unet", "model.diffusion_model.", unet_to_ldm),
        ("vae", "first_stage_model.", _vae),
        ("image_encoder", "", _image_encoder),
    ):
        weights = read_weights(_file(path / part))
        try:
            state |= {prefix + key: value for key, value in renamed(weights).items()}
        except KeyError as error:
            raise WeightsFileError(f"{path / part} is not Paint-by-Example's: {error.args[0]}") from error
    return state


def _file(folder: Path) -> Path:
    for stem in STEMS:
        for variant in VARIANTS:
            if (folder / (stem + variant)).is_file():
                return folder / (stem + variant)
    found = sorted(item.name for item in folder.iterdir())[:6]
    raise WeightsFileError(
        f"{folder} holds no weights in one file ({', '.join(found) or 'it is empty'}); expected one such as "
        f"{STEMS[0]}{VARIANTS[0]}"
    )


def _vae(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    named = {}
    for key, value in state.items():
        head, _, last = key.rpartition(".")
        before, _, name = head.rpartition(".")
        named[f"{before}.{_OLD_ATTENTION[name]}.{last}" if ".attentions." in key and name in _OLD_ATTENTION else key] = value
    return vae_to_ldm(named)


def _image_encoder(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.startswith("model."):
            inner = key.removeprefix("model.").removeprefix(PREFIX)
            if inner != "embeddings.position_ids":
                out[f"cond_stage_model.transformer.{PREFIX}{inner}"] = value
        elif key.startswith("mapper.blocks."):
            number, _, inner = key.removeprefix("mapper.blocks.").partition(".")
            name, _, last = inner.rpartition(".")
            block = f"cond_stage_model.mapper.resblocks.{number}"
            if name == _FUSED[0]:
                parts = [state[f"mapper.blocks.{number}.{part}.{last}"] for part in _FUSED]
                out[f"{block}.attn.c_qkv.{last}"] = torch.cat(parts)
            elif name not in _FUSED:
                out[f"{block}.{_BLOCK[name]}.{last}"] = value
        elif key.startswith("final_layer_norm."):
            out["cond_stage_model.final_ln." + key.removeprefix("final_layer_norm.")] = value
        elif key.startswith("proj_out."):
            out[key] = value
        elif key == "uncond_vector":
            out["learnable_vector"] = value
        else:
            raise KeyError(f"its image encoder has {key!r}")
    return out
