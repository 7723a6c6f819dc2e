"""The paper's models at a small size: their own takes minutes here."""

from __future__ import annotations

from typing import Any

import pytest
from paper_runs import SIDE

from i2am.models.tryon.encoder import TryOnEncoder


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every family's pictures be of `SIDE` x `SIDE` pixels."""
    real = TryOnEncoder.__init__

    def init(self: TryOnEncoder, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        self.size = (SIDE, SIDE)

    monkeypatch.setattr(TryOnEncoder, "__init__", init)
