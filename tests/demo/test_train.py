"""Training goes on from shipped weights, and a step of it teaches attention to point."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from i2am.demo.train import shards as data
from i2am.demo.train import whole as train
from i2am.demo.train.attention_loss import attention_loss, bilinear_target
from i2am.demo.train.fastnorm import fast_group_norm
from i2am.demo.train.shards import write_shards
from i2am.demo.train.unet import Cache, Recipe, _noise_like, train_unet
from i2am.demo.train.whole import _start_from
from i2am.drawn.draw import draw_pairs
from i2am.drawn.places import true_places
from i2am.drawn.seeds import HELD_OUT, SHARD
from i2am.drawn.spec import REFERENCE, draw_pair
from i2am.models.demo.family import WEIGHTS
from i2am.models.demo.networks import LATENT, build_unet
from i2am.models.demo.tryon import DemoModel


def _shard(path: Path, count: int = 16) -> Path:
    """A tiny shard of real pairs as latents of the shipped autoencoder."""
    model, d = DemoModel.load(), draw_pairs([draw_pair(seed) for seed in range(count)])
    place, share = true_places(d.truth, d.visible, LATENT)
    with torch.inference_mode():
        latents = {
            name: model.encode(getattr(d, name)).half() for name in ("person", "agnostic", "densepose", "densepose_blank")
        }
    latents["densepose_blank"] = latents["densepose_blank"][::4].clone()
    inpaint = torch.nn.functional.avg_pool2d(d.inpaint_mask, 4).half()
    reference = (d.reference.clamp(0, 1) * 255).round().to(torch.uint8)
    rest = {"reference": reference, "place": place.half(), "share": share.half(), "inpaint": inpaint}
    save_file({name: t.clone().contiguous() for name, t in {**latents, **rest}.items()}, path)
    return path


def test_training_goes_on_from_shipped_weights_and_counts_on(tmp_path: Path) -> None:
    checkpoint = tmp_path / "supervised.safetensors"
    _start_from(WEIGHTS, checkpoint, tmp_path / "vae.safetensors")
    before = load_file(checkpoint)
    start = int(before["samples"])
    assert start == DemoModel.load().about["samples"]
    cache = Cache([_shard(tmp_path / "latents.safetensors")])
    cache.refresh()
    train_unet(cache, checkpoint, Recipe(samples=start + 32, batch=16))
    after = load_file(checkpoint)
    assert int(after["samples"]) == start + 32
    key = "raw.unet.conv_in.weight"
    assert not torch.equal(before[key], after[key])
    assert float((before[key] - after[key]).abs().max()) < 0.05


def test_a_resumed_training_keeps_its_averaged_weights(tmp_path: Path) -> None:
    checkpoint = tmp_path / "supervised.safetensors"
    _start_from(WEIGHTS, checkpoint, tmp_path / "vae.safetensors")
    state = load_file(checkpoint)
    apart = {k: v + 0.01 if k.startswith("raw.") and v.is_floating_point() else v for k, v in state.items()}
    save_file(apart, checkpoint)
    start, key = int(state["samples"]), "encoder.blocks.0.fc1.weight"
    cache = Cache([_shard(tmp_path / "latents.safetensors", 4)])
    train_unet(cache, checkpoint, Recipe(start + 4, 0.0, batch=4))
    moved = load_file(checkpoint)[f"ema.{key}"] - state[f"ema.{key}"]
    assert 0 < float(moved.abs().mean()) < 0.05 * 0.01


def test_shards_come_in_by_the_count_of_samples_alone(tmp_path: Path) -> None:
    paths = [_shard(tmp_path / f"latents-{i}.safetensors", 4) for i in range(2)]
    cache = Cache(paths)
    assert cache.refresh(1) == 1
    assert cache.refresh() == 2
    late = Cache([*paths, tmp_path / "never.safetensors"])
    with pytest.raises(FileNotFoundError, match="no longer being made"):
        late.refresh(3)
    asked = iter([True, True])

    def coming() -> bool:
        paths[0].rename(tmp_path / "never.safetensors")
        return next(asked)

    waiting = Cache([tmp_path / "never.safetensors"], coming)
    assert waiting.refresh(1) == 1


def test_the_whole_training_stops_resumes_and_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "SHARD", 16)
    (tmp_path / "data").mkdir()
    data._write_shard((0, data.shard_path(tmp_path / "data", 0)))
    common = ["--out", str(tmp_path), "--shards", "1", "--vae-samples", "48", "--threads", "1", "--device", "cpu"]
    for samples in (16, 32):
        assert train.main([*common, "--samples", str(samples), "--attention-samples", "8"]) == 0
        model = DemoModel.load(tmp_path / "weights")
        assert (model.about["samples"], model.about["shards"]) == (samples, 1)
    assert not list(tmp_path.rglob("*.draft"))
    assert float(model.unet.conv_in.weight.detach().std()) > 0


def test_attention_is_taught_for_as_long_as_the_recipe_says(tmp_path: Path) -> None:
    cache = Cache([_shard(tmp_path / "latents.safetensors", 4)])
    cache.refresh()

    def trained(name: str, weight: float, taught: int | None) -> torch.Tensor:
        recipe = Recipe(8, weight, taught, batch=4)
        state = load_file(train_unet(cache, tmp_path / f"{name}.safetensors", recipe))
        return state["raw.unet.up_blocks.1.attentions.1.transformer_blocks.0.attn2.to_q.weight"]

    never = trained("never", 0.2, 0)
    assert torch.equal(trained("without", 0.0, 8), never)
    half = trained("half", 0.2, None)
    assert torch.equal(half, trained("first half", 0.2, 4))
    assert not torch.equal(half, never)
    assert not torch.equal(trained("all", 0.2, 8), half)


def test_training_noise_is_white_with_some_that_is_coarse() -> None:
    def blocks(noise: torch.Tensor) -> float:
        return float(torch.nn.functional.avg_pool2d(noise, 8).var())

    like = torch.zeros(512, 4, *LATENT)
    white, mixed = (_noise_like(like, torch.Generator().manual_seed(1), most) for most in (0.0, 0.25))
    assert blocks(white) == pytest.approx(1 / 64, rel=0.05)  # the mean of 64 independent values
    assert float(white.var()) == pytest.approx(1, rel=0.01)
    # an amount drawn evenly up to 0.25 adds its mean square, less what interpolation smooths
    assert 1 / 64 + 0.25**2 / 3 * 0.3 < blocks(mixed) < 1 / 64 + 0.25**2 / 3
    assert float(mixed.var()) < 1.025


def test_attention_loss_is_least_where_attention_is_true() -> None:
    d = draw_pairs([draw_pair(3)])
    place, share = true_places(d.truth, d.visible, LATENT)
    indices, weights = bilinear_target(place.flatten(2).transpose(1, 2))
    true = torch.zeros(1, LATENT[0] * LATENT[1], 281).scatter_add_(2, indices + 1, weights)
    uniform = torch.full_like(true, 1 / 281)
    shifted = true.roll(3, 2)
    losses = [float(attention_loss([a], place, share, torch.ones(1))) for a in (true, uniform, shifted)]
    assert losses[0] < losses[1] < losses[2]
    assert float(attention_loss([shifted], place, share, torch.zeros(1))) == 0  # a dropped reference teaches nothing


def test_bilinear_target_puts_its_weight_at_the_place() -> None:
    """The weighted mean of the four tokens' centres is the place itself, away from the border."""
    place = torch.tensor([[[37.0, 81.5], [56.0, 80.0]]])
    indices, weights = bilinear_target(place)
    columns, rows = indices % 14, indices // 14
    x = ((columns + 0.5) * REFERENCE[1] / 14 * weights).sum(-1)
    y = ((rows + 0.5) * REFERENCE[0] / 20 * weights).sum(-1)
    assert torch.allclose(torch.stack([x, y], -1), place)


def test_fast_group_norm_gives_the_same_and_is_taken_away_again() -> None:
    torch.manual_seed(0)
    unet = build_unet().eval()
    args = (torch.randn(1, 12, *LATENT), 500, torch.randn(1, 281, 128))
    with torch.no_grad():
        plain = unet(*args).sample
        with fast_group_norm(unet):
            fast = unet(*args).sample
        again = unet(*args).sample
    assert torch.allclose(plain, fast, atol=1e-4)
    assert torch.equal(plain, again)


def test_training_never_draws_held_out_seeds(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="held-out"):
        write_shards(tmp_path, HELD_OUT // SHARD + 1, 1)
