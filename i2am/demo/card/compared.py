"""The models whose figures stand side by side in the tables of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field

from .sources import Figures

WITHOUT = "trained without attention loss"


@dataclass(frozen=True)
class Compared:
    """The evaluations of three models; only the first must be there.

    Attributes:
        own: the shipped model's.
        plain: those of a model of the same shape, trained without attention loss.
        equal: the shipped model's after as many samples as the plain one saw.
    """

    own: Figures
    plain: Figures = field(default_factory=dict)
    equal: Figures = field(default_factory=dict)

    def section(self, name: str) -> tuple[Figures, Figures, Figures]:
        """One section of all three, empty where it was not measured."""
        return self.own.get(name, {}), self.plain.get(name, {}), self.equal.get(name, {})

    @property
    def earlier(self) -> str:
        """What the shipped model is called where it had seen as many samples as the plain one."""
        return f"this model after {self.equal['setup']['samples']:,} samples" if self.equal else ""
