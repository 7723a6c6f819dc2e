"""What people read: links that lead somewhere, a README that stays short, and no figure in it that was not generated."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "web" / "docs"
README = ROOT / "README.md"
LONGEST = 165
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "i2am/models/demo/weights/README.md",
    *sorted(DOCS.glob("*.md")),
]
OF_NODES = sorted(DOCS.glob("I2AM_*.md"))
LARGEST_HELP = 1_500_000
"""Bytes of all pictures of help pages."""
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")
NO_FIGURES = {"0.8.0", "0.33.0", "3.10", "2407.12331"}
"""Numbers with a point that were not measured: versions, and the paper's own number."""


def prose(text: str) -> str:
    """The text without code, and without the targets of its links."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"``.+?``|`[^`\n]+`", "", text)
    return re.sub(r"\]\([^)]*\)", "]", text)


def links(page: Path) -> list[str]:
    """The targets of a page's links and pictures that lie in the repository."""
    text = re.sub(r"``.+?``|`[^`\n]+`", "", page.read_text(encoding="utf-8"))
    found = (given or shown for given, shown in LINK.findall(text))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """The names by which a page's headings can be linked to."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = unquote(target).partition("#")
        found = page.parent / path if path else page
        assert found.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(found), f"{page.name} links to {target}"


def test_the_pages_are_reached_from_the_readme() -> None:
    reached = {(README.parent / target).resolve() for target in links(README)}
    assert [page.name for page in PAGES if page != README and page.resolve() not in reached] == []


@pytest.mark.parametrize("page", OF_NODES, ids=lambda page: page.stem)
def test_help_pages_have_no_relative_links(page: Path) -> None:
    """ComfyUI opens those at its own address, where nothing is; see `renderer.link` in its front end. Pictures it finds."""
    assert [target for target in links(page) if target != f"{page.stem}.jpg"] == []


def test_pictures_of_help_pages_are_few_small_and_shown() -> None:
    pictures = {path.stem: path.stat().st_size for path in DOCS.glob("I2AM_*.jpg")}
    assert pictures
    assert sum(pictures.values()) <= LARGEST_HELP
    shown = {page.stem for page in OF_NODES if f"]({page.stem}.jpg)" in page.read_text(encoding="utf-8")}
    assert shown == set(pictures)
    drawn = re.findall(r'^    "(\w+)": ', (ROOT / "tests" / "help_pictures.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert shown == {f"I2AM_{name}" for name in drawn}
    for name in pictures:
        with Image.open(DOCS / f"{name}.jpg") as picture:
            assert picture.format == "JPEG"
            assert max(picture.width, 300) <= 900


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_are_whole(page: Path) -> None:
    """As many cells in every row as in the head, and no column without a name."""
    head: list[str] = []
    for line in page.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            head = []
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        head = head or cells
        assert len(cells) == len(head), line
        assert all(head), line


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_the_readme_has_no_figure_that_the_card_did_not_write() -> None:
    text = README.read_text(encoding="utf-8")
    written = re.compile(r"<!-- (\w+) -->\n(.*?)<!-- /\1 -->", re.DOTALL)
    assert {name for name, _ in written.findall(text)} == {"checked", "cost", "compared", "trust"}
    own = prose(written.sub("", text)).replace("Stable Diffusion 1.5", "").replace("Qwen-Image 2.1", "").replace("Wan 2.1", "")
    assert set(re.findall(r"\b\d+(?:\.\d+)+\b", own)) - NO_FIGURES == set()
    assert re.findall(r"\d+\s?(?:%|MB|GB|dB|seconds|s\b)", own) == []


def test_the_messages_in_the_readme_are_said() -> None:
    section = README.read_text(encoding="utf-8").partition("## When it says")[2].partition("\n## ")[0]
    messages = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    said = (DOCS / "errors.md").read_text(encoding="utf-8")
    assert messages
    for message in messages:
        assert re.search(".*".join(map(re.escape, message.split("…"))), said), message


def test_the_readmes_example_imports_what_there_is() -> None:
    import i2am

    names = re.search(r"^from i2am import (.+)$", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert names is not None
    assert [name for name in names[1].split(", ") if not hasattr(i2am, name)] == []
