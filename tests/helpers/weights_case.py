"""Weights to write to checkpoint files, and what must come back from them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from i2am.errors import WeightsFileError
from i2am.models.weights.file import read_weights

Tensors = dict[str, Tensor]
BOTH = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


class Callback:
    """Stands for a training callback, which only unsafe pickle can bring back."""

    def __init__(self) -> None:
        self.best = 0.5


class Holder:
    """An object that is a dict of tensors once it is unpickled, and not before."""

    def __init__(self, state: Tensors, options: object = None) -> None:
        self.state, self.options = state, options

    def __reduce__(self) -> tuple[object, ...]:
        return _held, (Holder, self.state, self.options)


def _held(_: type, state: Tensors, options: object) -> dict[str, object]:
    return {**state, **({} if options is None else {"options": options})}


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


def tensors() -> Tensors:
    torch.manual_seed(3)
    return {
        "unet.weight": torch.randn(4, 3),
        "unet.half": torch.randn(5).half(),
        "unet.bfloat": torch.randn(7).bfloat16(),
        "ema.steps": torch.tensor(7),
        "mask": torch.tensor([True, False, True]),
        "none": torch.zeros(0, 4),
        "turned": torch.randn(6, 2).t(),
    }


def saved(path: Path, value: object, zipped: bool = True, **kwargs: int) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=zipped, **kwargs)
    return path


def assert_same(found: Tensors, expected: Tensors) -> None:
    assert set(found) == set(expected)
    for name, x in expected.items():
        assert found[name].dtype == x.dtype, name
        assert found[name].shape == x.shape, name
        assert torch.equal(found[name], x), name


def refusal(path: Path) -> str:
    with pytest.raises(WeightsFileError) as caught:
        read_weights(path)
    assert str(path) in str(caught.value)
    return str(caught.value)
