"""What stands for the values of a pickle that is read as data: tensors by their measures, all other objects by their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

_STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
}
STORAGES = {
    **{f"torch.{device}{name}Storage": dtype for name, dtype in _STORAGES.items() for device in ("", "cuda.")},
    "torch.storage.UntypedStorage": torch.uint8,
}
"""What a storage's numbers are, by its class's name."""
DTYPES = {f"torch.{name}": x for name, x in vars(torch).items() if isinstance(x, torch.dtype)}
WHOLE_TENSORS = {"torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter", "torch.nn.Parameter"}


class OddFileError(ValueError):
    """A file that is damaged or made to mislead; the text says by what."""


class Inert:
    """Stands for a class or function, or for what it would have made: a name, and what it was given.

    Attributes:
        name: the class's or function's, as the pickle has it.
        parts: the arguments, state and items of what it would have made.
        is_tensor: whether that is a tensor, of a kind that is not read.
    """

    __slots__ = ("is_tensor", "name", "parts")

    def __init__(self, name: str, *parts: Any, is_tensor: bool = False) -> None:
        self.name, self.parts, self.is_tensor = name, list(parts), is_tensor

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class Stored:
    """Numbers that lie elsewhere in the file.

    Attributes:
        key: the name of all of them.
        dtype: of one.
        count: of all of them.
        skipped: how many come before these.
    """

    key: str
    dtype: torch.dtype
    count: int
    skipped: int = 0

    @property
    def nbytes(self) -> int:
        """Of all of them."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Described:
    """A tensor's measures, in elements of its dtype; whether they fit its storage is not known yet."""

    stored: Stored
    dtype: torch.dtype
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def pairs(items: list[Any]) -> dict[Any, Any]:
    """Keys and values in turns; a key whose hash the file could choose is replaced by something with its type's name."""
    if len(items) % 2:
        raise IndexError("a key without a value")
    return {_key(key): value for key, value in zip(items[::2], items[1::2])}


def _key(key: Any) -> Any:
    small = type(key) is not int or -(1 << 63) <= key < 1 << 63
    return key if small and type(key) in (str, bytes, bool, int, float, type(None), Inert) else Inert(type(key).__name__)


def whole(number: Any) -> int:
    """A count or a place.

    Raises:
        ValueError: it is none.
    """
    if type(number) is not int or not 0 <= number < 1 << 62:
        raise ValueError(f"a measure of a tensor is not a whole number from 0 on, but a {type(number).__name__}")
    return number


def _measures(numbers: Any) -> tuple[int, ...]:
    if not isinstance(numbers, tuple) or len(numbers) > 64:  # more than torch computes with
        raise ValueError("a tensor's shape is no tuple of up to 64 numbers")
    return tuple(map(whole, numbers))


def _tensor(stored: Any, offset: Any, size: Any, stride: Any, dtype: Any = None, metadata: Any = None) -> Any:
    if isinstance(stored, Inert) or metadata:  # numbers of a type that no state dict of ours has, or conjugated
        return Inert("torch.Tensor", stored, metadata, is_tensor=True)
    if not isinstance(stored, Stored):
        raise TypeError(f"a tensor of a {type(stored).__name__}")
    size, stride = _measures(size), _measures(stride)
    if len(size) != len(stride):
        raise ValueError(f"a tensor of {len(size)} dimensions has {len(stride)} strides")
    return Described(stored, stored.dtype if dtype is None else dtype, whole(offset), size, stride)


def _tensor_v2(stored: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, metadata: Any = None) -> Any:
    return _tensor(stored, offset, size, stride, metadata=metadata)


def _tensor_v3(
    stored: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, metadata: Any = None
) -> Any:
    name = dtype.name if isinstance(dtype, Inert) else type(dtype).__name__
    if name not in DTYPES:
        return Inert("torch.Tensor", stored, dtype, is_tensor=True)
    return _tensor(stored, offset, size, stride, DTYPES[name], metadata)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _of_type(function: Any, kind: Any, args: Any, state: Any) -> Any:
    """A tensor with attributes of its own, which are left out; a subclass stays unknown, since it may compute its values."""
    names = [x.name if isinstance(x, Inert) else "" for x in (function, kind)]
    if names[0] in TENSORS and names[1] in WHOLE_TENSORS and isinstance(args, tuple):
        return TENSORS[names[0]](*args)
    return Inert(names[1] or "torch.Tensor", args, state, is_tensor=True)


def _mapping(*args: Any) -> dict[Any, Any]:
    """An ordered or counting dict of nothing, of a dict, or of pairs."""
    given = args[-1] if args else {}
    if isinstance(given, dict):
        return dict(given)
    if not isinstance(given, (list, tuple)):
        return {}
    return pairs([part for pair in given for part in _pair(pair)])


def _pair(pair: Any) -> tuple[Any, Any]:
    key, value = pair
    return key, value


REBUILT = "torch._utils._rebuild_"
"""What the functions that make tensors are called."""
TENSORS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
MADE: dict[str, Callable[..., Any]] = {
    **TENSORS,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch.Size": lambda numbers=(): tuple(numbers),
    "collections.OrderedDict": _mapping,
    "collections.Counter": _mapping,
    "collections.defaultdict": lambda *args: _mapping(*args[1:]),
}
"""What is made of a call, by its function's name; anything else is `Inert`."""
