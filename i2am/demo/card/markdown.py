"""Markdown from figures: tables, numbers, and the parts of a page that the card writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = Sequence[str]


def table(head: Row, rows: Sequence[Row]) -> str:
    """A table with its head, ending in a newline."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]]) + "\n"


def number(value: Any, form: str = ".2f") -> str:
    """A figure in the given format, or a dash where there is none."""
    return "–" if value is None else format(value, form)


def replace(page: str, name: str, body: str) -> str:
    """The page with ``body`` between its marks ``<!-- name -->`` and ``<!-- /name -->``; all else stays.

    Raises:
        ValueError: the page lacks one of the marks.
    """
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    head, opened, rest = page.partition(start)
    _, closed, tail = rest.partition(end)
    if not opened or not closed:
        raise ValueError(
            f"the page has no part between <!-- {name} --> and <!-- /{name} -->; put both marks on lines of their own"
        )
    return f"{head}{start}{body}{end}{tail}"
