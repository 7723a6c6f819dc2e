"""The page around the viewer: one self-contained HTML file that needs neither network nor server.

It embeds the ES modules of web/viewer as data URLs behind an import map, because a page opened from file:// cannot import
files.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..answers.answer import Answer
from ..errors import I2AMError, shown
from .viewer_file import viewer_file

LONGEST_TITLE = 300
"""Characters of the heading, and of the line below it."""


def page_of(data: Mapping[str, Any], said: Answer | None = None) -> str:
    """The HTML of a page that shows what `viewer_data` made, below the answer in words if there is one.

    Raises:
        I2AMError: the viewer's files are missing.
    """
    folder = _viewer_folder()
    modules = {}
    for file in sorted(folder.glob("*.js")):
        # "./name.js" cannot be resolved in a module at a data: URL: import by name instead
        source = re.sub(r'(\bfrom\s+)"\./', r'\1"i2am/', file.read_text(encoding="utf-8"))
        modules[f"i2am/{file.name}"] = f"data:text/javascript;base64,{base64.b64encode(source.encode()).decode()}"
    style = "\n".join(file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.css")))
    parts = {
        "title": html.escape(shown(data["title"], LONGEST_TITLE)),
        "about": html.escape(shown(_about(data["run"]), LONGEST_TITLE)),
        "answer": _in_words(said),
        "style": style,
        "modules": json.dumps({"imports": modules}),
        "data": base64.b64encode(viewer_file(data)).decode("ascii"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda m: parts[m[1]], PAGE)


def _viewer_folder() -> Path:
    """Where the viewer's files lie: beside this file in a wheel, in web/viewer in a checkout."""
    here = Path(__file__).resolve().parents[1]  # the package
    for folder in (here / "_viewer", here.parent / "web" / "viewer"):
        if (folder / "viewer.js").is_file():
            return folder
    raise I2AMError(f"the viewer's files are neither in {here / '_viewer'} nor in {here.parent / 'web' / 'viewer'}; reinstall")


def _in_words(said: Answer | None) -> str:
    """An answer as HTML, with the rules behind it and what cannot be said folded; nothing where nothing is said."""
    if said is None or not (said.sentences or said.missing):
        return ""
    below = (*said.rules, *(line for line in said.missing if line not in said.unanswered))
    parts = ((*said.unanswered, *said.sentences), below)
    lines, rules = ("".join(f"<li>{html.escape(one)}</li>" for one in part) for part in parts)
    details = f"<details><summary>How figures became words</summary><ul>{rules}</ul></details>"
    return f'<section class="i2am-answer"><ul>{lines}</ul>{details}</section>'


def _about(run: Mapping[str, Any]) -> str:
    """One line about the run, from what is known.

    >>> _about({"model": "demo", "steps": 50, "cfg": 5.0})
    'demo · 50 steps · cfg 5'
    """
    words = {"model": "{}", "host": "{}", "sampler": "{}", "steps": "{} steps", "cfg": "cfg {:g}", "seed": "seed {}"}
    return " · ".join(text.format(run[key]) for key, text in words.items() if key in run)


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline' data:">
<meta name="color-scheme" content="light dark">
<title>{{title}}</title>
<style>
{{style}}
</style>
<script type="importmap">{{modules}}</script>
</head>
<body class="i2am-page">
<header><h1>{{title}}</h1><p>{{about}}</p></header>
{{answer}}
<main id="viewer"><p>This page needs JavaScript and a browser from 2023 or later.</p></main>
<script type="application/octet-stream;base64" id="data">{{data}}</script>
<script type="module">
import { startPage } from "i2am/page.js";
startPage(document.getElementById("viewer"), document.getElementById("data"));
</script>
</body>
</html>
"""
