"""What a stranger wrote into a maps file reaches neither the terminal's cursor nor a picture's size."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path

import numpy as np
import pytest
from hostile_maps import Parts, good
from PIL import Image

from i2am.commands.cli import main
from i2am.errors import I2AMError, shown
from i2am.maps.value import AttributionMaps
from i2am.outputs.first_look import first_look

ESCAPES = {
    "a cleared screen": "\x1b[2J\x1b[H",
    "a title": "\x1b]0;owned\x07",
    "a link": "\x1b]8;;http://x\x1b\\",
    "the escapes of eight bits": "\x9b2J",
    "a line that is written over": "fine\rnot so",
    "letters taken back": "fine\b\b\b\bodd",
    "a line of its own": "one\ntwo\x0bthree\x0cfour\x85five\u2028six",
    "a text that turns": "\u202egnp.exe\u2066",
    "no character": "a\0b",
}
LONG = {"a word of 200": "w" * 200, "many words": "word " * 40, "signs that are drawn": "–×σλ" * 50, "raised ones": "x²" * 100}
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def renamed(parts: Parts, text: str, notes: list[str]) -> Parts:
    """The same file with a text in all names, and notes."""
    layer = f"down.0{text}"
    about = parts.about
    about["layers"][0]["name"] = layer
    for reference in (*about["references"], *about["layers"][0]["references"]):
        reference["name"] = text
    about["run"] |= {"sampler": text, "model": text, "host": text, "extra": {text: text}}
    about["notes"] = notes
    parts.tensors = {name.replace("|down.0|", f"|{layer}|"): t for name, t in parts.tensors.items()}
    return parts


def file_with(folder: Path, text: str, notes: list[str]) -> Path:
    return renamed(good(folder), text, notes).write(folder / "maps.safetensors")


def masks(folder: Path) -> list[str]:
    for name, size in (("inpaint", (64, 96)), ("reference", (48, 64))):
        mask = np.zeros(size[::-1], np.uint8)
        mask[: size[1] // 2] = 255
        Image.fromarray(mask).save(folder / f"{name}.png")
    return ["--inpaint-mask", str(folder / "inpaint.png"), "--reference-mask", str(folder / "reference.png")]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    out = capsys.readouterr()
    text = out.out + out.err
    assert not CONTROL.search(text), ascii(text)
    assert all(len(line) <= 4001 for line in text.splitlines())
    return text


@pytest.mark.parametrize("name", ESCAPES)
def test_commands_escape_what_a_file_says(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    text = ESCAPES[name]
    path = str(file_with(tmp_path, text, [text, f"again {text}"]))
    for level in ("ulam", "llam", "sram"):
        how = ["--at", "0,0"] if level == "sram" else []
        assert main(["show", path, "--level", level, *how, "--out", str(tmp_path / "a.png")]) == 0
        assert said(capsys)
    assert main(["score", path, *masks(tmp_path)]) == 0
    assert said(capsys)
    for wrong in (["--layers", "up.*"], ["--heads", "9"], ["--reference", "5"]):
        main(["show", path, "--level", "ulam", *wrong, "--out", str(tmp_path / "a.png")])
        assert said(capsys)


def test_errors_and_file_names_are_escaped_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = tmp_path / "a\x1b[31mb.safetensors"
    for content in (b"", b"not maps", bytes(100)):
        odd.write_bytes(content)
        assert main(["show", str(odd), "--level", "ulam", "--out", str(tmp_path / "a.png")]) == 2
        assert r"a\x1b[31mb" in said(capsys)


@pytest.mark.parametrize("name", [*ESCAPES, *LONG])
def test_pictures_stay_of_their_size_and_are_drawn_at_once(tmp_path: Path, name: str) -> None:
    text = (ESCAPES | LONG)[name]
    notes = [(text * 40_000)[:39_000], *[text[:20]] * 40]
    maps = AttributionMaps.load(file_with(tmp_path, text, notes))
    start = time.thread_time()
    (sheet,) = first_look(maps, [Image.new("RGB", (64, 96))], [Image.new("RGB", (48, 64))] * 2).sheets[:1]
    assert max(sheet.size) < 8000
    out = str(tmp_path / "a.png")
    assert main(["show", str(tmp_path / "maps.safetensors"), "--level", "llam", "--out", out]) == 0
    assert max(Image.open(out).size) < 8000
    assert time.thread_time() - start < 10


@pytest.mark.parametrize("text", ESCAPES.values())
def test_errors_hold_no_control_characters(text: str) -> None:
    assert not CONTROL.search(str(I2AMError(f"layer {text} is not there")))
    assert str(I2AMError("fine: – “ü”\n\ttwo lines")) == "fine: – “ü”\n\ttwo lines"


def test_what_is_shown_is_cut_where_it_is_too_long() -> None:
    assert shown("x" * 10, 10) == "x" * 10
    assert shown("x" * 11, 10) == "x" * 9 + "…"
    assert len(str(I2AMError("x" * 100_000))) == 4000


def test_the_log_of_a_command_is_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["show", "nothing", "--level", "ulam", "--out", str(tmp_path / "a.png")])  # sets the log up
    logging.getLogger("i2am").info("%s", "\x1b[2J" + "x" * 10_000)
    assert said(capsys).startswith("\\x1b[2J")
