"""i2am/train: what training starts from, that it learns, goes on, adds up, and what it leaves."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paper_models as paper
import pytest
import torch
from torch import Tensor

pytest.importorskip("accelerate")
pytest.importorskip("transformers")

import train_case as case

from i2am.data.demo_folder import write_demo_folder
from i2am.data.training import TrainingPairs
from i2am.errors import DatasetError, WeightsFileError
from i2am.models.tryon.checkpoint import sort_checkpoint
from i2am.models.tryon.model import TryOnModel
from i2am.models.tryon.networks import unet_of
from i2am.models.weights.file import read_weights
from i2am.train.errors import TrainingError
from i2am.train.loop import LOG, Manner, Order, Recipe, train
from i2am.train.networks import checkpoint_of
from i2am.train.noise import draw
from i2am.train.start import Networks, small_start, starting_point, widened

RECIPE = Recipe(case.SIZE, epochs=2, batch=2, rate=1e-3)


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    """Its states are shared by all runs of a process."""
    from accelerate.state import AcceleratorState, GradientState

    yield
    AcceleratorState._reset_state(True)
    GradientState._reset_state()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_folder(tmp_path_factory.mktemp("viton-hd"), 6)


@pytest.fixture(scope="module")
def few(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four of the pairs."""
    out = tmp_path_factory.mktemp("few")
    (out / "train").symlink_to(folder / "train")
    lines = (folder / "train_pairs.txt").read_text().splitlines(keepends=True)
    (out / "train_pairs.txt").write_text("".join(lines[:4]))
    return out


@pytest.fixture(scope="module")
def networks() -> Networks:
    return case.start()


def logged(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / LOG).read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


# -------------------------------------------------------------------------------------------------------- start


def test_new_channels_are_zero_and_change_nothing_at_first(networks: Networks) -> None:
    state = case.stable_diffusion()
    plain = unet_of({k.removeprefix(f"{paper.UNET}."): v for k, v in state.items() if k.startswith(paper.UNET)})
    wide = networks.tryon.unet
    first: Tensor = wide.conv_in.weight
    assert first.shape[1] == 12
    assert bool((first[:, 4:] == 0).all())
    assert torch.equal(first[:, :4], state[case.FIRST])
    g = torch.Generator().manual_seed(1)
    x, known, context = (torch.randn(*shape, generator=g) for shape in ((2, 4, 8, 8), (2, 8, 8, 8), (2, 17, 48)))
    t = torch.tensor([10, 900])
    with torch.no_grad():
        expected = plain(x, t, context).sample
        got = wide(torch.cat([x, known], 1), t, context).sample
        shifted = wide(torch.cat([known[:, :4], x, known[:, 4:]], 1), t, context).sample
    assert torch.allclose(got, expected, atol=1e-5)
    assert not torch.allclose(shifted, expected, atol=1e-2)


def test_the_untrained_parts_come_from_their_files_and_a_custom_model_goes_on_as_it_is(networks: Networks) -> None:
    given = case.custom()
    again = starting_point(case.custom())
    written = checkpoint_of(again.tryon, again.frozen)
    assert set(written) == {k for k in given if k not in paper.schedule() and not k.endswith("position_ids")}
    assert all(torch.equal(written[k], given[k]) for k in written)
    fresh = checkpoint_of(networks.tryon, networks.frozen)
    for prefix in ("first_stage_model.", paper.VISION):
        assert all(torch.equal(fresh[k], given[k]) for k in written if k.startswith(prefix))
    assert not torch.equal(fresh["proj_out.weight"], given["proj_out.weight"])


@pytest.mark.parametrize(
    ("take", "vision", "words"),
    [
        (lambda s: {k: v for k, v in s.items() if "diffusion_model" not in k}, True, "Stable Diffusion 1.5"),
        (lambda s: {k: v for k, v in s.items() if "first_stage" not in k}, True, "autoencoder"),
        (lambda s: s, False, "--vision"),
        (lambda s: {**s, case.FIRST: torch.zeros(32, 9, 3, 3)}, True, "takes 9 input channels"),
        (lambda s: {**s, "proj_out.weight": torch.zeros(4, 4), "proj_out.bias": torch.zeros(4)}, True, "projection"),
        (lambda s: {k: v for k, v in s.items() if "output_blocks.7" not in k}, True, "output_blocks.7"),
    ],
)
def test_a_start_that_lacks_something_says_what(take: object, vision: bool, words: str) -> None:
    with pytest.raises(WeightsFileError, match=words):
        starting_point(take(case.stable_diffusion()), case.clip() if vision else None)  # type: ignore[operator]


def test_a_file_that_is_no_vision_model_is_named() -> None:
    with pytest.raises(WeightsFileError, match="holds no CLIP vision model: its keys begin text"):
        starting_point(case.stable_diffusion(), {"text.weight": torch.ones(1)})
    with pytest.raises(WeightsFileError, match="5 input channels"):
        widened(torch.zeros(8, 5, 3, 3))


# ------------------------------------------------------------------------------------------------ chance and order


def test_what_chance_decides_hangs_on_the_sample_alone() -> None:
    one, all_of_them = draw(3, 1, [5], (4, 8, 8), 0.5), draw(3, 1, [2, 5, 7], (4, 8, 8), 0.5)
    assert torch.equal(one.noise[0], all_of_them.noise[1])
    assert (one.time[0], one.dropped[0]) == (all_of_them.time[1], all_of_them.dropped[1])
    for other in (draw(4, 1, [5], (4, 8, 8), 0.5), draw(3, 2, [5], (4, 8, 8), 0.5), draw(3, 1, [6], (4, 8, 8), 0.5)):
        assert not torch.equal(one.noise, other.noise)
    many = draw(0, 0, range(2000), (1,), 0.1)
    assert float(many.dropped.float().mean()) == pytest.approx(0.1, abs=0.02)
    assert float(many.time.float().mean()) == pytest.approx(499.5, abs=20)
    assert not draw(0, 0, range(50), (1,), 0.0).dropped.any()


def test_an_epoch_holds_each_sample_once_in_an_order_of_its_own() -> None:
    order = Order(10, 4, seed=0)
    epochs = []
    for order.epoch in range(3):
        epochs.append(list(order))
        assert len(epochs[-1]) == len(order) == len(set(epochs[-1])) == 8
    assert epochs[0] != epochs[1] != epochs[2]
    order.epoch = 0
    assert list(order) == epochs[0]
    assert set().union(*epochs) == set(range(10))


# --------------------------------------------------------------------------------------------------- a whole run


def test_a_run_learns_and_its_checkpoint_is_the_custom_model(folder: Path, tmp_path: Path) -> None:
    before = small_start()
    untrained = checkpoint_of(before.tryon, before.frozen)
    done = train(before, case.data(folder), replace(RECIPE, rate=2e-3), tmp_path)
    lines = logged(tmp_path)
    assert [line["step"] for line in lines] == list(range(1, 7))
    assert [line["epoch"] for line in lines] == [i // 3 for i in range(6)]
    losses = torch.tensor([line["noise"] for line in lines])
    assert bool(losses.isfinite().all())
    assert float(losses[-2:].mean()) < 0.75  # 1 is what predicting nothing costs

    assert done.checkpoint is not None
    state = read_weights(done.checkpoint)
    found = sort_checkpoint(state)
    assert (found.family.name, found.unused) == ("custom", {})
    for key in state:
        left_alone = key.startswith((paper.VISION, "first_stage_model."))
        assert torch.equal(state[key], untrained[key]) == left_alone, key

    # what was trained is what the plain statement computes from the file
    again = starting_point(state)
    item = case.data(folder)[0]
    mean, spread = (torch.tensor(t).view(1, 3, 1, 1) for t in (paper.CLIP_MEAN, paper.CLIP_STD))
    context = paper.patch_tokens(state, (item["cloth"][None] - mean) / spread, heads=1)
    g = torch.Generator().manual_seed(2)
    x, known = torch.randn(1, 4, 8, 8, generator=g), torch.randn(1, 8, 8, 8, generator=g)
    t, dropped = torch.tensor([300]), torch.tensor([False])
    with torch.no_grad():
        got = again.tryon(x, known, t, again.frozen.tokens(item["cloth"][None]), dropped)
        without = again.tryon(x, known, t, again.frozen.tokens(item["cloth"][None]), ~dropped)
        expected = paper.unet(state, torch.cat([x, known], 1), t, context)
        null = paper.unet(state, torch.cat([x, known], 1), t, state["learnable_vector"].expand(1, 17, -1))
    assert torch.allclose(got, expected, atol=1e-4)
    assert torch.allclose(without, null, atol=1e-4)
    assert not torch.allclose(got, without, atol=1e-3)

    # and what a host computes from it
    model = TryOnModel.load(done.checkpoint)
    with torch.no_grad():
        assert torch.allclose(model.predict(x, known, t, model.encoder.encode(item["cloth"][None])), got, atol=1e-4)


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(few: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    straight = case.run(few, whole, RECIPE)
    first = case.run(few, parts, RECIPE, Manner(steps=1))  # amid the first epoch of two steps
    assert (first.checkpoint, first.step, first.state.name) == (None, 1, "state-1")
    second = case.run(few, parts, RECIPE, Manner(save_every=1))
    assert [p.name for p in parts.glob("state-*")] == ["state-4"]
    assert straight.checkpoint is not None
    assert second.checkpoint is not None
    one, other = read_weights(straight.checkpoint), read_weights(second.checkpoint)
    assert set(one) == set(other)
    assert all(torch.equal(one[k], other[k]) for k in one)
    assert logged(whole) == logged(parts)

    with pytest.raises(TrainingError, match=r"batch was 2, now 4.*another --out"):
        case.run(few, parts, replace(RECIPE, batch=4))
    more = case.run(few, parts, replace(RECIPE, epochs=3, accumulate=2), Manner(steps=5))  # from the end of an epoch
    assert more.step == 5
    assert more.checkpoint is None


def test_a_damaged_state_is_named(folder: Path, tmp_path: Path) -> None:
    state = tmp_path / "state-1"
    state.mkdir()
    (state / "progress.json").write_text("{}")
    with pytest.raises(TrainingError, match=r"state-1 is damaged .*delete this folder"):
        case.run(folder, tmp_path, RECIPE)


def test_parts_of_a_batch_add_up_to_the_batch(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # AdamW would hide the gradient's scale
    monkeypatch.setattr(torch.optim, "AdamW", lambda params, lr, weight_decay: torch.optim.SGD(params, lr=lr))
    recipe = Recipe(case.SIZE, 1, 6, 1, rate=0.1, clip=1e9, drop=0.5, tv_weight=1, alignment_weight=1)
    moved = []
    start = case.start()
    before = checkpoint_of(start.tryon, start.frozen)
    for accumulate in (1, 3):
        done = case.run(folder, tmp_path / str(accumulate), replace(recipe, accumulate=accumulate))
        assert done.step == 1
        assert done.checkpoint is not None
        moved.append({k: v - before[k] for k, v in read_weights(done.checkpoint).items()})
    assert logged(tmp_path / "1")[0] == pytest.approx(logged(tmp_path / "3")[0], rel=1e-4)
    one, three = (torch.cat([v.flatten() for v in m.values()]) for m in moved)
    assert float(one.norm()) > 1e-3
    assert float((one - three).norm() / one.norm()) < 1e-3


def test_ctrl_c_finishes_the_step_and_saves(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handler, read, count = signal.getsignal(signal.SIGINT), TrainingPairs.__getitem__, []

    def interrupted(self: TrainingPairs, index: int) -> dict[str, Tensor]:
        count.append(index)
        if len(count) == 3:  # while the second batch is read
            os.kill(os.getpid(), signal.SIGINT)
        return read(self, index)

    monkeypatch.setattr(TrainingPairs, "__getitem__", interrupted)
    done = case.run(folder, tmp_path, RECIPE)
    assert done.checkpoint is None
    assert 1 <= done.step <= 2
    assert done.state == tmp_path / f"state-{done.step}"
    assert (done.state / "progress.json").is_file()
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.slow
def test_mixed_precision_and_recomputing_train_too(folder: Path, tmp_path: Path) -> None:
    from accelerate.state import AcceleratorState

    recipe = replace(RECIPE, tv_weight=0.1, alignment_weight=0.1)
    case.run(folder, tmp_path / "plain", recipe, Manner(steps=2))
    case.run(folder, tmp_path / "recomputed", recipe, Manner(steps=2, recompute=True, workers=1))
    for plain, recomputed in zip(logged(tmp_path / "plain"), logged(tmp_path / "recomputed"), strict=True):
        assert plain == pytest.approx(recomputed, rel=1e-2)
    AcceleratorState._reset_state(True)
    case.run(folder, tmp_path / "bf16", recipe, Manner(steps=1, precision="bf16"))
    assert logged(tmp_path / "bf16")[0] == pytest.approx(logged(tmp_path / "plain")[0], rel=0.05)
    assert logged(tmp_path / "bf16")[0] != logged(tmp_path / "plain")[0]


def test_a_loss_that_is_not_finite_ends_the_run(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not finite at step"):
        case.run(folder, tmp_path, replace(RECIPE, rate=1e30, epochs=4))


def test_a_run_that_cannot_be_cut_or_filled_says_so(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="batch of 2 cannot be cut into 4"):
        case.run(folder, tmp_path, replace(RECIPE, accumulate=4))
    with pytest.raises(DatasetError, match="6 pairs do not fill a batch of 16; give --batch 6"):
        case.run(folder, tmp_path, replace(RECIPE, batch=16))


def test_latents_do_not_depend_on_how_pictures_lie_in_memory(networks: Networks) -> None:
    """Of channels-last pictures the CPU's group norm loses digits, most of all where they are uniform."""
    pictures = torch.full((1, 3, 64, 64), 0.5)
    last = pictures.contiguous(memory_format=torch.channels_last)
    assert torch.equal(networks.frozen.latents(last), networks.frozen.latents(pictures))
    assert torch.equal(networks.frozen.tokens(last[..., :56, :56]), networks.frozen.tokens(pictures[..., :56, :56]))
