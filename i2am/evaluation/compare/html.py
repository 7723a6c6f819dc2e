"""HTML from values: text is escaped unless it was made here."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from ...errors import shown

VOID = {"img", "meta", "path"}
"""Elements that have no end when they have no content."""


class Html(str):
    """A text that is HTML already."""

    __slots__ = ()


def tag(name: str, *content: str, **attributes: str) -> Html:
    """An element; ``class_`` is the attribute class, and ``aria_label`` aria-label.

    >>> tag("a", "<b>", tag("i", "x"), class_="y")
    '<a class="y">&lt;b&gt;<i>x</i></a>'
    """
    head = "".join(f' {_name(key)}="{html.escape(shown(value, _long(value)))}"' for key, value in attributes.items())
    inner = "".join(map(text, content))
    return Html(f"<{name}{head}>" if name in VOID and not inner and name != "path" else f"<{name}{head}>{inner}</{name}>")


def text(value: str) -> Html:
    """A text, escaped unless it is HTML."""
    return value if isinstance(value, Html) else Html(html.escape(shown(value, _long(value)), quote=False))


def join(parts: Iterable[str]) -> Html:
    """Texts and elements one after another."""
    return Html("".join(map(text, parts)))


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, class_: str = "") -> Html:
    """A table that scrolls sideways where it is too wide; the first cell of a row is its heading.

    A row of one cell stands over the rows that follow it.
    """
    lines = []
    for row in rows:
        if len(row) == 1:
            lines.append(tag("tr", tag("th", row[0], scope="colgroup", colspan=str(len(head)), class_="over")))
        else:
            cells = (cell if cell.startswith("<td") and isinstance(cell, Html) else tag("td", cell) for cell in row[1:])
            lines.append(tag("tr", tag("th", row[0], scope="row"), *cells))
    heads = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    whole = tag("table", tag("caption", caption), tag("thead", heads), tag("tbody", *lines), class_=class_)
    return tag("div", whole, class_="wide", role="region", aria_label=caption, tabindex="0")


def details(summary: str, *content: str) -> Html:
    """What opens when it is asked for."""
    return tag("details", tag("summary", summary), *content)


def _name(key: str) -> str:
    return {"class_": "class", "viewBox": "viewBox"}.get(key, key.replace("_", "-"))


def _long(value: str) -> int:
    return max(len(value) * 6, 1)  # an escape has at most six characters
