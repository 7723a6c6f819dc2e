"""Layers ranked by whether they point where a detail truly is: planted attention, and the bundled model."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from i2am.commands.cli import main
from i2am.errors import I2AMError, MaskError, UnavailableError
from i2am.evaluation.layers import rank_by_details
from i2am.geometry.layout import Layout, TokenGrid
from i2am.levels.choice import Choice
from i2am.maps.facts import RunInfo
from i2am.maps.value import AttributionMaps
from i2am.outputs.layer_preset import add_run, effects_of, load_layers
from i2am.outputs.layer_sheet import layer_lines, layer_picture, layer_table
from i2am.recording.recorder import Recorder
from i2am.scores.pointing import Match
from i2am.scores.ranking import Pointing, believed, over_runs, pointing_of_layers, ranked

GRID = (8, 6)
SIZE = (128, 96)
COUNT = math.prod(GRID)
SAME = torch.arange(COUNT)
AWAY = (SAME + 3 * GRID[1]) % COUNT


def recorded(layers: dict[str, list[Tensor]], seed: int = 0, pairwise: str | None = "heads") -> AttributionMaps:
    """A run whose layers' heads look, each patch at one cell of a reference of the same grid."""
    layout = Layout.of(TokenGrid(*GRID, picture=SIZE))
    recorder = Recorder(lambda _: layout, steps=1, generated_size=SIZE, pairwise=pairwise)
    for name, heads in layers.items():
        q = torch.stack([9.0 * torch.eye(COUNT)[home] for home in heads])[None]
        recorder.observe(name, GRID, 0, "cond", q, torch.eye(COUNT).expand(1, len(heads), -1, -1), None, scale=1.0)
    recorder.end_step(0)
    return recorder.finish(RunInfo(steps=1, model="planted", seed=seed, extra={"latent_hash": f"run {seed}"}))


def match(cell: int, other: int | None = None) -> Match:
    """A detail in the middle of a cell, and where it is on the reference."""

    def at(index: int) -> tuple[float, float]:
        return (index % GRID[1] + 0.5) * SIZE[1] / GRID[1], (index // GRID[1] + 0.5) * SIZE[0] / GRID[0]

    return Match(at(cell), at(cell if other is None else other))


def test_layers_and_heads_that_point_home_are_told_from_those_that_do_not() -> None:
    maps = recorded({"away": [AWAY, AWAY], "home": [SAME, SAME], "half": [SAME, AWAY]})
    matches = [match(i) for i in (0, 7, 20, 33, 47)]
    found = pointing_of_layers(maps, matches, SIZE, SIZE, heads=True)
    right = {(one.layer, one.head): one.right for one in found}
    assert right == {
        ("away", None): 0,
        ("away", 0): 0,
        ("away", 1): 0,
        ("home", None): 5,
        ("home", 0): 5,
        ("home", 1): 5,
        ("half", None): right["half", None],  # two equal peaks: either is the highest
        ("half", 0): 5,
        ("half", 1): 0,
    }
    assert believed([one for one in found if one.layer != "half"]) == ("home",)
    assert ranked(one for one in found if one.head is None)[0].layer == "home"
    peak = float((9.0 * torch.eye(COUNT)[:1]).softmax(1).max()) * COUNT
    assert all(one.peak == pytest.approx(peak, rel=1e-3) for one in found if one.layer != "half")


def test_chance_is_that_of_a_peak_at_a_random_token() -> None:
    """By counting the cells within one of the true place: 4 in a corner, 6 at an edge, 9 inside."""
    maps = recorded({"home": [SAME]})
    for cell, near in ((0, 4), (3, 6), (20, 9)):
        (one,) = pointing_of_layers(maps, [match(cell)], SIZE, SIZE)
        assert one.chance == pytest.approx(near / COUNT)


def test_two_details_in_one_patch_count_twice_and_a_neighbour_is_right() -> None:
    maps = recorded({"home": [SAME]})
    (one,) = pointing_of_layers(maps, [match(20), match(20, 21), match(20, 23)], SIZE, SIZE)
    assert (one.right, one.matches) == (2, 3)


def test_a_single_layer_or_head_can_be_chosen_and_marginals_alone_are_not_enough() -> None:
    maps = recorded({"away": [AWAY, AWAY], "home": [SAME, AWAY]})
    (one,) = pointing_of_layers(maps, [match(9)], SIZE, SIZE, Choice(layers="home", heads=[0]))
    assert (one.layer, one.right) == ("home", 1)
    with pytest.raises(UnavailableError, match="pairwise"):
        pointing_of_layers(recorded({"home": [SAME]}, pairwise=None), [match(9)], SIZE, SIZE)
    with pytest.raises(UnavailableError, match="no detail was found"):
        pointing_of_layers(maps, [], SIZE, SIZE)


def test_runs_add_up_their_matches() -> None:
    first, second = Pointing("a", None, 3, 4, 10.0, 0.1), Pointing("a", None, 1, 12, 30.0, 0.2)
    (both,) = over_runs([[first], [second]])
    assert (both.right, both.matches) == (4, 16)
    assert both.peak == pytest.approx((4 * 10 + 12 * 30) / 16)
    assert both.chance == pytest.approx((4 * 0.1 + 12 * 0.2) / 16)


def test_layers_are_believed_from_four_fifths_of_the_best_and_twice_chance_on() -> None:
    def layer(name: str, right: int, chance: float = 0.03) -> Pointing:
        return Pointing(name, None, right, 100, 1.0, chance)

    assert believed([layer("a", 79), layer("b", 100), layer("c", 80)]) == ("b", "c")
    with pytest.raises(UnavailableError, match=r"no layer points.*the best: 5% of 100 matches"):
        believed([layer("a", 5), layer("b", 1)])


def plaid(seed: int) -> Image.Image:
    """A picture of random blocks, which SIFT can tell apart."""
    blocks = np.random.default_rng(seed).integers(0, 255, (SIZE[0] // 8, SIZE[1] // 8, 3), np.uint8)
    return Image.fromarray(blocks).resize((SIZE[1], SIZE[0]), Image.Resampling.BICUBIC)


def darker(picture: Image.Image) -> Image.Image:
    """The same details on another picture."""
    return picture.point(lambda value: value * 4 // 5)


def test_details_are_found_on_the_pictures_inside_of_the_masks() -> None:
    maps, picture = recorded({"away": [AWAY], "home": [SAME]}), plaid(1)
    away, home = rank_by_details(maps, darker(picture), picture)
    assert home.matches >= 30
    assert home.accuracy == 1
    assert away.accuracy < 0.1
    upper = torch.zeros(64, 48)
    upper[:32] = 1
    _, less = rank_by_details(maps, darker(picture), picture, inpaint_mask=upper)
    assert 0 < less.matches < home.matches
    assert less.accuracy == 1


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"reference": Image.new("RGB", (96, 128), "grey")}, UnavailableError, "SIFT finds no detail on both pictures"),
        ({"generated": Image.new("RGB", (300, 100))}, I2AMError, "the picture is 300 x 100 pixels"),
        ({"reference": Image.new("RGB", (300, 100))}, I2AMError, "the reference picture is 300 x 100 pixels"),
        ({"choice": Choice(reference=1)}, UnavailableError, "reference 1 does not exist"),
        ({"choice": Choice(branch="uncond")}, UnavailableError, "'uncond' was not recorded"),
        ({"inpaint_mask": torch.zeros(128, 96)}, MaskError, "the inpainting mask is empty"),
        ({"reference_mask": torch.ones(100, 300)}, I2AMError, "the reference mask is 300 x 100 pixels"),
        ({"generated": plaid(1)}, I2AMError, "Check the wires: image is the picture of the reference"),
        ({"reference": plaid(2)}, I2AMError, "Check the wires: the picture given for the reference is another than"),
        ({"generated": "picture.png"}, I2AMError, "the generated picture is a Pillow picture, got a str, 'picture.png'"),
        ({"maps": "maps.safetensors"}, I2AMError, "maps are the maps of a recording.*got a str, 'maps.safetensors'"),
        ({"inpaint_mask": torch.ones(3, 128, 96)}, MaskError, "holds 3 masks"),
    ],
)
def test_what_cannot_be_ranked_is_said(given: dict[str, Any], error: type[Exception], told: str) -> None:
    maps = recorded({"home": [SAME]}).with_thumbnails({"reference": torch.from_numpy(np.array(plaid(1)))})
    arguments = {"maps": maps, "generated": darker(plaid(1)), "reference": plaid(1), **given}
    with pytest.raises(error, match=told):
        rank_by_details(**arguments)


def test_pillow_masks_do() -> None:
    maps, mask = recorded({"home": [SAME]}), Image.new("L", (96, 128), 255)
    with_mask, without = (rank_by_details(maps, darker(plaid(1)), plaid(1), **given) for given in ({"inpaint_mask": mask}, {}))
    assert with_mask == without


def test_runs_without_a_latents_hash_are_told_apart_by_their_maps(tmp_path: Path) -> None:
    """One seed gives the same first input whatever the reference is: such runs add up, and the same maps are one run."""
    path = tmp_path / "layers.json"
    one, other = (
        replaced(recorded({"home": [cells]}), RunInfo(steps=1, seed=3, extra={"input_hash": "noise"})) for cells in (SAME, AWAY)
    )
    counts = [
        add_run(path, maps, pointing_of_layers(maps, [match(9)], SIZE, SIZE)).runs for maps in (one, other, one, saved(one))
    ]
    assert counts == [1, 2, 2, 2]


def replaced(maps: AttributionMaps, run: RunInfo) -> AttributionMaps:
    object.__setattr__(maps, "run", run)
    return maps


def saved(maps: AttributionMaps) -> AttributionMaps:
    """The same, written to a file and read again."""
    with tempfile.TemporaryDirectory() as folder:
        maps.save(Path(folder) / "maps.safetensors")
        return AttributionMaps.load(Path(folder) / "maps.safetensors")


def test_each_image_of_a_batch_is_a_run_of_its_own(tmp_path: Path) -> None:
    path, maps = tmp_path / "layers.json", recorded({"home": [SAME]})
    found = pointing_of_layers(maps, [match(9)], SIZE, SIZE)
    assert [add_run(path, maps, found, image=image).runs for image in (0, 1, 1, 0)] == [1, 2, 2, 2]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    maps = recorded({"home": [SAME]})
    found = pointing_of_layers(maps, [match(9)], SIZE, SIZE)
    for path in (tmp_path, ".", str(tmp_path)):
        with pytest.raises(I2AMError, match="is a folder, and ranked layers are kept in a file"):
            add_run(path, maps, found)


def test_a_file_grows_by_runs_and_counts_none_twice(tmp_path: Path) -> None:
    path = tmp_path / "layers.json"
    for seed, matches in ((0, [match(9), match(20)]), (1, [match(33)]), (0, [match(9), match(20)])):
        maps = recorded({"away": [AWAY], "home": [SAME]}, seed)
        preset = add_run(path, maps, pointing_of_layers(maps, matches, SIZE, SIZE))
    assert (preset.runs, preset.believed, preset.model) == (2, ("home",), "planted")
    assert [one.matches for one in preset.found] == [3, 3]
    assert load_layers(path) == preset
    assert json.loads(path.read_text())["believed"] == ["home"]
    assert layer_lines(preset)[0] == "Believe home."
    assert "3 matched details in 2 runs." in layer_lines(preset)
    assert "That is few" in layer_lines(preset)[-1]
    table = layer_table(preset).splitlines()
    assert [line.split()[0] for line in table[-2:]] == ["home", "away"]
    assert layer_picture(preset).width == 900


def test_what_layers_change_when_they_are_cut_is_kept_and_can_rank_them(tmp_path: Path) -> None:
    path, runs = tmp_path / "layers.json", [recorded({"away": [AWAY], "home": [SAME]}, seed) for seed in range(3)]
    found = pointing_of_layers(runs[0], [match(9)], SIZE, SIZE, heads=True)
    assert "when cut" not in layer_table(add_run(path, runs[0], found))
    for maps, effects in zip(runs[1:], ({"away": 0.25, "home": 0.01}, {"away": 0.75}), strict=True):
        preset = add_run(path, maps, found, effects=effects)
    assert [(one.layer, one.effect) for one in preset.found if one.head is None] == [("away", 0.5), ("home", 0.01)]
    assert all(one.effect is None for one in preset.found if one.head is not None)
    assert layer_lines(preset)[-1] == "Cut alone, away changes the picture most, by 0.5 on average; home least, by 0.01."
    assert preset.believed == ("home",)  # that a layer matters does not make it point
    lines = layer_table(preset, "effect when cut").splitlines()
    assert [line.split()[0] for line in lines[-4:-2]] == ["away", "home"]
    assert [line.split()[0] for line in layer_table(preset).splitlines()[-4:-2]] == ["home", "away"]
    assert layer_picture(preset).height > layer_picture(add_run(tmp_path / "new.json", runs[0], found)).height
    assert load_layers(path) == preset
    sharp = ranked([replace(preset.found[0], peak=9.0), replace(preset.found[2], peak=2.0)], "sharpness")
    assert [one.peak for one in sharp] == [9.0, 2.0]
    with pytest.raises(I2AMError, match="layers are ranked by 'accuracy', 'sharpness', 'effect when cut', got 'size'"):
        ranked(preset.found, "size")
    with pytest.raises(I2AMError, match=r"the effects are of 1: out\.\*, which this recording does not have \(2: away, home\)"):
        add_run(path, runs[0], found, effects={"out.*": 0.5})
    about = json.loads(path.read_text())
    for run in about["runs"]:
        for one in run["found"]:
            del one["effect"]  # as files were before
    path.write_text(json.dumps(about))
    assert all(one.effect is None for one in load_layers(path).found)


def test_a_run_that_is_measured_again_without_effects_keeps_them(tmp_path: Path) -> None:
    path, run = tmp_path / "layers.json", recorded({"away": [AWAY], "home": [SAME]})
    found = pointing_of_layers(run, [match(9)], SIZE, SIZE)
    add_run(path, run, found, effects={"away": 0.25, "home": 0.01})
    assert [one.effect for one in add_run(path, run, found).found] == [0.25, 0.01]
    assert [one.effect for one in add_run(path, run, found, reference=1).found] == [0.25, 0.01]  # of the first run alone
    assert [one.effect for one in add_run(path, run, found, effects={"away": 0.5}).found] == [0.5, None]


def test_effects_of_another_reference_are_refused() -> None:
    text = '{"question": "which layers matter?", "reference": 1, "layers": {"home": 0.5}}'
    assert effects_of(text, 1) == effects_of(text) == {"home": 0.5}
    assert effects_of('{"layers": {"home": 0.5}}', 0) == {"home": 0.5}  # as they were written before
    with pytest.raises(I2AMError, match=r"the effects are of reference 1, .* ranked here for reference 0; choose the same"):
        effects_of(text, 0)


def test_runs_of_several_models_in_one_file_are_called_that(tmp_path: Path) -> None:
    path, runs = tmp_path / "layers.json", [recorded({"away": [AWAY], "home": [SAME]}, seed) for seed in range(3)]
    found = pointing_of_layers(runs[0], [match(9)], SIZE, SIZE)
    names = iter(("kontext.safetensors", "kontext.safetensors", "fill.safetensors"))
    told = []
    for maps in runs:
        object.__setattr__(maps, "run", replace(maps.run, model=next(names)))
        told.append(any("of several models" in line for line in layer_lines(add_run(path, maps, found))))
    assert told == [False, False, True]
    assert load_layers(path).models == ("kontext.safetensors", "fill.safetensors")


@pytest.mark.parametrize(
    "text", ["double.0 0.5", "[1]", '{"layers": [1]}', '{"layers": {"a": NaN}}', '{"question": "deletion curve"}', "[" * 9999]
)
def test_effects_are_those_of_proof(text: str) -> None:
    with pytest.raises(I2AMError, match="effects are what I²AM Proof gives for the question 'which layers matter\\?'"):
        effects_of(text)
    assert effects_of(" ") == {}


def _changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def damage(path: Path) -> None:
        about = json.loads(path.read_text())
        change(about)
        path.write_text(json.dumps(about))

    return damage


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "another json": (lambda path: path.write_text("[1, 2]"), "is no file of ranked layers"),
    "no json": (lambda path: path.write_bytes(b"\xff\xfe\x00"), "is no file of ranked layers"),
    "nested": (lambda path: path.write_text("[" * 100_000), "is no file of ranked layers"),
    "newer": (_changed(lambda about: about.update(version=2)), "has version 2"),
    "more right than there are": (_changed(lambda about: about["runs"][0]["found"][0].update(right=99)), "is damaged"),
    "nan": (_changed(lambda about: about["runs"][0]["found"][0].update(peak=float("nan"))), "is damaged"),
    "no run": (_changed(lambda about: about.update(runs=[1])), "is damaged"),
    "another layer": (_changed(lambda about: about["runs"][0]["found"][0].update(layer="x")), "is damaged"),
    "another model": (
        _changed(lambda about: (about.update(layers=["x"]), about["runs"].clear())),
        "was measured on other layers",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_is_none_of_ours_stays_as_it_is(tmp_path: Path, case: str) -> None:
    maps, path = recorded({"home": [SAME]}), tmp_path / "layers.json"
    found = pointing_of_layers(maps, [match(9)], SIZE, SIZE)
    add_run(path, maps, found)
    damage, told = BROKEN[case]
    damage(path)
    before = path.read_bytes()
    with pytest.raises(I2AMError, match=told):
        add_run(path, maps, found)
    assert path.read_bytes() == before


def test_a_model_of_which_no_layer_points_gets_no_recommendation(tmp_path: Path) -> None:
    maps = recorded({"away": [AWAY]})
    preset = add_run(tmp_path / "layers.json", maps, pointing_of_layers(maps, [match(9)], SIZE, SIZE))
    assert preset.believed == ()
    assert layer_lines(preset)[0].startswith("No layer can be recommended")


def test_the_command_adds_a_run_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded({"away": [AWAY], "home": [SAME]}).save(tmp_path / "maps.safetensors")
    plaid(1).save(tmp_path / "reference.png")
    darker(plaid(1)).save(tmp_path / "picture.png")
    given = [str(tmp_path / "maps.safetensors"), "--image", str(tmp_path / "picture.png")]
    given += ["--reference-image", str(tmp_path / "reference.png"), "--file", str(tmp_path / "new" / "layers.json")]
    assert main(["rank", *given, "--by-head", "--out", str(tmp_path / "drawn" / "layers.png")]) == 0
    told = capsys.readouterr().out
    assert "Believe home." in told
    assert "home head 0" in told
    assert Image.open(tmp_path / "drawn" / "layers.png").width == 900
    assert load_layers(tmp_path / "new" / "layers.json").believed == ("home",)
    assert main(["rank", *given[:3], "--reference-image", str(tmp_path / "maps.safetensors")]) == 2
    assert "maps.safetensors" in capsys.readouterr().err
