"""The page of a comparison: whole and offline, with every figure in a table, and no way for a name to become markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from evaluated_case import row, write_run
from viewer_case import dump, in_browser

from i2am.commands.cli import main
from i2am.evaluation.compare.charts import MOST, Series, scatter
from i2am.evaluation.compare.html import tag

VOID = {"meta", "img"}
BAD = "<script>alert(1)</script>\"'&"


class Outline(HTMLParser):
    """Refuses what is not closed in order; counts elements and keeps their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.found if found == name]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    runs = []
    for k, name in enumerate(("good", BAD.replace("/", ""))):
        rows = [
            row(f"{i}{BAD.replace('/', '')}", imacs_g=i * 0.1 - k, imacs_r=0.5, ssim=0.5 + 0.01 * (i * 7 % 10) - 0.1 * k,
                by_threshold={"imacs_g.default": {"0.4": (i * 0.1, k * 0.1), "0.6": (0.1 * i * i, 0.0)}})
            for i in range(10)
        ]  # fmt: skip
        runs.append(f"{name}={write_run(folder / f'run{k}', rows, pictures=True, model=BAD)}")
    assert main(["compare", *runs, "--out", str(folder / "out"), "--resamples", "100", "--examples", "1"]) == 0
    return folder / "out" / "report.html"


def test_it_is_well_formed_and_asks_for_nothing_from_outside(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    outline = Outline(text)
    assert outline.of("script") == []
    sources = [one["src"] or "" for one in outline.of("img")]
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not re.search(r"url\(|@import|https?:", text)
    assert outline.of("html") == [{"lang": "en"}]
    (policy,) = [one["content"] for one in outline.of("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_tables_can_be_heard_and_charts_and_pictures_have_words(page: Path) -> None:
    outline = Outline(page.read_text(encoding="utf-8"))
    tables = len(outline.of("table"))
    assert tables >= 4
    assert len(outline.of("caption")) == tables
    assert all(one.get("scope") in ("col", "row", "colgroup") for one in outline.of("th"))
    assert all(one.get("tabindex") == "0" and one.get("aria-label") for one in outline.of("div") if one.get("class") == "wide")
    charts = [one for one in outline.of("svg") if one.get("aria-hidden") != "true"]
    assert charts
    assert all(one.get("role") == "img" and "ρ" in (one.get("aria-label") or "") for one in charts)
    assert all(one.get("alt") for one in outline.of("img"))


def test_the_papers_figures_are_there_and_marked(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in ("DCI-VTON", "StableVITON", "custom", "refined custom"):
        assert f">{name} (reported)</th>" in text
    assert "11.7553 [11.6572]" in text
    assert "not measured here" in text


def test_a_chart_draws_no_more_points_than_can_be_seen() -> None:
    drawn = scatter([Series("a", [(float(i), float(-i)) for i in range(5 * MOST)])], "x", "y", "t")
    path = re.search(r'd="([^"]*)" class="points', drawn)
    assert path is not None
    assert path[1].count("M") == MOST


def test_points_lie_where_the_axes_say() -> None:
    drawn = scatter([Series("a", [(0.0, 0.0), (10.0, 4.0)])], "x", "y", "t")
    at = {float(x) for x in re.findall(r'd="M([\d.]+) 10V', drawn)}
    points = re.search(r'd="([^"]*)" class="points', drawn)
    assert points is not None
    first, second = (float(x) + 2.6 for x in re.findall(r"M([\d.]+) ", points[1]))
    assert min(at) == pytest.approx(first, abs=0.2)  # ticks at 0 and 10
    assert max(at) == pytest.approx(second, abs=0.2)


def test_a_text_never_becomes_markup() -> None:
    assert tag("p", "<b>", tag("i", "&"), title='"<') == '<p title="&quot;&lt;">&lt;b&gt;<i>&amp;</i></p>'
    assert "\\u202e" in tag("p", "\u202eturned")


@in_browser
def test_a_browser_shows_it_whole(page: Path, tmp_path: Path) -> None:
    shown = dump(page, tmp_path / "profile")
    assert "Does IMACS follow quality?" in shown
    assert shown.count("<svg") == page.read_text(encoding="utf-8").count("<svg")


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--confidence", "95"], "--confidence"), (["--resamples", "1"], "--resamples"), (["--examples", "51"], "--examples")],
)
def test_numbers_that_cannot_be_meant_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    run = write_run(tmp_path / "a", [row("x", ssim=1.0)])
    assert main(["compare", str(run), "--out", str(tmp_path / "out"), *options]) == 2
    assert said in capsys.readouterr().err
