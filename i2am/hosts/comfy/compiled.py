"""Compiled models: a recorded call runs them uncompiled.

Breaking out of compiled code at the observers alone is not enough. The host compiles without guards on a model's options, so
code compiled without observers would be used with them, and the other way round.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ...errors import RecordingError

HOST_KEY = "torch_compile_kwargs"
"""In a MODEL's options: what the host's own compiling node was given."""
NOTE = (
    "this MODEL is compiled; recorded evaluations ran uncompiled, so the picture can differ from an unrecorded one by the "
    "compiler's rounding"
)


def is_compiled(model: Any, network: nn.Module) -> bool:
    """Whether a part of a MODEL, whose ``network`` is about to be called, is compiled."""
    if "torch._dynamo" not in sys.modules:
        return False
    return HOST_KEY in model.model_options or any(map(_is_compiled, network.modules()))


def _is_compiled(part: nn.Module) -> bool:
    return hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None) is not None


def check_uncompiling() -> None:
    """Refuse to record a compiled model where PyTorch cannot run it uncompiled.

    Raises:
        RecordingError: this PyTorch has no ``torch.compiler.set_stance``.
    """
    if not hasattr(torch.compiler, "set_stance"):
        raise RecordingError(
            f"this MODEL is compiled, and PyTorch {torch.__version__} cannot run a compiled model uncompiled while it is "
            f"recorded; leave out the node that compiles it, or install PyTorch 2.6 or newer"
        )


class _Uncompiled:
    """Counts the callers that need uncompiled code, since PyTorch has one stance for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._stance: Any = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._users == 0:
                self._stance = torch.compiler.set_stance("force_eager")
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._stance.__exit__(None, None, None)


uncompiled = _Uncompiled()
"""A context in which compiled models and functions run as they were written."""
