"""A run put into words: figures, the thresholds that turn them into sentences, and what is worth a try."""

from __future__ import annotations

from .answer import Answer, answer
from .regions import Region
from .said import Said

__all__ = ["Answer", "Region", "Said", "answer"]
