"""Maps files with another description or other tensors, written byte by byte, and a bound on what loading them may take."""

from __future__ import annotations

import copy
import json
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filled_maps import example
from hostile_files import bounded
from safetensors import safe_open
from torch import Tensor

from i2am.errors import MapsFileError
from i2am.maps.value import AttributionMaps

MEMORY = 200_000_000
SECONDS = 3.0
DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


@dataclass
class Parts:
    """A maps file taken apart.

    Attributes:
        about: its description; a text is written as it is.
        tensors: by name.
        metadata: further metadata beside the description.
    """

    about: Any
    tensors: dict[str, Tensor] = field(repr=False)
    metadata: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        """Write it, whatever it holds."""
        header: dict[str, Any] = {}
        body = bytearray()
        for name, tensor in self.tensors.items():
            raw = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
            shape = list(tensor.shape)
            header[name] = {"dtype": DTYPES[tensor.dtype], "shape": shape, "data_offsets": [len(body), len(body) + len(raw)]}
            body += raw
        text = self.about if isinstance(self.about, str) else json.dumps(self.about)
        header["__metadata__"] = {"i2am": text, **self.metadata}
        whole = json.dumps(header).encode()
        whole += b" " * (-len(whole) % 8)
        path.write_bytes(struct.pack("<Q", len(whole)) + whole + bytes(body))
        return path


def parts_of(path: Path) -> Parts:
    """A maps file taken apart."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
        return Parts(json.loads(file.metadata()["i2am"]), tensors)


def good(folder: Path) -> Parts:
    """A file that has everything a file can have."""
    return parts_of(example().save(folder / "good.safetensors"))


def loaded(path: Path) -> AttributionMaps | str:
    """The maps of a file, or the sentence by which it was refused; fails where either takes more than it may."""
    start = time.thread_time()
    try:
        with bounded(20, MEMORY):
            maps: AttributionMaps | str = AttributionMaps.load(path)
    except MapsFileError as error:
        maps = str(error)
        check_sentence(maps, path)
    assert time.thread_time() - start < SECONDS
    return maps


def check_sentence(text: str, path: Path) -> None:
    """One short sentence in which nothing can move a terminal's cursor."""
    inner = text.replace(str(path), "PATH")
    assert len(text) < 400, text
    assert inner.isprintable(), ascii(text)
    assert ". " not in inner, text
    assert not inner.endswith("."), text


def agrees(given: Any, kept: Any) -> bool:
    """Whether what a description says is what was kept of it; what it leaves out has a default."""
    if isinstance(given, dict):
        return isinstance(kept, dict) and all(key in kept and agrees(value, kept[key]) for key, value in given.items())
    if isinstance(given, list):
        return not given or (len(given) == len(kept) and all(map(agrees, given, kept)))
    return bool(given == kept)


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a description."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(path for key, one in inner for path in places(one, (*here, key)))]


def changed(about: Any, place: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    """A copy of a description in which ``change`` was called with what holds a place, and its key there."""
    whole = {"": copy.deepcopy(about)}
    inside: Any = whole
    for key in ("", *place)[:-1]:
        inside = inside[key]
    change(inside, ("", *place)[-1])
    return whole[""]
