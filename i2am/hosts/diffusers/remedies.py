"""What to set so that a processor's attention can be watched, told apart by what it uses now."""

from __future__ import annotations

import sys
from typing import Any

from torch import nn

NATIVE = "native"
"""The backend that calls `scaled_dot_product_attention` itself."""
UNKNOWN = "unknown"


def backend_of(module: nn.Module) -> str:
    """The attention backend of a module's processor by its name; `UNKNOWN` if diffusers does not say."""
    processor = getattr(module, "processor", module)
    backend = getattr(processor, "_attention_backend", None) or _active_backend()
    return str(getattr(backend, "value", backend))


def remedy_for(module: nn.Module) -> str:
    """What to set in place of a processor that computes its attention where it is not seen."""
    used, own = type(getattr(module, "processor", module)), getattr(type(module), "_default_processor_cls", None)
    elsewhere = backend_of(module) not in (NATIVE, UNKNOWN)
    found = []
    if used is not own and not (elsewhere and used.__module__.startswith("diffusers.")):
        of_old = used.__module__ == "diffusers.models.attention_processor"
        name = "AttnProcessor2_0" if own is None and of_old else getattr(own, "__name__", "")
        named = f", set_processor({name}())" if name else ""
        found.append(f"give that attention diffusers' own processor{named}")
    if elsewhere:
        found.append('call transformer.set_attention_backend("native")')
    return " and ".join(found) or "switch off what replaces its attention (a cache, or another package's patch)"


def _active_backend() -> Any:
    """The attention backend that diffusers uses where a processor names none; `UNKNOWN` if it does not say."""
    registry = getattr(sys.modules.get("diffusers.models.attention_dispatch"), "_AttentionBackendRegistry", None)
    active = getattr(registry, "get_active_backend", None)
    return UNKNOWN if active is None else active()[0]
