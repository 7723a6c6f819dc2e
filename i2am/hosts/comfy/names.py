"""What a person called the model and the sampler of a run, as far as the host lets one know."""

from __future__ import annotations

from collections import Counter
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


def patched(patcher: Any) -> str:
    """What LoRAs and other patches a ModelPatcher lays over its weights, as "lora 0.8 on 264 weights"; "" if none.

    The host keeps how strongly each one is laid on which weights, but not the names of its files.
    """
    found: Counter[tuple[str, float]] = Counter()
    for laid in patcher.patches.values():
        for strength, value, *_ in laid:
            kind = getattr(value, "name", None) or (value[0] if isinstance(value, tuple) and len(value) > 1 else "difference")
            found[str(kind), float(strength)] += 1
    return ", ".join(f"{kind} {strength:g} on {count} weights" for (kind, strength), count in sorted(found.items()))
