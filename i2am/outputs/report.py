"""The HTML report: one self-contained file in which a patch of either picture shows its map on the other.

The page holds the viewer of web/viewer (plain ES modules, as data URLs behind an import map, because a page
opened from file:// cannot import files), the pictures as PNG and the maps as quantised arrays.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ..errors import I2AMError
from ..maps.value import AttributionMaps
from .viewer_data import viewer_data

log = logging.getLogger("i2am")


def write_report(
    path: str | Path,
    maps: AttributionMaps,
    generated: Image.Image,
    references: Sequence[Image.Image],
    *,
    scores: Mapping[str, Any] | None = None,
    title: str = "I²AM report",
    images: Mapping[str, Image.Image] | None = None,
    truth: Tensor | None = None,
    reference_mask: Tensor | None = None,
    branch: str = "cond",
    image: int = 0,
) -> Path:
    """Write one HTML file that explores a recording and needs neither network nor server.

    Args:
        path: the file to write; its folder is made where missing.
        maps: what was recorded.
        generated: the generated picture.
        references: one picture for each reference of ``maps``.
        scores: content of scores.json, shown as tables; `imacs.Score` values are accepted.
        title: heading of the page.
        images: further pictures to show, by caption.
        truth: (2, H, W) true place (x, y) of each generated pixel in pixels of the first reference, NaN where none.
        reference_mask: (H, W), 1 = the object on the first reference; the page then starts with where it went.
        branch: half of classifier-free guidance to show.
        image: which image of the batch to show.

    Returns:
        The path written.

    Raises:
        I2AMError: pictures do not fit the recording, or the viewer's files are missing.
        UnavailableError: branch or image was not recorded.
    """
    data = viewer_data(
        maps,
        generated,
        references,
        scores=scores,
        title=title,
        images=images,
        truth=truth,
        reference_mask=reference_mask,
        branch=branch,
        image=image,
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(data), encoding="utf-8")
    log.info("report of %.1f MB written to %s", path.stat().st_size / 1e6, path)
    return path


def _viewer_folder() -> Path:
    """Where the viewer's files lie: beside this file in a wheel, in web/viewer in a checkout."""
    here = Path(__file__).resolve().parents[1]  # the package
    for folder in (here / "_viewer", here.parent / "web" / "viewer"):
        if (folder / "viewer.js").is_file():
            return folder
    raise I2AMError(f"the viewer's files are neither in {here / '_viewer'} nor in {here.parent / 'web' / 'viewer'}; reinstall")


def _about(run: Mapping[str, Any]) -> str:
    """One line on what was run, of what is known."""
    words = {"model": "{}", "host": "{}", "sampler": "{}", "steps": "{} steps", "cfg": "cfg {:g}", "seed": "seed {}"}
    return " · ".join(text.format(run[key]) for key, text in words.items() if key in run)


def _page(data: dict[str, Any]) -> str:
    folder = _viewer_folder()
    modules = {}
    for file in sorted(folder.glob("*.js")):
        # a module at a data: URL has no place to which "./name.js" could be relative: import by name instead
        source = re.sub(r'(\bfrom\s+)"\./', r'\1"i2am/', file.read_text(encoding="utf-8"))
        modules[f"i2am/{file.name}"] = f"data:text/javascript;base64,{base64.b64encode(source.encode()).decode()}"
    style = "\n".join(file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.css")))
    content = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "title": html.escape(data["title"]),
        "about": html.escape(_about(data["run"])),
        "style": style,
        "modules": json.dumps({"imports": modules}),
        "data": content,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda m: parts[m[1]], PAGE)


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
<main id="viewer"><p>This page needs JavaScript and a browser of 2023 or later.</p></main>
<script type="application/json" id="data">{{data}}</script>
<script type="module">
import { startPage } from "i2am/page.js";
startPage(document.getElementById("viewer"), document.getElementById("data"));
</script>
</body>
</html>
"""
