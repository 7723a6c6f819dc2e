"""What `record` is given is checked before the run, so that a slip of the pen costs no picture."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...errors import RecordingError, shown
from ...maps.facts import RunInfo
from ...recording.recorder import Recorder

OWN = ("layout", "steps", "images", "branches", "generated_size")
"""Arguments of the recorder that a host gives it."""
OPTIONS = tuple(name for name in inspect.signature(Recorder).parameters if name not in OWN)
"""Those that may be given to `record`."""
KNOWN = ("steps", "timesteps", "evaluations", "host")
"""Facts about a run that the recording itself finds out."""
FACTS = tuple(field.name for field in fields(RunInfo) if field.name not in KNOWN)
"""Those that may be given."""


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options that the recorder does not have.

    Raises:
        RecordingError: names the option, and the one that may be meant.
    """
    for name in options:
        if name not in OPTIONS:
            near = difflib.get_close_matches(name, OPTIONS, 1)
            meant = f"did you mean {near[0]!r}? " if near else ""
            raise RecordingError(f"record has no option {name!r}; {meant}there are {', '.join(OPTIONS)}")


def names_of(name: str, value: Iterable[str]) -> tuple[str, ...]:
    """Several branches as a tuple.

    Raises:
        RecordingError: it is a single text, or not several.
    """
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise RecordingError(f"{name} are several branches, such as ('cond',), got {value!r}")
    return tuple(value)


def facts_of(info: Mapping[str, Any] | None) -> dict[str, Any]:
    """Facts about a run that can be kept and saved.

    Raises:
        RecordingError: it is no such fact, or it is not plain data.
    """
    facts = dict(info or {})
    for name, value in facts.items():
        if name not in FACTS:
            where = "put others into info={'extra': {...}}" if name not in KNOWN else "the recording finds it out itself"
            raise RecordingError(f"info has no fact {name!r}; it takes {', '.join(FACTS)}: {where}")
        if name == "extra" and not isinstance(value, Mapping):
            raise RecordingError(f"info['extra'] must be a dict, got {shown(repr(value))}")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise RecordingError(f"info[{name!r}] cannot be saved ({error}); give plain data: text and numbers") from None
    return facts


def pictures_of(thumbnails: Mapping[str, Any] | None) -> dict[str, Tensor] | None:
    """Small pictures as the maps keep them, (H, W, 3) uint8, from such tensors, arrays, or Pillow pictures.

    Raises:
        RecordingError: one is anything else; names it.
    """
    if thumbnails is None:
        return None
    found = {}
    for name, given in thumbnails.items():
        value = np.array(given.convert("RGB")) if isinstance(given, Image.Image) else given
        value = torch.from_numpy(value) if isinstance(value, np.ndarray) and value.dtype == np.uint8 else value
        if not isinstance(value, Tensor) or value.dtype != torch.uint8 or value.ndim != 3 or value.shape[-1] != 3:
            seen = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor | np.ndarray) else type(value).__name__
            raise RecordingError(
                f"the thumbnail {name!r} is {seen}, expected a Pillow picture or a tensor (H, W, 3) of uint8, 0 to 255"
            )
        found[name] = value.detach().cpu()
    return found
