"""I²AM Explorer as a person uses it: a headless Chromium at a real ComfyUI. Skipped where a part of that is missing.

`make test` takes the newest host with its own renderer; `make test-browser` every host in both renderers, and what
test_explorer_whole.py asks besides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import browsers
import hosts
import pytest
from test_host_server import served

LONGEST = 900  # seconds; about 25 on an idle machine
HOSTS = hosts.find()
PATCH = 4  # pixels of the demo picture
OF_REFERENCE = 8

pytestmark = pytest.mark.skipif(bool(browsers.missing()), reason=browsers.summary())
WAYS = [
    pytest.param(host, vue, marks=() if host is HOSTS[-1] and not vue else pytest.mark.slow, id=f"{host.version}-{name}")
    for host in HOSTS
    for vue, name in ((False, "canvas"), (True, "vue"))
]


def use(host: hosts.Host, vue: bool, folder: Path) -> dict[str, Any]:
    """What the script found; its pictures are kept where $I2AM_LOOK says."""
    with served(host, folder) as address:
        return browsers.run("explorer.js", ["--vue"] if vue else [], address, LONGEST)


@pytest.mark.parametrize(("host", "vue"), WAYS)
def test_a_person_points_pins_undoes_and_reloads(host: hosts.Host, vue: bool, tmp_path: Path) -> None:
    found = use(host, vue, tmp_path)
    assert found["problems"] == []
    assert found["vue"] == vue
    assert found["before"].startswith("Run the graph")
    assert found["hidden"], "the widget with the pins' JSON is to be seen"
    names = [pin["name"] for pin in found["start"]]
    assert names == ["letter", "sleeve"]

    for number, click in enumerate(found["clicks"], 1):  # at 50, 100 and 200 %
        x, y = click["at"]
        assert click["query"] == click["hovered"]["query"] == f"{y // PATCH},{x // PATCH}", click["scale"]
        assert (click["pinned"], click["hovered"]["pinned"]) == ("true", "false")
        assert len(click["pins"]) == number
        pin = click["pins"][-1]
        assert (pin["x"] // PATCH, pin["y"] // PATCH, pin["on"]) == (x // PATCH, y // PATCH, "generated")

    # the workflow's first pin and the last click mean one patch: the library's figures, and those that are drawn
    line = next(line for line in found["table"].splitlines() if line.startswith("letter"))
    click, cells = found["clicks"][-1], line.split()
    row, column = map(int, click["peak"].split(","))
    middle = [str(OF_REFERENCE * column + OF_REFERENCE // 2), str(OF_REFERENCE * row + OF_REFERENCE // 2)]
    at = cells.index("reference") + 2  # behind "reference 1"
    assert cells[at : at + 2] == middle
    assert float(cells[at + 2]) == pytest.approx(float(click["ratio"]), abs=0.06)
    assert float(cells[at + 3]) == pytest.approx(float(click["entropy"]), abs=0.006)

    region = found["dragged"]["pins"][-1]
    row, column, rows, columns = map(int, found["dragged"]["query"].split(","))
    assert (region["on"], region["x"], region["y"]) == ("reference 1", OF_REFERENCE * column, OF_REFERENCE * row)
    assert (region["width"], region["height"]) == (OF_REFERENCE * columns, OF_REFERENCE * rows)
    assert (found["removed"], found["undone"], found["reloaded"]) == (3, 4, 4)
    assert found["dialog"] > 300
    assert found["closed"]


@pytest.mark.parametrize(("host", "vue"), WAYS)
def test_a_patch_shows_its_words_and_a_word_its_map(host: hosts.Host, vue: bool, tmp_path: Path) -> None:
    with served(host, tmp_path) as address:
        found = browsers.run("explorer_words.js", ["--vue"] if vue else [], address, LONGEST)
    assert found["problems"] == []
    assert found["vue"] == vue
    for name in ("whole", "patch"):
        words, shares = ([float(share) for share in found[name][key].split(",")] for key in ("words", "shares"))
        assert len(words) == 4
        assert sum(words) == pytest.approx(shares[2], abs=1e-3)  # both references, text, generated
    assert found["whole"]["words"] != found["patch"]["words"]
    names = [f"learned token {i}" for i in range(1, 5)]
    assert sorted(row.rstrip("0123456789. %") for row in found["patch"]["rows"]) == ["learned token"] * 4
    order = sorted(range(4), key=lambda i: -float(found["patch"]["words"].split(",")[i]))
    assert found["patch"]["pressed"] == ""
    for way, rank in (("keyboard", 0), ("pointer", 1)):  # of the most read words
        chosen = names[order[rank]]
        assert found[way]["pressed"] == f"word: {chosen}"
        assert found[way]["level"].startswith(f'Where it read "{chosen}"')
        assert found[way]["query"] == found["patch"]["query"]
