"""Pages of recordings and titles from strangers: never empty, and no script but our own."""

from __future__ import annotations

import math
import re
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from report_case import PICTURES, data_of, picture, read, record

from i2am.geometry.layout import Layout, TokenGrid
from i2am.maps.bounds import MOST_STEPS
from i2am.maps.facts import LayerInfo, RunInfo
from i2am.maps.kinds import tensor_kinds
from i2am.maps.value import AttributionMaps
from i2am.outputs.page import page_of
from i2am.outputs.report import report_of_run, write_report

TEXTS = {
    "a script": "</script><script>alert(1)</script>",
    "a script in capitals": "</SCRIPT ><sCrIpT>alert(1)//",
    "a comment that hides the end": "<!--<script>",
    "the end of the title": "</title><script>alert(1)</script>",
    "the end of the style": "</style><img src=x onerror=alert(1)>",
    "a picture that fails": "<img src=x onerror=alert(1)>",
    "an attribute": "\" onload=alert(1) x='",
    "a link": "javascript:alert(1)",
    "one of the page's own parts": "{{data}}{{modules}}{{title}}",
    "a part that there is not": "{{nothing}}",
    "groups of a pattern": r"\g<0>\1\\",
    "an entity": "&lt;script&gt;&#0;",
    "half of a surrogate pair": "a\ud800b",
    "the other half": "\udfff",
    "terminal escapes": "\x1b[2J\x1b]0;x\x07\x9b31m",
    "a text that turns": "\u202egnp.exe",
    "no character": "\0",
    "line separators": "a\u2028b\u2029c",
    "a carriage return": "a\r\nb",
    "very long": "<b>" * 20_000,
    "a key of JavaScript's": "__proto__",
    "a method of JavaScript's": "constructor",
}
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture(scope="module")
def maps() -> AttributionMaps:
    return record()


def named(maps: AttributionMaps, text: str) -> AttributionMaps:
    """The same maps with a text in every place that has one, but for the layers' own names."""
    references = tuple(replace(x, name=text) for x in maps.references)
    extra = {text: text, "steps": text, "cfg": text, "seed": [text], "nested": {text: {text: [text, math.nan, 10**5000]}}}
    run = replace(maps.run, model=text, host=text, sampler=text, extra=extra)
    facts = {name: getattr(maps, name) for name in ("layers", "branches", "images", "bins", "groups", "recorded")}
    return AttributionMaps(
        dict(maps._tensors), references=references, run=run, generated_size=maps.generated_size, notes=(text, text), **facts
    )


def harmless(path: Path) -> dict[str, Any]:
    """The data of a page that is whole and holds nothing to run but our own."""
    page = path.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.endswith("</html>\n")
    assert not CONTROL.search(page)
    found = read(path)
    assert set(found.scripts) == {"importmap", "data", "module"}
    assert len(re.findall("<script", page, re.IGNORECASE)) == 3
    assert len(re.findall("<!--", page)) == 0
    assert found.loads == []
    assert not re.search(r"<[^>]*\son\w+\s*=", re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.DOTALL))
    data = data_of(path)
    assert all(not CONTROL.search(text) for text in texts(data))
    return dict(data)


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for one in pair for text in texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in texts(one)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_from_a_stranger_runs_nothing(maps: AttributionMaps, tmp_path: Path, name: str) -> None:
    text = TEXTS[name]
    scores = {text: text, "imacs": {text: {text: {"score": math.inf, "notes": [text]}}}, "large": 10**5000}
    path = write_report(
        tmp_path / "r.html", named(maps, text), *PICTURES, title=text, scores=scores, images={text: picture(5, 5)}
    )
    data = harmless(path)
    assert data["run"]["steps"] == 7  # what a stranger adds does not replace what is known
    assert data["run"].get("cfg") is None
    assert data["scores"]["large"] == "an integer of 16610 bits"
    assert len(re.findall("<title>(.*?)</title>", path.read_text(encoding="utf-8"), re.DOTALL)[0]) < 2000


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=30)
PLAIN = st.recursive(
    ANY_TEXT | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(text=ANY_TEXT, value=PLAIN)
def test_any_text_runs_nothing(text: str, value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "r.html")
        path.write_bytes(page_of({"title": text, "run": {"model": text, "cfg": 1.0}, "any": value}).encode())
        harmless(path)


def test_a_page_that_cannot_be_made_leaves_the_old_one(maps: AttributionMaps, tmp_path: Path, monkeypatch: Any) -> None:
    path = write_report(tmp_path / "r.html", maps, *PICTURES)
    old = path.read_bytes()

    def broken(*_: Any) -> str:
        raise ValueError("half of it")

    monkeypatch.setattr("i2am.outputs.report.page_of", broken)
    with pytest.raises(ValueError, match="half of it"):
        write_report(path, maps, *PICTURES)
    assert path.read_bytes() == old
    with pytest.raises(ValueError, match="half of it"):
        write_report(tmp_path / "new.html", maps, *PICTURES)
    assert not (tmp_path / "new.html").exists()


@pytest.mark.parametrize("title", ["", "  ", "x" * 5000, 5, "\ud800"])
def test_any_title_makes_a_page(maps: AttributionMaps, tmp_path: Path, title: Any) -> None:
    harmless(report_of_run(tmp_path / "r.html", maps, PICTURES[:1], PICTURES[1], title=title))


def test_numbers_that_javascript_would_round_are_text(maps: AttributionMaps, tmp_path: Path) -> None:
    seeded = named(maps, "x")
    object.__setattr__(seeded, "run", replace(seeded.run, seed=2**64 - 1, extra={"small": -(2**53), "large": 2**53 + 1}))
    run = harmless(write_report(tmp_path / "r.html", seeded, *PICTURES))["run"]
    assert (run["seed"], run["small"], run["large"]) == ("18446744073709551615", -(2**53), "9007199254740993")


def test_as_many_steps_as_a_file_may_have_are_shown_in_seconds(tmp_path: Path) -> None:
    steps, layout = MOST_STEPS, Layout.of(TokenGrid(1, 2))
    layers = tuple(LayerInfo(name, TokenGrid(1, 1), 1, False, 3, layout.references) for name in ("a", "b"))
    last = {"queries": (1,), "tokens": (2,)}
    tensors = {
        (name, layer.name, "cond", 0): torch.rand(1, steps, 1, *last[kind.along])
        for name, kind in tensor_kinds("step").items()
        if kind.calls != "joint"
        for layer in layers
    }
    each = tuple((step, step + 1) for step in range(steps))
    facts: dict[str, Any] = {"branches": ("cond",), "images": 1, "bins": each, "groups": each, "recorded": tuple(range(steps))}
    maps = AttributionMaps(
        tensors, layers=layers, references=layout.references, run=RunInfo(steps), generated_size=(64, 48), **facts
    )
    start = time.thread_time()
    harmless(write_report(tmp_path / "r.html", maps, PICTURES[0], PICTURES[1][:1]))
    assert time.thread_time() - start < 15
