"""The edit model's weights: the network and the text tokens that were learned with it, in one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ...errors import I2AMError
from .family import TEXT, TEXT_WIDTH, WEIGHTS
from .network import EditNetwork

FILE = "edit.safetensors"
CONTEXT = "context"
"""The file's key of the text tokens; every other one is the network's, as ComfyUI's class names it."""


class EditModel(nn.Module):
    """The network, its learned text tokens (4, 32), and what is known about how they were trained."""

    def __init__(self) -> None:
        super().__init__()
        self.network = EditNetwork()
        self.context = nn.Parameter(torch.randn(TEXT, TEXT_WIDTH))
        self.about: dict[str, Any] = {}

    @classmethod
    def load(cls, folder: Path = WEIGHTS) -> EditModel:
        """Read ``folder``'s weights, in fp32 and ready to run.

        Raises:
            FileNotFoundError: they are missing.
            I2AMError: the file is not whole.
        """
        model, (state, about) = cls(), load_edit(folder)
        model.load_file_state(state)
        model.about = about
        return model.eval()

    def file_state(self) -> dict[str, Tensor]:
        """The weights under the file's names."""
        return {**self.network.state_dict(), CONTEXT: self.context.detach()}

    def load_file_state(self, state: dict[str, Tensor]) -> None:
        """Take over weights under the file's names."""
        self.network.load_state_dict({k: v for k, v in state.items() if k != CONTEXT})
        with torch.no_grad():
            self.context.copy_(state[CONTEXT])


def load_edit(folder: Path = WEIGHTS) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights of ``folder`` in fp32 under the file's names, and what the file says of their training.

    Raises:
        FileNotFoundError: they are missing.
        I2AMError: the file is not whole.
    """
    path = folder / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; the edit model's weights ship with the pack: install it anew")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("i2am", "{}"))
        return {name: value.float() for name, value in load_file(path).items()}, about
    except SafetensorError as error:
        raise I2AMError(
            f"{path} is not a whole safetensors file ({error}); the edit model's weights ship with the pack: install it anew"
        ) from error
