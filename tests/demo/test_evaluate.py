"""The measuring of the demo model, on planted maps and pictures whose figures are known beforehand."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from demo_maps import CELLS, TOKENS, maps_of, name_of, planted
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from i2am.demo.evaluate import figures as evaluate
from i2am.demo.evaluate.baselines import best_affine, chance, same_place
from i2am.demo.evaluate.cases import OTHER, case_of, check_held_out
from i2am.demo.evaluate.correspondence import Pointing, correspondence_of, peaks, point, sram_rows, true_tokens
from i2am.demo.evaluate.quality import psnr, ssim
from i2am.demo.train import export
from i2am.demo.train.attention_loss import NEVER_SUPERVISED, SUPERVISED
from i2am.drawn.draw import DemoPairs, draw_pairs
from i2am.drawn.places import GRID
from i2am.drawn.seeds import HELD_OUT, SHARD
from i2am.drawn.spec import PICTURE, REFERENCE, draw_pair
from i2am.levels.choice import Choice
from i2am.levels.patch import sram
from i2am.models.demo.tryon import PARTS, DemoModel


@pytest.fixture(scope="module")
def pairs() -> DemoPairs:
    return draw_pairs([draw_pair(HELD_OUT + 40 + i) for i in range(2)])


@pytest.fixture(scope="module")
def model() -> DemoModel:
    return DemoModel.untrained()


def test_true_tokens_are_rounded_token_coordinates() -> None:
    truth = torch.zeros(1, 2, *PICTURE)
    truth[:, 0], truth[:, 1] = 7.9, 8.1
    visible = torch.ones(1, 1, *PICTURE)
    visible[..., :4, :4] = 0
    visible[..., :4, 4:6] = 0  # half covered: not more than half
    tokens, covered = true_tokens(_pairs_with(truth, visible))
    assert tokens[0, 5].tolist() == [1, 0]  # (row of y = 8.1, column of x = 7.9)
    assert covered[0, :3].tolist() == [False, False, True]


def _pairs_with(truth: Tensor, visible: Tensor, mask: Tensor | None = None) -> DemoPairs:
    empty = torch.zeros(len(truth), 3, *PICTURE)
    ref = torch.zeros(len(truth), 3, *REFERENCE)
    one = torch.ones(len(truth), 1, *PICTURE)
    mask = torch.ones(len(truth), 1, *REFERENCE) if mask is None else mask
    return DemoPairs(empty, empty, empty, empty, ref, one, mask, truth, visible)


def test_pointing_of_planted_maps(pairs: DemoPairs) -> None:
    tokens, _ = true_tokens(pairs)
    taught = {name_of(name): planted(tokens, mass=0.6) for name in SUPERVISED}
    alone = {name_of(name): planted(tokens, 3, 0) for name in NEVER_SUPERVISED}
    found = correspondence_of(maps_of(taught | alone), pairs).as_dict()
    assert found["supervised"]["within_1"] == found["supervised"]["within_2"] == 1.0  # type: ignore[index]
    assert found["never_supervised"]["within_2"] == 0.0  # type: ignore[index]
    assert found["within_1"] == 0.0  # mass decides, not the number of layers: 3 x 0.6 against 2 x 1
    assert 0.01 < found["chance"] < 0.05 < found["same_place"] < 1  # type: ignore[operator]
    for off, near_1, near_2 in (((1, -1), 1.0, 1.0), ((0, 2), 0.0, 1.0), ((-3, 1), 0.0, 0.0)):
        shares = point(maps_of({name_of(SUPERVISED[0]): planted(tokens, *off)}), pairs).shares()
        assert (shares["within_1"], shares["within_2"]) == (near_1, near_2), off
    assert shares["pairs"] == 2
    assert shares["cells"] == int(true_tokens(pairs)[1].sum())


def test_time_groups_count_by_their_recorded_steps(pairs: DemoPairs) -> None:
    tokens, _ = true_tokens(pairs)
    both = torch.cat([planted(tokens, mass=0.6), planted(tokens, 4, 0)], 1)
    layer = name_of(SUPERVISED[0])
    assert point(maps_of({layer: both}, ((0, 3), (3, 4)), recorded=4), pairs).shares()["within_1"] == 1.0
    assert point(maps_of({layer: both}, ((0, 1), (1, 4)), recorded=4), pairs).shares()["within_1"] == 0.0


def test_rows_are_those_of_sram() -> None:
    rng = torch.Generator().manual_seed(3)
    fine = torch.rand(2, 3, 1, CELLS, TOKENS + 1, generator=rng).softmax(-1)
    coarse = (4 * torch.rand(2, 3, 1, 192, TOKENS + 1, generator=rng)).softmax(-1)
    maps = maps_of({"a": fine, "b": coarse}, ((0, 2), (2, 3), (3, 5)), recorded=4)
    rows = sram_rows(maps)
    for image, a, b in ((0, 0, 0), (1, 31, 23), (1, 7, 18)):
        want = sram(maps, (a, b), choice=Choice(image=image)).values[0].flatten()
        assert torch.allclose(rows[image, a * GRID[1] + b], want, atol=1e-7)
    assert torch.allclose(
        sram_rows(maps, "b")[0, 5], sram(maps, (0, 5), choice=Choice(layers="b")).values[0].flatten(), atol=1e-7
    )


def test_chance_counts_the_tokens_in_reach() -> None:
    tokens = torch.tensor([[0, 0], [10, 7], [19, 7]])
    assert chance(tokens, 1).tolist() == pytest.approx([4 / 280, 9 / 280, 6 / 280])
    assert chance(tokens, 2).tolist() == pytest.approx([9 / 280, 25 / 280, 15 / 280])
    share = Pointing.by_chance(tokens[None], torch.tensor([[True, True, False]])).shares()
    assert share["within_1"] == pytest.approx(6.5 / 280)


def _affine_pair(turn: float, scale: float, shift: tuple[float, float]) -> DemoPairs:
    """A reference with a shape that no rotation maps onto itself, and a person who shows it through a known affine map."""
    y, x = torch.meshgrid(torch.arange(REFERENCE[0]) + 0.5, torch.arange(REFERENCE[1]) + 0.5, indexing="ij")
    mask = ((x > 36) & (x < 78) & (y > 40) & (y < 120) | (x >= 78) & (x < 98) & (y > 40) & (y < 62)).float()
    gy, gx = torch.meshgrid(torch.arange(PICTURE[0]) + 0.5, torch.arange(PICTURE[1]) + 0.5, indexing="ij")
    cos, sin = torch.tensor(turn).cos(), torch.tensor(turn).sin()
    dx, dy = gx - 48 - shift[0], gy - 64 - shift[1]
    truth = torch.stack([58 + scale * (cos * dx + sin * dy), 78 + 1.1 * scale * (-sin * dx + cos * dy)])
    grid = torch.stack([truth[0] / REFERENCE[1] * 2 - 1, truth[1] / REFERENCE[0] * 2 - 1], -1)
    visible = F.grid_sample(mask[None, None], grid[None], mode="nearest", align_corners=False)
    return _pairs_with(truth[None], visible, mask[None, None])


@pytest.mark.parametrize(("turn", "scale", "shift"), [(0.5, 1.3, (4, -6)), (-0.9, 1.5, (-3, 5)), (2.0, 1.4, (0, 0))])
def test_best_affine_finds_a_planted_affine_map(turn: float, scale: float, shift: tuple[float, float]) -> None:
    pairs = _affine_pair(turn, scale, shift)
    tokens, covered = true_tokens(pairs)
    found = best_affine(pairs.visible, pairs.reference_mask)
    assert Pointing.of(found, tokens, covered).shares()["within_1"] > 0.97  # type: ignore[operator]
    with torch.inference_mode():  # also where no gradient may flow
        assert torch.equal(best_affine(pairs.visible, pairs.reference_mask), found)
    assert Pointing.of(same_place().expand_as(tokens), tokens, covered).shares()["within_1"] < 0.9  # type: ignore[operator]


def test_same_place_is_right_where_nothing_moved() -> None:
    y, x = torch.meshgrid(torch.arange(PICTURE[0]) + 0.5, torch.arange(PICTURE[1]) + 0.5, indexing="ij")
    truth = torch.stack([x / PICTURE[1] * REFERENCE[1], y / PICTURE[0] * REFERENCE[0]])[None]
    pairs = _pairs_with(truth, torch.ones(1, 1, *PICTURE))
    assert Pointing.of(same_place()[None], *true_tokens(pairs)).shares()["within_1"] == 1.0


def test_picture_figures() -> None:
    rng = torch.Generator().manual_seed(0)
    truth = 0.2 + 0.6 * torch.rand(2, 3, *PICTURE, generator=rng)
    mask = torch.zeros(2, 1, *PICTURE)
    mask[..., 40:80, 30:60] = 1
    off = truth + 0.1 * mask + 0.7 * (1 - mask)
    assert psnr(off, truth, mask).tolist() == pytest.approx([20.0, 20.0], abs=1e-3)
    assert ssim(truth, truth, mask).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    flat = truth.mean((2, 3), keepdim=True).expand_as(truth)
    inverted = 1 - truth
    assert (ssim(inverted, truth, mask) < ssim(flat, truth, mask)).all()
    assert (ssim(flat, truth, mask) < 0.2).all()


def test_cases_change_what_they_say_and_nothing_else() -> None:
    seeds = [HELD_OUT + 3, HELD_OUT + 4]
    cases = {k: case_of(k, seeds) for k in ("paired", "unpaired", "null_reference", "uv_blanked", "textures_swapped")}
    own = cases["paired"]
    other = draw_pairs([draw_pair(s + OTHER) for s in seeds])
    for case in cases.values():
        assert torch.equal(case.shown.agnostic, own.shown.agnostic)
    assert cases["null_reference"].reference is None
    assert torch.equal(cases["uv_blanked"].densepose, own.shown.densepose_blank)
    unpaired = cases["unpaired"]
    assert unpaired.reference is not None
    assert torch.equal(unpaired.reference, other.reference)
    assert [p.garment for p in unpaired.wanted] == [draw_pair(s + OTHER).garment for s in seeds]
    assert [p.body for p in unpaired.wanted] == [p.body for p in own.own]
    swapped = cases["textures_swapped"]
    assert torch.equal(swapped.truth.visible, own.truth.visible)
    assert torch.equal(swapped.truth.truth, own.truth.truth)
    assert (swapped.truth.reference - own.truth.reference).abs().mean() > 0.05


def test_training_seeds_are_refused(model: DemoModel, tmp_path: Path) -> None:
    check_held_out([HELD_OUT, HELD_OUT + 5])
    with pytest.raises(ValueError, match="seed 7 belongs to training"):
        check_held_out([HELD_OUT, 7])
    with pytest.raises(ValueError, match="belongs to training"):
        check_held_out([HELD_OUT + 5], trained_shards=HELD_OUT // SHARD + 2)
    with pytest.raises(ValueError, match="belongs to training"):
        evaluate.Evaluation(model, evaluate.Plan(pairs=4, first_seed=HELD_OUT - 2), file=tmp_path / "figures.json")
    assert not (tmp_path / "figures.json").exists()


@pytest.fixture(scope="module")
def weights(model: DemoModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    parts = {part: getattr(model, part).state_dict() for part in PARTS}
    return export.export_parts(parts, folder, {"samples": 0, "attention_weight": 0.2, "shards": 32})


def test_evaluation_end_to_end(weights: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / "figures.json"
    command = ["--pairs", "2", "--steps", "2", "--causal-pairs", "1", "--blocks", "2", "--batch", "2", "--threads", "1"]
    assert evaluate.main([*command, "--weights", str(weights), "--json", str(file), "--device", "cpu", "--name", "blank"]) == 0
    figures = json.loads(file.read_text())
    assert set(figures) == {"setup", "picture", "sram", "where", "causal"}
    setup, picture, pointing = figures["setup"], figures["picture"], figures["sram"]
    assert setup["complete"] is True
    assert (setup["name"], setup["pairs"], setup["unpaired_pairs"], setup["steps"], setup["cfg"]) == (
        "blank",
        2,
        1,
        2,
        5.0,
    )
    assert setup["about"]["shards"] == 32
    unet = hashlib.sha256((weights / "unet.safetensors").read_bytes()).hexdigest()
    assert (setup["sha256"]["unet"], len(setup["sha256"])) == (unet, 3)
    assert figures["where"]["paired"]["mirror"]["pairs"] == 2
    assert figures["causal"]["by_blurred_warp"]["pairs"] == 1
    assert setup["first_seed"] >= HELD_OUT
    runs = {
        "paired",
        "unpaired",
        "wrong_reference",
        "null_reference",
        "uv_blanked",
        "textures_swapped",
        "drawn",
        "autoencoder",
    }
    assert set(picture) == runs
    assert picture["paired"]["pairs"] == 2
    assert picture["drawn"]["ssim"] == 1
    assert picture["drawn"]["pattern"] == picture["drawn"]["colour"] == 1
    for part in (pointing, pointing["unpaired"], pointing["uv_blanked"], pointing["textures_swapped"]):
        for family in ("supervised", "never_supervised", "all_layers"):
            assert 0 <= part[family]["within_1"] <= part[family]["within_2"] <= 1
            assert part[family]["cells"] > 50
    assert set(pointing["baselines"]) == {"chance", "same_place", "best_affine", "untrained"}
    assert set(pointing["by_layer"]) == {*SUPERVISED, *NEVER_SUPERVISED}
    assert pointing["textures_swapped"]["unmoved"]["all_layers"]["cells"] == pointing["textures_swapped"]["all_layers"]["cells"]
    for kind, pairs in (("paired", 2), ("unpaired", 1)):
        assert set(figures["where"][kind]) == {"mirror", "R2G-balanced", "R2G", "inpaint_mask"}
        assert all(0 <= f["auc"] <= 1 and f["pairs"] == pairs for f in figures["where"][kind].values())
        assert figures["where"][kind]["inpaint_mask"]["auc"] > 0.7  # the garment lies inside of it
    missed = pointing["where_same_place_misses"]["supervised"]["cells"]
    assert missed / pointing["supervised"]["cells"] == pytest.approx(
        1 - pointing["baselines"]["same_place"]["within_1"], abs=1e-4
    )
    assert figures["causal"]["changes"] == 2
    assert figures["causal"]["chance"] == 0.5
    assert set(figures["causal"]["by_true_warp"]) == {"retrieval", "correlation", "changes", "pairs"}


def test_an_interrupted_evaluation_keeps_what_it_measured(
    model: DemoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "causal_check", stop)
    file = tmp_path / "figures.json"
    plan = evaluate.Plan(pairs=1, unpaired_pairs=0, null_pairs=0, causal_pairs=1, steps=1, batch=1)
    with pytest.raises(KeyboardInterrupt):
        evaluate.Evaluation(model, plan, file=file).run()
    figures = json.loads(file.read_text())
    assert figures["setup"]["complete"] is False
    assert figures["sram"]["supervised"]["pairs"] == figures["picture"]["paired"]["pairs"] == 1
    assert "causal" not in figures


def test_bad_input_ends_with_one_line(weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    where = ["--weights", str(weights), "--json", str(tmp_path / "f.json")]
    assert evaluate.main(["--pairs", "1", "--seed0", "12", *where]) == 2
    assert "belongs to training" in caplog.text
    assert evaluate.main(["--pairs", "1", "--weights", str(tmp_path / "nowhere")]) == 2
    for bad in (["--only", "colour"], ["--pairs", "0"], ["--swap-pairs", "-1"]):
        with pytest.raises(SystemExit) as stopped:
            evaluate.main([*bad, *where])
        assert stopped.value.code == 2


def test_export_takes_the_averaged_weights(model: DemoModel, tmp_path: Path) -> None:
    state = {"samples": torch.tensor(4321)}
    for part in ("unet", "encoder"):
        for key, value in getattr(model, part).state_dict().items():
            state[f"ema.{part}.{key}"] = value.contiguous()
            state[f"raw.{part}.{key}"] = torch.full_like(value, 9)
    save_file(state, tmp_path / "checkpoint.safetensors")
    save_file(model.vae.state_dict(), tmp_path / "vae.safetensors")
    command = ["--checkpoint", str(tmp_path / "checkpoint.safetensors"), "--vae", str(tmp_path / "vae.safetensors")]
    assert export.main([*command, "--out", str(tmp_path / "out"), "--attention-weight", "0", "--shards", "3"]) == 0
    loaded = DemoModel.load(tmp_path / "out")
    assert (loaded.about["samples"], loaded.about["attention_weight"], loaded.about["shards"]) == (4321, 0, 3)
    for part in PARTS:
        for key, value in getattr(model, part).state_dict().items():
            assert torch.equal(getattr(loaded, part).state_dict()[key], value.half().float())
    assert sum(p.stat().st_size for p in (tmp_path / "out").iterdir()) <= export.LIMIT
    assert {p.name for p in (tmp_path / "out").iterdir()} == {f"{part}.safetensors" for part in PARTS}


def test_export_refuses_and_leaves_what_was_there(model: DemoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {part: dict(getattr(model, part).state_dict()) for part in PARTS}
    (tmp_path / "unet.safetensors").write_bytes(b"old")
    spoilt = {**parts, "vae": {**parts["vae"], "quant_conv.bias": torch.full((8,), 1e9)}}
    with pytest.raises(ValueError, match="not finite"):
        export.export_parts(spoilt, tmp_path, {})
    with pytest.raises(ValueError, match="encoder has"):
        export.export_parts({**parts, "encoder": {}}, tmp_path, {})
    monkeypatch.setattr(export, "LIMIT", 1_000_000)
    with pytest.raises(ValueError, match="MB"):
        export.export_parts(parts, tmp_path, {})
    assert [p.name for p in tmp_path.iterdir()] == ["unet.safetensors"]
    assert (tmp_path / "unet.safetensors").read_bytes() == b"old"


def test_counts_of_a_plan_are_held_out_too(model: DemoModel) -> None:
    plan = replace(evaluate.Plan(), pairs=1, first_seed=HELD_OUT - 1)
    with pytest.raises(ValueError, match=str(HELD_OUT - 1)):
        evaluate.Evaluation(model, plan)
    assert peaks(torch.eye(TOKENS)[None])[0, 15].tolist() == [1, 1]
