"""What makes two runs of a sampler the same run: the content of everything that goes into it."""

from __future__ import annotations

import hashlib
import uuid
import weakref
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor

Alive = Callable[[], object | None]
"""Gives an object as long as it lives."""


class Content:
    """A name for the content of values, such as those that go into a run.

    Numbers, texts, tensors and what holds them count by what is in them; random ids (UUIDs), which hosts make anew each time,
    not at all; any other object by its identity, as long as it lives.
    """

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=20)
        self._alive: list[Alive] = []

    def add(self, value: Any) -> Content:
        """Take one more value in; returns itself."""
        if isinstance(value, uuid.UUID):
            self._say("uuid", "")
        elif value is None or isinstance(value, bool | int | float | complex | str | bytes | torch.dtype | torch.device):
            self._say(type(value).__name__, repr(value))
        elif isinstance(value, Tensor) and not value.is_nested and value.layout == torch.strided:
            self._tensor(value)
        elif isinstance(value, dict):
            self._say("dict", len(value))
            for key in sorted(value, key=repr):
                self.add(key).add(value[key])
        elif isinstance(value, list | tuple):
            self._say("list", len(value))
            for one in value:
                self.add(one)
        elif isinstance(value, set | frozenset):
            self.add(sorted(value, key=repr))
        elif is_dataclass(value) and not isinstance(value, type):
            self.add_object(value, {f.name: getattr(value, f.name) for f in fields(value)})
        else:
            self._identity(value)
        return self

    def add_object(self, value: Any, attributes: dict[str, Any] | None = None) -> Content:
        """Take in an object by its class and attributes, which are its own unless they are given; returns itself."""
        self._say(type(value).__module__, type(value).__qualname__)
        return self.add(getattr(value, "__dict__", {}) if attributes is None else attributes)

    def finish(self) -> tuple[str, tuple[Alive, ...]]:
        """The name, and what must live for it to hold."""
        return self._digest.hexdigest(), tuple(self._alive)

    def _tensor(self, value: Tensor) -> None:
        self._say(f"tensor {value.dtype}", tuple(value.shape))
        flat = value.detach().to("cpu").contiguous()
        self._digest.update(flat.flatten().view(torch.uint8).numpy().tobytes())

    def _identity(self, value: Any) -> None:
        if isinstance(value, MethodType):  # made anew each time it is asked for
            self._say("method", value.__func__.__qualname__)
            self._identity(value.__self__)
            return
        self._say("id", id(value))
        try:
            self._alive.append(weakref.ref(value))
        except TypeError:
            self._alive.append(lambda: value)

    def _say(self, kind: str, value: Any) -> None:
        self._digest.update(f"{kind}\0{value}\0".encode("utf-8", "surrogatepass"))


def is_alive(alive: tuple[Alive, ...]) -> bool:
    """Whether all of them still live."""
    return all(one() is not None for one in alive)
