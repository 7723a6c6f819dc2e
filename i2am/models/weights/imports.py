"""What a pickle would import, and what that says of it."""

from __future__ import annotations

from collections.abc import Iterable

from .inert import MADE, STORAGES

USUAL = {*MADE, *STORAGES}
"""What checkpoints of plain tensors name."""
PROGRAMS = {
    *("os", "posix", "nt", "sys", "subprocess", "multiprocessing", "pty", "shutil", "tempfile", "asyncio", "ctypes", "pip"),
    *("importlib", "runpy", "codeop", "pdb", "bdb", "timeit", "cProfile", "pickle", "_pickle", "marshal", "pkgutil", "pydoc"),
    *("socket", "ssl", "urllib", "http", "ftplib", "smtplib", "requests", "httpx", "webbrowser", "ensurepip", "zipimport"),
}
"""Modules that run, load or send things; no model is made of them."""
BUILTINS = {
    f"builtins.{name}"
    for name in ("eval", "exec", "compile", "open", "input", "breakpoint", "__import__", "setattr", "delattr", "exit", "quit")
}


def running(names: Iterable[str]) -> list[str]:
    """Names that are there to run something.

    None is ever run here, whether it is known or not; a file that has one is told of, since other programs might run it.
    """
    return [name for name in names if name.split(".")[0] in PROGRAMS or name in BUILTINS]


def unusual(names: Iterable[str]) -> list[str]:
    """Names that checkpoints of plain tensors do not have."""
    return [name for name in names if name not in USUAL]
