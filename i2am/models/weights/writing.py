"""Tensors to a safetensors file, one at a time."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from ...errors import WeightsFileError
from .kinds import shown, told

log = logging.getLogger("i2am")

DTYPES = {
    torch.float64: "F64",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int16: "I16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_tensors(tensors: dict[str, Tensor], out: Path, *, half: bool = False) -> int:
    """Write a safetensors file, one tensor in memory at a time, and return its size in bytes.

    Each tensor is written whole and contiguous, so that those that shared memory no longer do. The file gets its name
    once it is whole. Format: https://github.com/huggingface/safetensors#format

    Raises:
        WeightsFileError: a tensor is of a kind that the format does not know, or the file cannot be written.
    """
    dtypes = {name: torch.float16 if half and x.is_floating_point() else x.dtype for name, x in tensors.items()}
    for name, x in tensors.items():
        if x.layout != torch.strided or x.is_quantized or x.is_meta or dtypes[name] not in DTYPES:
            raise WeightsFileError(
                f"the tensor {shown(name)} ({x.dtype}, {x.layout}, {x.device}) has no place in a safetensors file; make it a "
                f"dense one of a usual type first"
            )
    names = sorted(tensors, key=lambda name: (-dtypes[name].itemsize, name))  # wide ones first, so that all lie aligned
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        start, end = end, end + tensors[name].numel() * dtypes[name].itemsize
        header[name] = {"dtype": DTYPES[dtypes[name]], "shape": list(tensors[name].shape), "data_offsets": [start, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    free = shutil.disk_usage(out.parent).free
    if end > free:
        raise WeightsFileError(
            f"{out} would take {end / 1e9:,.1f} GB and its folder has {free / 1e9:,.1f} GB free; give another OUT"
        )
    draft = out.with_name(out.name + ".part")
    bar = tqdm(total=end, unit="B", unit_scale=True, desc=out.name, leave=False, disable=None)
    try:
        with bar, draft.open("wb") as file:
            file.write(len(encoded).to_bytes(8, "little") + encoded)
            for name in names:
                written = tensors[name].to(dtypes[name]).contiguous()
                if half:
                    _warn_of_overflow(name, tensors[name], written)
                file.write(written.reshape(-1).view(torch.uint8).numpy().data)
                bar.update(written.nbytes)
        with safe_open(draft, "pt") as whole:
            whole.keys()
        draft.replace(out)
    except (OSError, SafetensorError) as error:
        raise WeightsFileError(f"{out} could not be written ({told(error)}); check the folder and the space left") from error
    finally:
        draft.unlink(missing_ok=True)
    return out.stat().st_size


def _warn_of_overflow(name: str, before: Tensor, after: Tensor) -> None:
    infinite = after.isinf() if before.is_floating_point() else torch.zeros(())
    lost = int((infinite & before.double().isfinite()).sum()) if infinite.any() else 0
    if lost:
        log.warning("%s: %d of %d values are too large for float16 and became infinite", shown(name), lost, before.numel())
