"""What a thing that goes wrong in people's graphs is, see `bad_inputs`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from host_tests.graph_bench import Bench, Prompt


@dataclass(frozen=True)
class Case:
    """One thing that goes wrong.

    Attributes:
        did: what a person did, in plain words.
        node: the type of the node that must complain.
        says: a regular expression of the message: what was seen, and what to do.
        make: the graph.
    """

    did: str
    node: str
    says: str
    make: Callable[[Bench], Prompt]


@dataclass(frozen=True)
class Said:
    """Something that is no error, but is said where a person sees it.

    Attributes:
        did: what a person did, in plain words.
        node: the type of the node that says it.
        output: the index of the STRING or heat that it is said in.
        says: a regular expression of it.
        make: the graph; its last node says it.
    """

    did: str
    node: str
    output: int
    says: str
    make: Callable[[Bench], Prompt]
