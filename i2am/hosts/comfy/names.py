"""What a person called the model and the sampler of a run, as far as the host lets one know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

NAME = "i2am_name"
"""Under which a loader of this pack attaches its model's name; clones keep it."""


def sampler_name(sampler: Any) -> str:
    """The name of a sampler object as it was chosen: the host makes "ddim" of Euler's function and an option."""
    function = getattr(sampler, "sampler_function", sampler)
    name = getattr(function, "__name__", "").removeprefix("sample_").removesuffix("_function")
    random_inpainting = (getattr(sampler, "inpaint_options", None) or {}).get("random")
    return "ddim" if name == "euler" and random_inpainting else name


def model_name(patcher: Any) -> str:
    """The name of a ModelPatcher's checkpoint; of one whose host does not keep it, that of the model's class."""
    given = patcher.attachments.get(NAME)
    if given:
        return str(given)
    arguments = (getattr(patcher, "cached_patcher_init", None) or (None, ()))[1]  # how newer hosts load the model again
    path = arguments[0] if arguments else None
    return Path(path).name if isinstance(path, str) else type(patcher.model).__name__
