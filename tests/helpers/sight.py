"""How colours look to all kinds of sight."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

SIGHT = {
    "all": torch.eye(3),
    "no red": torch.tensor([[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]),
    "no green": torch.tensor([[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]),
    "no blue": torch.tensor([[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]]),
}
"""Linear RGB as seen by people who lack a kind of cone (Machado, Oliveira and Fernandes 2009, severity 1)."""


def places_of(colours: Any, sight: str) -> torch.Tensor:
    """Colours (n, 3) in 0-255 as such people see them, (n, 3) in OKLab (Ottosson 2020): 0.02 is about the least one notices."""
    rgb = torch.as_tensor(np.asarray(colours, np.float32)) / 255
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = (linear @ SIGHT[sight].T).clamp(0, 1)
    cones = torch.tensor([[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]])
    lab = torch.tensor([[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]])
    return (seen @ cones.T) ** (1 / 3) @ lab.T
