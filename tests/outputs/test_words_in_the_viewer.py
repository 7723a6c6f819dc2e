"""Words in the viewer: each patch's shares by word and each word's map are the library's, by pointer and by keyboard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from joint_run import JointRun, flux_like
from report_case import Scripts, picture, unpack
from viewer_case import dump, in_browser

from i2am.geometry.words import words_of
from i2am.levels.choice import Choice
from i2am.levels.word_maps import FEW, MOST, POOLED, told_words, word_shares
from i2am.maps.value import AttributionMaps
from i2am.outputs.embedded_words import EmbeddedWords
from i2am.outputs.report import write_report
from i2am.outputs.second import SecondRun
from i2am.outputs.viewer_data import viewer_data

TOKENS = ["<s>", "▁put", "▁red", "▁dr", "ess", "▁and", "▁red", "▁hat", "▁on", "▁her", "</s>", "<pad>", "<pad>"]
PICTURES = picture(64, 96), [picture(64, 80, 1), picture(48, 32, 2)]
DRIVER = """
const errors = [];
addEventListener("error", (event) => errors.push(event.message));
addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));
const root = await new Promise((done) => {
  const look = () => document.querySelector(".i2am-viewer") && done(document.querySelector(".i2am-viewer"));
  new MutationObserver(look).observe(document.getElementById("viewer"), { childList: true });
  look();
});
const card = root.querySelector(".i2am-words")?.closest("section");
const level = () => root.querySelector(".i2am-generated .i2am-level").textContent;
const seen = () => ({
  ...root.dataset, level: level(), hidden: card.hidden, head: card.querySelector("h2").textContent,
  rows: [...card.querySelectorAll("li")].map((row) => row.textContent),
  pressed: [...card.querySelectorAll("button")].filter((one) => one.ariaPressed === "true").map((one) => one.dataset.side),
  focused: document.activeElement.dataset.side ?? "",
});
const canvas = root.querySelector(".i2am-generated canvas");
const at = (u, v) => {
  const box = canvas.getBoundingClientRect();
  return { clientX: box.left + u * box.width, clientY: box.top + v * box.height, bubbles: true };
};
const did = { start: seen() };
canvas.dispatchEvent(new PointerEvent("pointermove", at(0.6, 0.4)));
did.hover = seen();
canvas.dispatchEvent(new PointerEvent("click", at(0.6, 0.4)));
const button = () => card.querySelector("button");
button().focus();
button().click(); // as Enter does
did.chosen = seen();
document.activeElement.click();
did.again = seen();
document.activeElement.click();
canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true, cancelable: true }));
did.whole = seen();
const words = (one) => [...one.options].some((option) => option.value.startsWith("word: "));
const menu = [...root.querySelectorAll("select")].find(words);
did.menu = [...(menu?.options ?? [])].map((option) => [option.value, option.textContent]);
const layer = [...root.querySelectorAll("input[type=range]")].find((one) => one.labels[0].textContent === "Layer");
layer.value = 1;
layer.dispatchEvent(new Event("input"));
did.layer = { ...seen(), note: root.querySelector(".i2am-generated").textContent };
const result = document.createElement("script");
result.id = "result";
result.type = "application/json";
result.textContent = JSON.stringify({ did, errors }).replaceAll("<", "\\\\u003c");
document.body.append(result);
"""


def recorded(tokens: list[str] | None = None, **options: Any) -> AttributionMaps:
    tokens = TOKENS if tokens is None else tokens
    return JointRun({"cond": flux_like(len(tokens))}).record(**options).with_words({"cond": words_of(tokens)})


@pytest.fixture(scope="module")
def maps() -> AttributionMaps:
    return recorded(word_maps=True)


def used(path: Path) -> dict[str, Any]:
    """What the page does when it is used."""
    page = path.read_text(encoding="utf-8").replace("</body>", f'<script type="module">{DRIVER}</script></body>')
    path.write_text(page, encoding="utf-8")
    found = Scripts(dump(path, path.parent / "profile"))
    assert "result" in found.scripts, "the driver did not finish"
    did: dict[str, Any] = json.loads(found.scripts["result"])
    assert did["errors"] == []
    return dict(did["did"])


def names_of(maps: AttributionMaps) -> list[str]:
    return list(word_shares(maps).labels[:-3])  # without shirt, shoes and generated


def test_the_data_has_a_map_of_each_part_of_the_text_by_time(maps: AttributionMaps) -> None:
    data = viewer_data(maps, *PICTURES, image=1)
    names = names_of(maps)
    assert [word["name"] for word in data["words"]] == names
    assert [word["name"] for word in data["words"] if word["apart"]] == [POOLED["special"], POOLED["fill"]]
    titles = {kind["side"]: kind["title"] for kind in data["kinds"]}
    assert titles["word: dress"] == 'Where it read "dress"'
    assert titles["word: fill"] == "Where it read fill"
    arrays = {entry["side"]: entry["values"] for entry in data["marginals"] if entry["layer"] == -1}
    for group, steps in enumerate(maps.groups):
        wanted = word_shares(maps, Choice(image=1, steps=steps)).values
        for index, name in enumerate(names):
            values, off = unpack(arrays[f"word: {name}"])
            assert (np.abs(values[group, 0] - wanted[index].flatten().numpy()) <= off[group, 0] + 1e-6).all()


@pytest.mark.parametrize("plain", [recorded(), recorded(word_maps=True).with_words({})], ids=["no maps", "no names"])
def test_without_maps_of_words_there_is_nothing_and_without_names_tokens_are_numbered(plain: AttributionMaps) -> None:
    data = viewer_data(plain, *PICTURES)
    if plain.word_layers:
        assert data["words"][0]["name"] == "token 0"
        assert any("The words have no names" in note for note in data["notes"])
    else:
        assert data["words"] == []
        assert not any(kind["side"].startswith("word") for kind in data["kinds"])


@pytest.mark.parametrize(
    ("most", "shape", "kind", "note"),
    [
        (10**6, 2, "uint16", ""),
        (900, 1, "uint16", "as their mean over steps."),
        (500, 1, "uint8", "as their mean over steps, with 8 bits."),
        (10, 0, "", "are left out."),
    ],
)
def test_their_size_is_bounded_and_what_that_costs_is_said(
    maps: AttributionMaps, most: int, shape: int, kind: str, note: str
) -> None:
    found = EmbeddedWords(maps, "cond", 0, maps.groups, most)
    assert found.size <= most
    assert found.notes == ([f"To keep this small, maps of words {'' if not shape else 'are embedded '}{note}"] if note else [])
    assert len(found.words) == len(found.kinds) == len(found.marginals) == (len(names_of(maps)) if shape else 0)
    assert all((entry["values"]["shape"][0], entry["values"]["dtype"]) == (shape, kind) for entry in found.marginals)


def test_of_many_words_those_that_take_little_are_one_part() -> None:
    many = recorded([f"▁w{i}" for i in range(60)], word_maps=True)
    data = viewer_data(many, *PICTURES)
    assert len(data["words"]) == MOST + 1
    assert data["words"][-1] == {"side": f"word: {FEW}", "name": FEW, "apart": True}


@in_browser
def test_a_patch_shows_its_shares_by_word_and_a_word_its_map(maps: AttributionMaps, tmp_path: Path) -> None:
    did = used(write_report(tmp_path / "report.html", maps, *PICTURES))
    heat, names = word_shares(maps), names_of(maps)
    told = dict(line.rsplit(": ", 1) for line in told_words(heat))
    start = [float(share) for share in did["start"]["words"].split(",")]
    assert start == pytest.approx([float(told[name].removesuffix(" %")) / 100 for name in names], abs=6e-4)
    assert did["start"]["head"] == "Words read by the whole picture"
    assert did["start"]["pressed"] == []

    row, column = map(int, did["hover"]["query"].split(","))
    here = heat.values[: len(names), row, column].numpy()
    shares = [float(share) for share in did["hover"]["words"].split(",")]
    assert shares == pytest.approx(here, rel=1e-3, abs=1e-5)
    parts = [float(share) for share in did["hover"]["shares"].split(",")]
    assert sum(shares) == pytest.approx(parts[2], abs=1e-4)  # shirt, shoes, text, generated
    words = [i for i, name in enumerate(names) if name not in POOLED.values()]
    first = names[max(words, key=lambda i: here[i])]
    assert did["hover"]["rows"][0].startswith(first)
    assert did["hover"]["rows"][-1].startswith("rest of the text")
    assert len(did["hover"]["rows"]) == 7

    side = f"word: {first}"
    assert (did["chosen"]["pressed"], did["chosen"]["focused"], did["chosen"]["query"]) == ([side], side, did["hover"]["query"])
    assert did["chosen"]["level"].startswith(f'Where it read "{first}"')
    assert (did["again"]["pressed"], did["again"]["focused"]) == ([], side)
    assert did["whole"]["head"] == "Words read by the whole picture"
    assert did["whole"]["level"].startswith(f'Where it read "{first}"')
    assert [side for side, _ in did["menu"] if side.startswith("word: ")] == [f"word: {name}" for name in names]
    assert did["layer"]["hidden"]
    assert "kept as their mean over layers and heads" in did["layer"]["note"]


@in_browser
def test_two_runs_are_compared_by_word(maps: AttributionMaps, tmp_path: Path) -> None:
    second = SecondRun(recorded(word_maps=True, groups=2), PICTURES[0])
    did = used(write_report(tmp_path / "report.html", maps, *PICTURES, second=second))
    assert did["start"]["head"].startswith("Words read by the whole picture, first")
    assert did["chosen"]["pressed"]
