"""The names that a person chose: the sampler's in every sampler of the host, and the checkpoint's."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfy.weight_adapter import LoRAAdapter
from host_tests.maps_case import library


@pytest.fixture(scope="module")
def names(pack: ModuleType) -> Any:
    return library(pack, "hosts.comfy.names")


@pytest.mark.parametrize("chosen", ["ddim", "euler", "heun", "dpmpp_2m", "dpm_fast", "dpm_adaptive"])
def test_a_sampler_is_called_as_it_was_chosen(names: Any, chosen: str) -> None:
    assert names.sampler_name(comfy.samplers.sampler_object(chosen)) == chosen


def test_a_model_is_called_by_its_loader_its_file_or_its_class(names: Any) -> None:
    file = str(Path("models") / "checkpoints" / "dress.safetensors")
    patcher = SimpleNamespace(attachments={}, model=1.5, cached_patcher_init=None)
    assert names.model_name(patcher) == "float"
    patcher.cached_patcher_init = (print, (file, False), 0)
    assert names.model_name(patcher) == "dress.safetensors"
    patcher.attachments[names.NAME] = "I²AM demo model"
    assert names.model_name(patcher) == "I²AM demo model"


def test_what_is_laid_over_the_weights_is_told_with_its_strength(names: Any) -> None:
    model = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(3)))
    patcher = ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))
    assert names.patched(patcher) == ""
    lora = LoRAAdapter(set(), (torch.zeros(2, 1), torch.zeros(1, 2), None, None, None, None))
    patcher.add_patches({"0.weight": lora, "1.weight": lora}, 0.8)
    patcher.add_patches({"1.weight": lora, "2.bias": (torch.zeros(2),), "1.bias": ("diff", (torch.zeros(2),))}, 0.25)
    told = "diff 0.25 on 1 weights, difference 0.25 on 1 weights, lora 0.25 on 1 weights, lora 0.8 on 2 weights"
    assert names.patched(patcher.clone()) == told
