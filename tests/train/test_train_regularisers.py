"""The losses on attention within training, and the figures of their experiment that ship."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

pytest.importorskip("accelerate")
pytest.importorskip("transformers")

import train_case as case

from i2am.demo.experiments import FILE, Plan, run
from i2am.geometry.layout import Layout, TokenGrid
from i2am.models.demo.family import WEIGHTS
from i2am.train.attention import Regularisers, watch
from i2am.train.errors import TrainingError
from i2am.train.losses import attention_tv, attribution_alignment
from i2am.train.start import Networks

LAYOUT = Layout.of(TokenGrid(4, 4, leading=1))
BOTH = Regularisers(tv=1.0, alignment=1.0)


@pytest.fixture(scope="module")
def networks() -> Networks:
    return case.start()


def call(networks: Networks, images: int = 3) -> None:
    g = torch.Generator().manual_seed(0)
    context = 3 * torch.randn(images, 17, 48, generator=g)
    networks.tryon.unet(torch.randn(images, 12, 8, 8, generator=g), torch.tensor([500] * images), context)


def masks(images: int = 3) -> tuple[Tensor, Tensor]:
    inpaint, cloth = torch.zeros(images, 1, 64, 64), torch.zeros(images, 1, 64, 64)
    for i in range(images):
        inpaint[i, :, 8 * i : 40, 8:48] = 1
        cloth[i, :, 4 * i : 32, 16:] = 1
    return inpaint, cloth


def test_all_layers_but_the_middle_are_watched_and_let_go(networks: Networks) -> None:
    layers = watch(networks.tryon.unet)
    assert len(layers) == 15
    assert not any("mid_block" in layer.name for layer in layers)
    with pytest.raises(TrainingError, match="was not called"):
        layers[0].take(torch.tensor([0]))
    call(networks)
    weights = layers[0].take(torch.tensor([0, 2]))
    assert weights.shape == (2, 8, 64, 17)
    assert torch.allclose(weights.sum(-1), torch.ones(()))
    with pytest.raises(TrainingError):
        layers[0].take(torch.tensor([0]))
    for layer in layers:
        layer.end()
    call(networks)
    with pytest.raises(TrainingError):
        layers[1].take(torch.tensor([0]))


def test_the_terms_are_the_losses_means_and_a_dropped_image_counts_as_nothing(networks: Networks) -> None:
    layers, (inpaint, cloth) = watch(networks.tryon.unet), masks()
    call(networks)
    active = torch.tensor([True, False, True])
    kept = [layer.peek() for layer in layers]
    got = BOTH.terms(layers, LAYOUT, (8, 8), inpaint, cloth, active)
    reference, expected = LAYOUT.references[0], {"tv": 0.0, "alignment": 0.0}
    for weights in kept:
        side = round(weights.shape[2] ** 0.5)
        for i in (0, 2):
            one = weights[i : i + 1], (side, side), reference, inpaint[i]
            expected["tv"] += attention_tv(*one).item() / len(kept) / 3
            expected["alignment"] += attribution_alignment(*one, cloth[i]).item() / len(kept) / 3
    assert {name: value.item() for name, value in got.items()} == pytest.approx(expected, rel=1e-4)

    call(networks)
    none = BOTH.terms(layers, LAYOUT, (8, 8), inpaint, cloth, torch.zeros(3, dtype=torch.bool))
    assert {name: value.item() for name, value in none.items()} == {"tv": 0, "alignment": 0}
    assert not Regularisers()
    assert Regularisers(tv=0.1).names() == ("tv",)
    for layer in layers:
        layer.end()


def test_gradients_reach_queries_and_keys_also_where_activations_are_computed_again(networks: Networks) -> None:
    found = []
    for recompute in (False, True):
        tryon = copy.deepcopy(networks.tryon).train()
        if recompute:
            tryon.unet.enable_gradient_checkpointing()
        own = Networks(tryon, networks.frozen)
        layers, (inpaint, cloth) = watch(tryon.unet), masks()
        call(own)
        terms = BOTH.terms(layers, LAYOUT, (8, 8), inpaint, cloth, torch.ones(3, dtype=torch.bool))
        sum(terms.values(), torch.zeros(())).backward()
        named = dict(tryon.unet.named_parameters())
        found.append(
            {f"{layer.name}.{part}": named[f"{layer.name}.{part}.weight"].grad for layer in layers for part in ("to_q", "to_k")}
        )
    plain, again = found
    for name, gradient in plain.items():
        assert gradient is not None, name
        assert float(gradient.abs().max()) > 0, name
        assert torch.allclose(gradient, again[name], rtol=1e-3, atol=1e-7), name


# -------------------------------------------------------------------------------------------------- the experiment


def test_the_figures_that_ship_are_whole_and_each_loss_moved_its_target_in_every_seed() -> None:
    figures = json.loads(FILE.read_text(encoding="utf-8"))
    assert figures["setup"]["complete"] is True
    with safe_open(WEIGHTS / "unet.safetensors", "pt") as file:
        about = json.loads(file.metadata()["i2am"])
    assert 0 < figures["setup"]["start_samples"] <= about["samples"]  # the model that was fine-tuned, or a later one, ships
    assert len(figures["seeds"]) == len(figures["setup"]["seeds"]) == 3
    for name, result in figures["result"].items():
        for without, with_, difference in zip(result["without"], result["with"], result["difference"], strict=True):
            assert difference == pytest.approx(with_ - without, abs=1e-4)
            assert difference < 0
        assert result["lower_in_every_seed"]
        assert all(row["pairs_lower"][name] > 0.5 for row in figures["seeds"].values())
    assert set(figures["result"]) == {"tv", "alignment"}


@pytest.mark.slow
def test_the_experiment_runs_and_one_step_of_a_loss_lowers_it() -> None:
    plan = Plan(seeds=(0,), samples=2, batch=2, train_pairs=2, held_out_pairs=1, rate=2e-4)
    figures = run(plan)
    assert figures["setup"]["complete"]
    row = figures["seeds"]["0"]
    assert set(row["without"]) == {"tv", "alignment", "noise", "within_1"}
    assert row["difference"]["alignment"] < 0
    assert row["difference"]["tv"] < 0
