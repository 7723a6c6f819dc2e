"""Every command of the command line, with good and with bad input."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import i2am
from i2am import AttributionMaps, ulam
from i2am.commands.cli import build_parser, main
from i2am.data.demo_folder import write_demo_folder
from i2am.demo.recording import recording_of
from i2am.drawn.scene import DemoCase
from i2am.models.demo.tryon import DemoModel, try_on
from i2am.train.__main__ import parser as train_parser


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real recording of an untrained demo model (per head, 4 steps), its masks and a picture."""
    folder = tmp_path_factory.mktemp("run")
    case = DemoCase.draw(3)
    model = DemoModel.untrained()
    recording = recording_of(model, images=1, steps=4, pairwise="heads", groups=2)
    known = {"agnostic": case.own.agnostic, "densepose": case.own.densepose}
    with recording:
        try_on(model, **known, reference=case.worn.reference, seeds=[3], steps=4)
    recording.maps.save(folder / "maps.safetensors")
    for name, mask in (("inpaint", case.own.inpaint_mask), ("garment", case.worn.reference_mask)):
        Image.fromarray((mask[0, 0].numpy() * 255).astype(np.uint8)).save(folder / f"{name}.png")
    Image.new("L", (96, 128)).save(folder / "empty.png")
    Image.new("L", (96, 128), 255).save(folder / "full.png")
    Image.new("RGB", (96, 128), (10, 200, 30)).save(folder / "picture.png")
    lying = Image.new("L", (128, 96))
    lying.paste(255, (30, 20, 90, 70))
    lying.save(folder / "lying.png")
    (folder / "text.txt").write_text("no maps")
    return folder


@pytest.mark.parametrize("level", ["ulam", "tlam", "hlam", "llam"])
@pytest.mark.parametrize("side", ["R2G", "R2G-balanced", "G2R"])
def test_show_draws_every_level_and_side(run: Path, tmp_path: Path, level: str, side: str) -> None:
    out = tmp_path / "a.png"
    groups = ["--groups", "2"] if level == "tlam" else []
    assert main(["show", str(run / "maps.safetensors"), "--level", level, "--side", side, *groups, "--out", str(out)]) == 0
    assert min(Image.open(out).size) >= 300


def test_show_takes_filters_and_says_what_it_drew(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maps, out = run / "maps.safetensors", tmp_path / "a.png"
    plain, filtered = tmp_path / "plain.png", tmp_path / "filtered.png"
    assert main(["show", str(maps), "--level", "ulam", "--out", str(plain)]) == 0
    choice = ["--layers", "up_blocks.*", "--heads", "0,2", "--steps", "1:3", "--preset", "paper"]
    assert main(["show", str(maps), "--level", "ulam", *choice, "--out", str(filtered)]) == 0
    assert Image.open(plain).tobytes() != Image.open(filtered).tobytes()
    assert (
        main(["show", str(maps), "--level", "sram", "--pixel", "50,60", "--image", str(run / "picture.png"), "--out", str(out)])
        == 0
    )
    said = capsys.readouterr().out
    assert "ULAM R2G; steps 0–3" in said
    assert "comparative, not causal" in said
    assert "SRAM; patch 50, 62 (row 15, column 12)" in said  # pixel (50, 60) of 96 x 128 on the 24 x 32 grid
    copied = ["--pixel", "50, 62 (row 15, column 12)", "--image", str(run / "picture.png"), "--out", str(filtered)]
    assert main(["show", str(maps), "--level", "sram", *copied]) == 0
    assert Image.open(out).tobytes() == Image.open(filtered).tobytes()
    capsys.readouterr()
    assert main(["show", str(maps), "--level", "tlam", "--side", "G2R", "--groups", "2", "--out", str(out)]) == 0
    assert "TLAM G2R; 2 panels; steps 0–1" in capsys.readouterr().out


LOOKS = {
    "threshold": ["--threshold", "0.5"],
    "contour": ["--contour", "0.5"],
    "opacity": ["--opacity", "0.3"],
    "colours": ["--colours", "viridis"],
    "official": ["--preset", "official"],
    "paper": ["--preset", "paper"],
    "placed only": ["--placed-only"],
    "another picture": ["--image", "{run}/picture.png"],
}


@pytest.mark.parametrize("look", LOOKS)
def test_show_draws_as_it_is_told(run: Path, tmp_path: Path, look: str) -> None:
    asked = ["show", str(run / "maps.safetensors"), "--level", "ulam", "--out"]
    plain, told = tmp_path / "plain.png", tmp_path / "new" / "told.png"
    assert main([*asked, str(plain)]) == 0
    assert main([*asked, str(told), *(w.format(run=run) for w in LOOKS[look])]) == 0
    assert Image.open(plain).tobytes() != Image.open(told).tobytes()


def test_panels_share_a_scale_or_have_their_own(run: Path, tmp_path: Path) -> None:
    asked = ["show", str(run / "maps.safetensors"), "--level", "hlam", "--out"]
    pictures = []
    for scale in ("shared", "each"):
        assert main([*asked, str(tmp_path / f"{scale}.png"), "--scale", scale]) == 0
        pictures.append(Image.open(tmp_path / f"{scale}.png").tobytes())
    assert pictures[0] != pictures[1]


def test_the_mass_of_placed_tokens(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maps = str(run / "maps.safetensors")
    mass = ["--side", "mass", "--placed-only"]
    assert main(["show", maps, "--level", "ulam", *mass, "--out", str(tmp_path / "a.png")]) == 0
    assert "ULAM mass" in capsys.readouterr().out
    masks = ["--inpaint-mask", str(run / "inpaint.png"), "--reference-mask", str(run / "garment.png")]
    assert main(["score", maps, *masks, *mass]) == 0
    assert "IMACS_g default" in capsys.readouterr().out
    assert main(["score", maps, *masks, *mass[:2]]) == 2
    assert "use placed_only" in capsys.readouterr().err


def test_the_official_g2r_is_times_the_reference_mask(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["show", str(run / "maps.safetensors"), "--level", "ulam", "--side", "G2R", "--preset", "official", "--out"]
    assert main([*asked, str(tmp_path / "plain.png")]) == 0
    assert "multiply this map by the reference mask" in capsys.readouterr().out
    assert main([*asked, str(tmp_path / "times.png"), "--reference-mask", str(run / "garment.png")]) == 0
    assert "multiply" not in capsys.readouterr().out
    assert Image.open(tmp_path / "plain.png").tobytes() != Image.open(tmp_path / "times.png").tobytes()


def test_show_takes_a_region(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["show", str(run / "maps.safetensors"), "--level", "mirror", "--out", str(tmp_path / "a.png")]
    assert main([*asked, "--region", str(run / "garment.png")]) == 0
    assert re.search(r"mean of \d\d+ patches", capsys.readouterr().out)
    assert main([*asked, "--region", str(run / "empty.png")]) == 2
    assert "the region is" in capsys.readouterr().err


def test_show_writes_an_animation(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.gif"
    assert main(["show", str(run / "maps.safetensors"), "--level", "tlam", "--groups", "4", "--out", str(out)]) == 0
    assert Image.open(out).n_frames == 4


def test_score_prints_and_writes_the_scores(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = ["--inpaint-mask", str(run / "inpaint.png"), "--reference-mask", str(run / "garment.png")]
    out = tmp_path / "scores.json"
    assert main(["score", str(run / "maps.safetensors"), *masks, "--json", str(out)]) == 0
    scores = json.loads(out.read_text())
    assert scores["g"]["score"] == pytest.approx(scores["g"]["inside"] - 3 * scores["g"]["outside"])
    assert f"{scores['g']['score']:.3f}" in capsys.readouterr().out
    assert main(["score", str(run / "maps.safetensors"), *masks, "--lambda", "1", "--json", str(out)]) == 0
    again = json.loads(out.read_text())
    assert again["g"]["score"] == pytest.approx(scores["g"]["inside"] - scores["g"]["outside"])


def test_masks_mean_what_a_person_means(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same scores from 0 and 255, 0 and 1, 16 bits and the transparency; a photo is refused by name."""
    inpaint = np.array(Image.open(run / "inpaint.png"))
    forms = {
        "255": Image.fromarray(inpaint),
        "1": Image.fromarray(inpaint // 255),
        "16": Image.fromarray(inpaint.astype(np.uint16) * 257),
        "alpha": Image.fromarray(np.dstack([inpaint * 0] * 3 + [inpaint])),
    }
    scores = []
    for name, picture in forms.items():
        picture.save(tmp_path / f"{name}.png")
        given = ["--inpaint-mask", str(tmp_path / f"{name}.png"), "--reference-mask", str(run / "garment.png")]
        assert main(["score", str(run / "maps.safetensors"), *given, "--json", str(tmp_path / "scores.json")]) == 0
        scores.append(json.loads((tmp_path / "scores.json").read_text()))
    assert all(one == scores[0] for one in scores)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (128, 96, 3), dtype=np.uint8)).save(tmp_path / "photo.png")
    given = ["--inpaint-mask", str(tmp_path / "photo.png"), "--reference-mask", str(run / "garment.png")]
    assert main(["score", str(run / "maps.safetensors"), *given]) == 2
    assert "photo.png is a picture in colours, not a mask" in capsys.readouterr().err


def test_show_turns_a_photo_as_its_exif_data_says(run: Path, tmp_path: Path) -> None:
    shown = np.random.default_rng(0).integers(0, 256, (128, 96, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(shown).save(tmp_path / "upright.png")
    Image.fromarray(np.rot90(shown)).save(tmp_path / "turned.png", exif=exif)
    drawn = []
    for name in ("upright", "turned"):
        asked = ["show", str(run / "maps.safetensors"), "--level", "ulam", "--image", str(tmp_path / f"{name}.png")]
        assert main([*asked, "--out", str(tmp_path / "out.png")]) == 0
        drawn.append(Image.open(tmp_path / "out.png").tobytes())
    assert drawn[0] == drawn[1]


SCORE = ["score", "{maps}", "--inpaint-mask", "{run}/inpaint.png", "--reference-mask", "{run}/garment.png"]
BAD = {
    "missing file": (["show", "{run}/none.safetensors", "--level", "ulam"], "there is no file"),
    "no maps file": (["show", "{run}/text.txt", "--level", "ulam"], "not a whole safetensors file"),
    "unknown layer": (["show", "{maps}", "--level", "ulam", "--layers", "nope*"], "no recorded layer matches 'nope*'"),
    "unknown head": (["show", "{maps}", "--level", "hlam", "--heads", "9"], "heads 0 to 3"),
    "steps outside": (["show", "{maps}", "--level", "ulam", "--steps", "2:9"], "steps 0 to 4"),
    "steps no group": (["show", "{maps}", "--level", "sram", "--at", "1,1", "--steps", "0:1"], "not a union"),
    "folder as picture": (["show", "{maps}", "--level", "ulam", "--image", "{run}"], "is a folder; give a picture file"),
    "uncond": (["show", "{maps}", "--level", "ulam", "--branch", "uncond"], "was not recorded"),
    "reference": (["show", "{maps}", "--level", "ulam", "--reference", "1"], "does not exist"),
    "batch index": (["show", "{maps}", "--level", "ulam", "--batch-index", "2"], "does not exist"),
    "picture of another shape": (["show", "{maps}", "--level", "ulam", "--image", "{run}/lying.png"], "another shape"),
    "a place for all places": (["show", "{maps}", "--level", "ulam", "--at", "3,4"], "ulam is of all places"),
    "a mask for nothing": (
        ["show", "{maps}", "--level", "ulam", "--reference-mask", "{run}/garment.png"],
        "add --side G2R --preset official",
    ),
    "a side of one map": (
        ["show", "{maps}", "--level", "sram", "--at", "1,1", "--side", "G2R", "--placed-only"],
        "leave out --side and --placed-only",
    ),
    "a mask for one map": (
        ["show", "{maps}", "--level", "mirror", "--at", "1,1", "--reference-mask", "{run}/garment.png"],
        "leave out --reference-mask",
    ),
    "official mask of another shape": (
        ["show", "{maps}", "--level", "ulam", "--side", "G2R", "--preset", "official", "--reference-mask", "{run}/lying.png"],
        "the reference mask is 128 x 96 pixels",
    ),
    "inpainting mask of another shape": (
        ["score", "{maps}", "--inpaint-mask", "{run}/lying.png", "--reference-mask", "{run}/garment.png"],
        "the inpainting mask is 128 x 96 pixels, but the recorded generated image is 96 x 128",
    ),
    "reference mask of another shape": (
        ["score", "{maps}", "--inpaint-mask", "{run}/inpaint.png", "--reference-mask", "{run}/lying.png"],
        "the reference mask is 128 x 96 pixels, but the recorded reference image is 112 x 160",
    ),
    "negative lambda": ([*SCORE, "--lambda", "-3"], "0 or more"),
    "threshold": ([*SCORE, "--threshold", "40"], "below 1, got 40"),
    "mass of all": (["show", "{maps}", "--level", "ulam", "--side", "mass"], "placed_only"),
    "no patch": (["show", "{maps}", "--level", "sram"], "--at ROW,COLUMN"),
    "patch outside": (["show", "{maps}", "--level", "sram", "--at", "40,1"], "outside"),
    "pixel outside": (["show", "{maps}", "--level", "sram", "--pixel", "500,1"], "outside"),
    "no picture": (["show", "{maps}", "--level", "ulam", "--image", "{run}/text.txt"], "not a picture"),
    "picture missing": (["show", "{maps}", "--level", "ulam", "--image", "{run}/none.png"], "there is no file"),
    "empty mask": (
        ["score", "{maps}", "--inpaint-mask", "{run}/empty.png", "--reference-mask", "{run}/garment.png"],
        "inpainting mask is empty",
    ),
    "full mask": (
        ["score", "{maps}", "--inpaint-mask", "{run}/inpaint.png", "--reference-mask", "{run}/full.png"],
        "reference mask covers the whole picture",
    ),
    "demo into a file": (["demo", "--out", "{run}/text.txt"], "text.txt is no folder; give another folder"),
    "demo steps": (["demo", "--steps", "0"], "1 to 1000 steps"),
    "demo seed": (["demo", "--seed", "99999999999999999999999"], "a seed from 0 to 2147483647"),
    "bench device": (["bench", "--device", "tpu"], "cpu, cuda or auto"),
    "bench tokens": (["bench", "--tiny", "--tokens", "7"], "256 or 257"),
    "bench width": (["bench", "--tiny", "--width", "12"], "multiple of 8"),
}
WRITES = ("show", "demo")


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line_and_status_2(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    words, expected = BAD[case]
    argv = [w.format(run=run, maps=run / "maps.safetensors") for w in words]
    if argv[0] in WRITES and "--out" not in argv:
        argv += ["--out", str(tmp_path / "a.png")]
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert not (tmp_path / "a.png").is_file()


USAGE = {
    "nothing": ([], "required: COMMAND"),
    "no level": (["show"], "required: MAPS, --level, --out"),
    "unknown command": (["nope"], "'nope'"),
    "no numbers": (["show", "x", "--level", "sram", "--at", "a,b", "--out", "y.png"], "expected ROW,COLUMN, such as 3,12"),
    "heads": (["show", "x", "--level", "hlam", "--heads", "1.5", "--out", "y.png"], "1.5"),
    "unknown ending": (["show", "x", "--level", "ulam", "--out", "y.xyz"], "ends in .png, .jpg, .gif or .webp"),
    "no ending": (["show", "x", "--level", "ulam", "--out", "y"], "ends in .png"),
    "a folder": (["show", "x", "--level", "ulam", "--out", "."], "is a folder"),
    "no group": (["show", "x", "--level", "tlam", "--groups", "0", "--out", "y.png"], "a whole number, 1 or more, got '0'"),
    "lambda": (["score", "x", "--lambda", "nan"], "argument --lambda: expected a finite number, got 'nan'"),
    "no threshold": (["score", "x", "--threshold", "inf"], "argument --threshold: expected a finite number, got 'inf'"),
    "bench steps": (["bench", "--steps", "abc"], "a whole number, 1 or more, got 'abc'"),
    "bench size": (["bench", "--size", "500x300"], "multiples of 8"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str], case: str) -> None:
    argv, expected = USAGE[case]
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def numeric(parser: argparse.ArgumentParser) -> Iterator[tuple[argparse.ArgumentParser, argparse.Action]]:
    """Options that take a number, of a parser and the commands below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from numeric(command)
        elif callable(action.type):
            try:
                value = action.type("64")
            except (ValueError, argparse.ArgumentTypeError):  # names of pictures, and pairs of numbers
                continue
            if isinstance(value, int | float):
                yield parser, action


NUMBERS = [(p, a) for parser in (build_parser(), train_parser()) for p, a in numeric(parser)]


@pytest.mark.parametrize("given", NUMBERS, ids=[f"{p.prog} {a.option_strings[0]}" for p, a in NUMBERS])
def test_no_option_takes_what_is_no_number(
    given: tuple[argparse.ArgumentParser, argparse.Action], capsys: pytest.CaptureFixture[str]
) -> None:
    parser, action = given
    option = action.option_strings[0]
    for text in ("nan", "-nan", "inf", "-inf", "infinity", "1e999", "", " ", "x", "1_0", "٣", "1,5", "0x10"):
        if action.nargs and text.startswith("-"):  # is taken for another option
            continue
        with pytest.raises(SystemExit) as stop:
            parser.parse_args([option, text, "64"] if action.nargs else [f"{option}={text}"])
        assert stop.value.code == 2
        told = capsys.readouterr().err
        assert f"argument {option}: expected a " in told
        assert f"got {text!r}" in told


def test_every_option_with_a_number_is_among_these() -> None:
    assert len(NUMBERS) > 45
    plain = re.compile(r"type=(int|float)\b")
    files = [path for path in Path(i2am.__file__).parent.rglob("*.py") if plain.search(path.read_text(encoding="utf-8"))]
    assert files == []  # argparse's usual readers take nan and 1_0


def test_a_list_of_problems_keeps_its_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_demo_folder(tmp_path / "data", 0, 3)
    names = [path.stem for path in sorted((data / "test" / "image").iterdir())]
    (data / "test" / "cloth" / f"{names[0]}.jpg").unlink()
    (data / "test" / "image-densepose" / f"{names[1]}.jpg").write_bytes(b"no picture")
    assert main(["evaluate", str(data), "--pairs", "paired", "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err.splitlines()
    told = told[[line.startswith("i2am: ") for line in told].index(True) :]
    assert told[0].startswith(f"i2am: 2 of 3 pairs cannot be used: missing (reference): 1 of 3; first {names[0]}: ")
    assert told[1].startswith(f"  unreadable (densepose): 1 of 3; first {names[1]}: ")
    assert told[2].startswith("  all of it is in ")
    assert told[2].endswith("--skip-broken goes on without these pairs")
    assert len(told) == 3


def test_a_picture_that_is_too_large_is_told_in_words_of_ours(run: Path, tmp_path: Path) -> None:
    Image.new("1", (10_000, 9_000)).save(tmp_path / "large.png")
    words = ["score", str(run / "maps.safetensors"), "--inpaint-mask", str(tmp_path / "large.png")]
    words += ["--reference-mask", str(run / "garment.png")]
    told = subprocess.run([sys.executable, "-m", "i2am", *words], capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "large.png is too large to open safely (10000 x 9000 pixels; the most is 89 million)" in told.stderr
    assert told.stderr.count("\n") == 1


def test_help_names_every_command() -> None:
    told = subprocess.run([sys.executable, "-m", "i2am", "--help"], capture_output=True, text=True, check=True).stdout
    assert all(name in told for name in ("demo", "show", "score", "bench"))


def test_a_recording_made_by_the_demo_reads_back(run: Path) -> None:
    maps = AttributionMaps.load(run / "maps.safetensors")
    assert ulam(maps, "G2R").values.shape == (1, 20, 14)
    assert maps.pairwise_heads == "heads"
