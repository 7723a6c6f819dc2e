"""The names that a person chose: the sampler's in every sampler of the host, and the checkpoint's."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import comfy.samplers
import pytest
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
