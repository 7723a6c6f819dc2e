"""Numbers on command lines: what is none is refused before anything is done, in argparse's own way."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable

_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
MOST_AT_ONCE = 1024
"""Threads or processes."""


def integer(text: str) -> int:
    """A whole number in plain digits.

    Raises:
        ValueError: it is none; "1_000" and digits of other scripts, which Python takes, are none either.

    >>> integer("-12")
    -12
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"expected a whole number, got {text!r}")
    return int(text)


def whole(least: int = 0, most: int | None = None) -> Callable[[str], int]:
    """A reader of whole numbers, for argparse.

    >>> whole(1, 50)("7")
    7
    >>> whole(1, 50)("nan")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: expected a whole number, 1 to 50, got 'nan'
    """
    span = f"{least} or more" if most is None else f"{least} to {most}"

    def parse(text: str) -> int:
        try:
            value = integer(text)
        except ValueError:
            value = None
        if value is None or value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"expected a whole number, {span}, got {_brief(text)}")
        return value

    return parse


def number(least: float = -math.inf, most: float = math.inf) -> Callable[[str], float]:
    """A reader of finite numbers, for argparse.

    >>> number()("2.5e-1")
    0.25
    >>> number(0)("nan")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: expected a finite number, 0 or more, got 'nan'
    """
    low, high = math.isfinite(least), math.isfinite(most)
    span = f", {least:g} to {most:g}" if low and high else f", {least:g} or more" if low else f", at most {most:g}" * high

    def parse(text: str) -> float:
        value = float(text) if _NUMBER.fullmatch(text) else math.nan
        if not math.isfinite(value) or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected a finite number{span}, got {_brief(text)}")
        return value

    return parse


def _brief(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:39]}…")
