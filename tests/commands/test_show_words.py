"""`i2am show --side words`: a panel for each word of the prompt, with its mean share."""

from __future__ import annotations

from pathlib import Path

import pytest
from joint_run import JointRun, flux_like
from PIL import Image

from i2am.commands.cli import main
from i2am.geometry.words import words_of
from i2am.levels.word_maps import told_words, word_shares
from i2am.maps.value import AttributionMaps

PROMPT = words_of(["<s>", "▁red", "▁dr", "ess", "▁and", "▁red", "▁hat", "</s>", "<pad>", "<pad>"])


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _saved(tmp_path_factory.mktemp("words") / "maps.safetensors", word_maps=True)


def _saved(path: Path, **options: bool) -> Path:
    JointRun({"cond": flux_like(10)}).record(**options).with_words({"cond": PROMPT}).save(path)
    return path


def _show(maps: Path, out: Path, *asked: str) -> int:
    return main(["show", str(maps), "--level", "ulam", "--out", str(out), *asked])


def test_every_part_has_a_panel_and_its_mean_share_is_said(
    maps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _show(maps, tmp_path / "all.png", "--side", "words") == 0
    said = capsys.readouterr().out
    told = told_words(word_shares(AttributionMaps.load(maps)))
    assert f"ULAM words; {'; '.join(told)}; " in said
    assert sum(float(line.rpartition(": ")[2].removesuffix(" %")) for line in told) == pytest.approx(100)
    assert min(Image.open(tmp_path / "all.png").size) >= 300


def test_words_that_are_asked_for_stand_alone(maps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _show(maps, tmp_path / "two.png", "--side", "words", "--word", "red dress; hat") == 0
    two = told_words(word_shares(AttributionMaps.load(maps), word="red dress; hat"))
    assert [line.partition(": ")[0] for line in two] == ["red dress", "hat"]
    assert f"ULAM words; {two[0]}; {two[1]}; " in capsys.readouterr().out
    assert _show(maps, tmp_path / "one.png", "--side", "words", "--word", "hat") == 0
    assert f"ULAM words; {two[1]}; " in capsys.readouterr().out
    assert Image.open(tmp_path / "one.png").tobytes() != Image.open(tmp_path / "two.png").tobytes()


def test_over_time_each_panel_says_its_share(maps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--level", "tlam", "--groups", "2", "--side", "words", "--word", "hat"]
    assert main(["show", str(maps), *asked, "--out", str(tmp_path / "a.png")]) == 0
    first, last = told_words(word_shares(AttributionMaps.load(maps), word="hat", groups=2))
    assert first.startswith("hat · step 0: ")
    assert f"TLAM words; 2 panels; {first} to {last}; " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--side", "words", "--word", "coat"], "the word 'coat' is not in the prompt; its words are: red, dress, and, hat"),
        (["--side", "words", "--word", " ; "], "names none"),
        (["--word", "dress"], "R2G is asked for: add --side words"),
        (["--side", "words", "--heads", "0"], "kept as its mean over heads"),
        (["--side", "words", "--level", "llam"], "words exist as ULAM and TLAM, got LLAM"),
        (["--level", "sram", "--at", "1,1", "--word", "dress"], "leave out --word"),
    ],
)
def test_what_cannot_be_shown_says_why(
    maps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: list[str], said: str
) -> None:
    assert _show(maps, tmp_path / "a.png", *asked) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()


def test_maps_without_words_say_how_words_are_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _show(_saved(tmp_path / "maps.safetensors"), tmp_path / "a.png", "--side", "words") == 2
    assert "no maps of words were recorded: they are kept where they are asked for (detail" in capsys.readouterr().err
