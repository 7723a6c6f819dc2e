"""Two nodes for tests alone: one brings a Python object into a graph, one takes out what a socket carries."""

from __future__ import annotations

from itertools import count
from typing import Any

import nodes

_serials = count()
_given: dict[str, tuple[int, Any]] = {}
_caught: dict[str, list[Any]] = {}


class Give:
    """Outputs the object that was given under a name; another object under that name makes it run again."""

    CATEGORY, FUNCTION, RETURN_TYPES = "I2AM tests", "give", ("*",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"name": ("STRING", {})}}

    @classmethod
    def IS_CHANGED(cls, name: str) -> int:
        return _given[name][0]

    def give(self, name: str) -> tuple[Any]:
        return (_given[name][1],)


class Catch:
    """Keeps what it receives, as the list that the host hands on."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE, INPUT_IS_LIST = "I2AM tests", "catch", (), True, True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"value": ("*", {})}, "hidden": {"unique_id": "UNIQUE_ID"}}

    def catch(self, value: list[Any], unique_id: list[str]) -> dict[str, Any]:
        _caught[unique_id[0]] = list(value)
        return {}


nodes.NODE_CLASS_MAPPINGS.update({"I2AMTest_Give": Give, "I2AMTest_Catch": Catch})


def giving(given: dict[str, Any]) -> dict[str, Any]:
    """The nodes ``give_<name>`` that output these objects."""
    for name, value in given.items():
        if name not in _given or _given[name][1] is not value:
            _given[name] = next(_serials), value
    return {f"give_{name}": {"class_type": "I2AMTest_Give", "inputs": {"name": name}} for name in given}


def catching(watched: dict[str, tuple[str, int]]) -> dict[str, Any]:
    """The nodes ``catch_<name>`` that keep what these outputs, (node id, index), carry."""
    return {
        f"catch_{name}": {"class_type": "I2AMTest_Catch", "inputs": {"value": [str(node), index]}}
        for name, (node, index) in watched.items()
    }


def caught(name: str) -> list[Any]:
    """What ``catch_<name>`` received when it last ran."""
    return _caught[f"catch_{name}"]


def forget() -> None:
    """Let go of everything that was given and caught."""
    _given.clear()
    _caught.clear()
