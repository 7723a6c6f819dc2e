"""Trainings take bfloat16 only where the CPU has instructions for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from i2am.demo.train import precision


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    precision._cpu_has_bfloat16.cache_clear()
    yield
    precision._cpu_has_bfloat16.cache_clear()


@pytest.mark.parametrize("has", [True, False])
@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16", "bf16"])
def test_as_the_cpu_says(monkeypatch: pytest.MonkeyPatch, name: str, has: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {name: has, "avx2": True, "cpu_name": "bf16"})
    with precision.mixed():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == (torch.bfloat16 if has else torch.float32)
