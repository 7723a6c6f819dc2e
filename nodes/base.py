"""What all nodes share: socket types, schemas that every promised host accepts, and pictures in and out."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
import torch
from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor

from ..i2am.errors import I2AMError
from ..i2am.geometry.frames import per_image as chosen_frames
from ..i2am.models.pictures import channels_first

CATEGORY = "I2AM"
PREVIEW_COMPRESSION = 1
"""As in the host's own preview nodes."""

Recording = io.Custom("I2AM_RECORDING")
Maps = io.Custom("I2AM_MAPS")
Heat = io.Custom("I2AM_HEAT")
Encoder = io.Custom("I2AM_REFERENCE_ENCODER")

# what tells this pack's objects from others', whichever copy of it made them, and the nodes that give them
_SIGNS = {
    "recording": ("maps_of", "I²AM Record"),
    "maps": ("marginal", "I²AM Collect, Look or Load Maps"),
    "heat": ("panels", "I²AM Map, Patch Map or Threshold"),
    "encoder": ("reference_size", "I²AM Demo Model or Load Try-On"),
}
# A reference is a picture here and a number there: what the interface calls these inputs; saved workflows hold their ids
_NAMED = {
    ("IMAGE", "reference"): "reference picture",
    ("IMAGE", "reference_image"): "reference picture",
    ("IMAGE", "reference_2"): "reference 2 picture",
    ("IMAGE", "reference_3"): "reference 3 picture",
    ("INT", "reference"): "reference number",
    ("INT", "reference_index"): "reference number",
}
_SCHEMA = {field.name for field in dataclasses.fields(io.Schema)}


def schema(**fields: Any) -> io.Schema:
    """An `io.Schema` of our category, without the fields that this host does not know yet."""
    return io.Schema(**{name: value for name, value in {"category": CATEGORY, **fields}.items() if name in _SCHEMA})


def field(kind: Any, name: str, *args: Any, **options: Any) -> Any:
    """An input of a type, without the options that this host does not know yet (such as ``advanced``)."""
    if (kind.io_type, name) in _NAMED:
        options.setdefault("display_name", _NAMED[kind.io_type, name])
    known = inspect.signature(kind.Input.__init__).parameters
    return kind.Input(name, *args, **{option: value for option, value in options.items() if option in known})


def kept_after_run() -> Any:
    """What ``control_after_generate`` of a number is where it shall stay as it is: "fixed", or True on older hosts.

    Older hosts know True alone, and let the number change after each run unless the user chooses otherwise.
    """
    known = inspect.signature(io.Int.Input.__init__).parameters["control_after_generate"].annotation
    return "fixed" if "ControlAfterGenerate" in str(known) else True


def check(**sockets: Any) -> None:
    """Refuse what came to our sockets, by their type's name, from another pack: a reroute or switch lets anything pass.

    Raises:
        I2AMError: with what came, and which node to connect.
    """
    for name, value in sockets.items():
        kind = name.removesuffix("_2")  # a second one of its kind
        sign, source = _SIGNS[kind]
        if not hasattr(value, sign):
            raise I2AMError(f"{name} got a {type(value).__name__}, which is none of this pack; connect the {kind} of {source}")


def samples(latent: Any) -> Tensor:
    """The numbers of a LATENT, (B, C, h, w).

    Raises:
        I2AMError: it is no LATENT of pictures.
    """
    found = latent.get("samples") if isinstance(latent, dict) else latent
    if found is not None and getattr(found, "is_nested", False) and not isinstance(found, Tensor):  # a video and its sound
        found = found.unbind()[0]
    if not isinstance(latent, dict) or not isinstance(found, Tensor):
        raise I2AMError(f"latent got a {type(found).__name__}, which is no LATENT; connect the recorded sampler's LATENT")
    return found


def pictures(image: Tensor) -> list[Image.Image]:
    """An IMAGE, (B, H, W, 3 or 4) in 0-1, as RGB pictures; what is transparent is laid over white.

    Raises:
        I2AMError: it is no batch of at least one picture, or holds what is no number.
    """
    shape = tuple(getattr(image, "shape", ()))
    if len(shape) != 4 or shape[-1] not in (3, 4) or not shape[0]:
        got = f"this IMAGE has the shape {shape}" if shape else f"this IMAGE is a {type(image).__name__}"
        raise I2AMError(
            f"{got}, expected (pictures, height, width, 3) with at least one picture; connect what a node puts out as IMAGE"
        )
    if not bool(torch.isfinite(image).all()):
        raise I2AMError(
            "this IMAGE holds NaN or infinity, which shows as black: its VAE overflowed in half precision; start ComfyUI with "
            "--fp32-vae, or decode with another VAE"
        )
    whole = (channels_first(image.detach().cpu()).clamp(0, 1) * 255).round().byte().movedim(1, -1).numpy()
    return [Image.fromarray(array) for array in whole]


def per_image(image: Any, images: int, frames: int) -> Any:
    """An IMAGE with a picture for each image of a run, where those are latent frames and all decoded frames were given.

    Raises:
        I2AMError: their number fits neither.
    """
    if frames == 1 or getattr(image, "ndim", 0) != 4:
        return image
    return image[chosen_frames(range(len(image)), images, frames)]


def run_pictures(maps: Any, image: Any) -> list[Image.Image]:
    """The generated pictures of a run as RGB pictures, one for each image or one for all; see `per_image` and `pictures`."""
    return pictures(per_image(image, maps.images, maps.frames))


def image(shown: list[Image.Image]) -> Tensor:
    """RGB pictures of one size as an IMAGE, (B, H, W, 3) in 0-1."""
    return torch.stack([torch.from_numpy(np.asarray(p.convert("RGB")).astype(np.float32) / 255) for p in shown])


def preview(shown: Tensor) -> ui.SavedImages:
    """An IMAGE as the node's own preview: one file in the host's temporary folder for each distinct picture.

    The file is written as the host's own preview nodes do it, but named by its pixels, so that a picture that is shown again
    takes no more space.
    """
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return ui.SavedImages([ui.SavedResult(_saved(picture, folder), "", io.FolderType.temp) for picture in pictures(shown)])


def temporary(raw: bytes, ending: str) -> dict[str, str]:
    """Bytes as a file in the host's temporary folder, named by what is in it; returns where the host's /view finds it."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"i2am_temp_{hashlib.blake2b(raw, digest_size=16).hexdigest()}{ending}"
    if not file.exists():
        _whole(file, lambda part: part.write_bytes(raw))
    return {"filename": file.name, "subfolder": "", "type": "temp"}


def _whole(file: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name first, so that another prompt never sees half of it."""
    part = file.with_name(f"{file.stem}.{uuid.uuid4().hex}.part")
    write(part)
    part.replace(file)


def _saved(picture: Image.Image, folder: Path) -> str:
    digest = hashlib.blake2b(repr(picture.size).encode() + picture.tobytes(), digest_size=16)
    file = folder / f"i2am_temp_{digest.hexdigest()}.png"
    if not file.exists():
        _whole(file, lambda part: picture.save(part, "PNG", compress_level=PREVIEW_COMPRESSION))
    return file.name
