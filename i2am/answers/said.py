"""What is said of a run: sentences, each with the figures that it was made from and the rule by which they became words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

TOPICS = ("wires", "branch", "region", "reach", "which", "routes", "words", "outside", "time", "focus", "next")


@dataclass(frozen=True)
class Said:
    """One sentence.

    Attributes:
        topic: what it is about, one of `TOPICS`; "next" is a suggestion, and never a cause.
        text: the sentence, with the figures that decide it.
        rule: the threshold that it rests on, in words; empty where there is none.
        figures: what it was made from, by name.
        verdict: of a sentence that judges, the word it came to.
        about: the region or reference that it is about; empty: the whole.
    """

    topic: str
    text: str
    rule: str = ""
    figures: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    verdict: str = ""
    about: str = ""
