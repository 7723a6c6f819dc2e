"""What goes wrong with files, see `bad_inputs`."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import torch
from host_tests.bad_case import Case
from host_tests.graph_bench import Bench, Prompt
from host_tests.maps_case import GENERATED, REFERENCE, picture, planted
from safetensors.torch import save_file


def _saved(b: Bench, change: Callable[[bytes], bytes]) -> Prompt:
    """I²AM Load Maps on a maps file in the output folder, altered."""
    path = planted(b.pack).save(b.output / "maps.safetensors")
    path.write_bytes(change(path.read_bytes()))
    return b.file("maps.safetensors [output]")


def _described(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """A maps file with another description."""

    def changed(whole: bytes) -> bytes:
        size = struct.unpack("<Q", whole[:8])[0]
        header = json.loads(whole[8 : 8 + size])
        about = json.loads(header["__metadata__"]["i2am"])
        change(about)
        header["__metadata__"]["i2am"] = json.dumps(about)
        new = json.dumps(header).encode()
        return struct.pack("<Q", len(new)) + new + whole[8 + size :]

    return changed


def _with_nan(whole: bytes) -> bytes:
    """A maps file whose first number is NaN."""
    start = 8 + struct.unpack("<Q", whole[:8])[0]
    return whole[:start] + struct.pack("<f", float("nan")) + whole[start + 4 :]


def _foreign(b: Bench) -> Prompt:
    save_file({"x": torch.zeros(3)}, b.output / "model.safetensors", {"format": "pt"})
    return b.file("model.safetensors [output]")


FILES: dict[str, Case] = {
    # ------------------------------------------------------------------ files
    "save elsewhere": Case(
        "saved maps under ../maps",
        "I2AM_SaveMaps", r"prefix '\.\./maps' leads out of the output folder; give one such as I2AM/maps",
        lambda b: b.alone("I2AM_SaveMaps", filename_prefix="../maps"),
    ),
    "save without a name": Case(
        "saved maps under a folder without a name",
        "I2AM_SaveMaps", r"the file name prefix 'I2AM/' has no name; give one such as I2AM/maps",
        lambda b: b.alone("I2AM_SaveMaps", filename_prefix="I2AM/"),
    ),
    "report elsewhere": Case(
        "wrote a report to /tmp/report",
        "I2AM_Report", r"prefix '/tmp/report' leads out of the output folder; give one such as I2AM/maps",
        lambda b: b.alone("I2AM_Report", image=picture(GENERATED), filename_prefix="/tmp/report"),
    ),
    "report without a picture": Case(
        "left the picture of Report unconnected",
        "I2AM_Report", r"Required input is missing: image",
        lambda b: b.alone("I2AM_Report"),
    ),
    "report of half a second run": Case(
        "connected maps_2 of Report and forgot image_2",
        "I2AM_Report", r"maps_2 is connected, but image_2 is not.*connect image_2, or neither",
        lambda b: b.alone("I2AM_Report", image=picture(GENERATED), maps_2=b.maps()),
    ),
    "report of too many references": Case(
        "gave Report two reference pictures for a run of one",
        "I2AM_Report", r"2 reference pictures were given, but the run had 1 reference\(s\); give one for each",
        lambda b: b.alone("I2AM_Report", image=picture(GENERATED), reference_image=picture(REFERENCE, 2)),
    ),
    "load from elsewhere": Case(
        "loaded maps from ../secret.safetensors",
        "I2AM_LoadMaps", r"'\.\./secret\.safetensors' leads out of its folder; choose one of the files in it",
        lambda b: b.file("../secret.safetensors"),
    ),
    "no such file": Case(
        "loaded a file that was deleted",
        "I2AM_LoadMaps", r"no file 'gone\.safetensors' in the input folder; press R to read the list anew",
        lambda b: b.file("gone.safetensors"),
    ),
    "broken file": Case(
        "loaded a maps file whose end is missing",
        "I2AM_LoadMaps", r"maps\.safetensors is not a whole safetensors file.*truncated one; choose a maps file, or save it",
        lambda b: _saved(b, lambda whole: whole[:-100]),
    ),
    "foreign file": Case(
        "loaded a model's safetensors file",
        "I2AM_LoadMaps", r"safetensors file, but not of I2AM maps.*choose one that I²AM Save Maps",
        _foreign,
    ),
    "newer file": Case(
        "loaded a maps file written by a newer version of this pack",
        "I2AM_LoadMaps", r"has version 6 of the maps format, this I2AM reads versions 1 to 5; update I2AM",
        lambda b: _saved(b, _described(lambda about: about.update(version=6))),
    ),
    "file that says too much": Case(
        "loaded a maps file from a stranger that says it has a thousand million heads",
        "I2AM_LoadMaps", r"damaged \(layers\.0\.heads is 1000000000, expected less than or equal to 1024\); save them again",
        lambda b: _saved(b, _described(lambda about: about["layers"][0].update(heads=10**9))),
    ),
    "file with NaN": Case(
        "loaded a maps file in which a number is NaN",
        "I2AM_LoadMaps", r"holds I2AM maps, but the tensor '.*' holds NaN or infinity; record them again",
        lambda b: _saved(b, _with_nan),
    ),
    "load by a long name": Case(
        "pasted a text of 5,000 letters as the file's name",
        "I2AM_LoadMaps", r"the file name 'x{20}…' has 5000 characters; give at most 255 bytes between two slashes",
        lambda b: b.file("x" * 5000),
    ),
    "save by a long name": Case(
        "pasted a text of 5,000 letters as the prefix of Save Maps",
        "I2AM_SaveMaps", r"the file name prefix 'x{20}…' has 5000 characters; give at most 200 bytes between two slashes",
        lambda b: b.alone("I2AM_SaveMaps", filename_prefix="x" * 5000),
    ),
}  # fmt: skip
