"""Which arithmetic the trainings run in."""

from __future__ import annotations

import functools

import torch


def mixed(device: torch.device | str = "cpu") -> torch.autocast:
    """Autocast to bfloat16 where the device computes in it; elsewhere fp32, since emulated bfloat16 is many times slower."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=has_bfloat16(device))


def has_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Whether a device has instructions for bfloat16; only CPUs are asked."""
    return torch.device(device).type != "cpu" or _cpu_has_bfloat16()


@functools.cache
def _cpu_has_bfloat16() -> bool:
    return any(has is True and "bf16" in name for name, has in torch.cpu.get_capabilities().items())
