"""What the host frees, the recorder gives back; what it keeps is still found; previews take no more room than they must."""

from __future__ import annotations

import gc
import importlib
import io
import uuid
import weakref
from pathlib import Path
from types import ModuleType
from typing import Any

import execution
import folder_paths
import main
import pytest
import torch
from host_tests import tiny
from host_tests.graph import CLIENT, Graphs
from host_tests.maps_case import GENERATED, defaults, picture, planted
from host_tests.record_graph import LATENT, WATCH, graph, sampler
from host_tests.sockets import giving

Prompt = dict[str, Any]


@pytest.fixture
def give() -> dict[str, Any]:
    return {"model": tiny.model(), "positive": tiny.positive(), "negative": tiny.negative(), "latent": LATENT}


@pytest.fixture
def registry(pack: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The pack with a registry that no other test has used."""
    module = importlib.import_module(f"{pack.__name__}.i2am.hosts.registry")
    made = module.Registry()
    for name in ("i2am.hosts.comfy.record", "nodes.record"):
        monkeypatch.setattr(importlib.import_module(f"{pack.__name__}.{name}"), "REGISTRY", made)
    return made


class Over(BaseException):
    """The queue's script is at its end."""


class Script(execution.PromptQueue):
    """The host's own queue, which hands out prompts and sets flags in a given order."""

    def __init__(self, server: Any, *events: Prompt | str) -> None:
        super().__init__(server)
        self.events = list(events)
        self.seen: list[Any] = []
        self.look: Any = lambda: None

    def get(self, timeout: float | None = None) -> Any:
        self.seen.append(self.look())
        if not self.events:
            raise Over
        event = self.events.pop(0)
        if isinstance(event, str):
            self.set_flag(event, True)
            return None
        outputs = [name for name, node in event.items() if node["class_type"] == "I2AMTest_Catch"]
        self.put((0, str(uuid.uuid4()), event, {"client_id": CLIENT}, outputs, {}))
        return super().get(0)


def work(script: Script) -> list[Any]:
    """Let the host's own worker take everything; what `Script.look` saw before each event and at the end."""
    with pytest.raises(Over):
        main.prompt_worker(script, script.server)
    return script.seen


def caught(name: str, node: str, index: int) -> Prompt:
    return {f"catch_{name}": {"class_type": "I2AMTest_Catch", "inputs": {"value": [node, index]}}}


def test_what_the_host_frees_is_given_back(registry: Any, run_graph: Graphs, give: dict[str, Any]) -> None:
    """/free sets these flags, and the worker does the rest."""
    prompt = {**graph(), **giving(give), **caught("latent", "collect", 0)}
    kept: list[weakref.ref[Any]] = []

    def look() -> tuple[int, int]:
        gc.collect()
        kept[:] = kept or [weakref.ref(result) for result in registry._results.values()]
        return len(registry._results), sum(ref() is not None for ref in kept)

    script = Script(run_graph.server, prompt, "unload_models", "free_memory")
    script.look = look
    empty, ran, unloaded, freed = work(script)
    assert empty == (0, 0)
    assert ran[0] > 0
    assert ran == unloaded  # models alone are unloaded where another one needs the room
    assert freed == (0, 0)


def test_another_graph_in_between_does_not_lose_the_maps(registry: Any, run_graph: Graphs, give: dict[str, Any]) -> None:
    """The default cache of newer hosts keeps a graph's outputs, but not its nodes, while another one runs."""
    whole = graph()
    alone = {name: node for name, node in whole.items() if name != "collect"}
    run_graph.fresh_cache("LRU", lru=50)
    run_graph(alone, give=give, watch={"latent": ("sampler", 0)})
    run_graph({"plain": sampler(["give_model", 0], 5)}, give=give, watch={"other": ("plain", 0)})
    gc.collect()
    out = run_graph(whole, give=give, watch=WATCH)
    assert {"sampler", "record"} <= set(out.cached)
    assert out["maps"].recorded == (0, 1, 2)


def test_a_recording_that_was_dropped_alone_is_found_by_its_successor(
    registry: Any, run_graph: Graphs, give: dict[str, Any]
) -> None:
    """Short of memory, hosts drop a MODEL first: Record runs again while its sampler stays cached."""
    whole = graph()
    alone = {name: node for name, node in whole.items() if name != "collect"}
    run_graph(alone, give=give, watch={"latent": ("sampler", 0)})
    cache = run_graph.executor.caches.outputs.cache
    recordings = [key for key, entry in cache.items() if any(hasattr(o, "maps_of") for slot in entry.outputs for o in slot)]
    assert len(recordings) == 1
    del cache[recordings[0]]
    gc.collect()
    out = run_graph(whole, give=give, watch=WATCH)
    assert "sampler" in out.cached
    assert "record" in out.executed
    assert out["maps"].recorded == (0, 1, 2)


def test_a_host_without_a_cache_keeps_maps_until_they_are_collected(
    registry: Any, run_graph: Graphs, give: dict[str, Any]
) -> None:
    """There a node goes as soon as it has run, and a second Record runs after the first sampler."""
    both = graph(1)
    both["again"] = {"class_type": "I2AM_Record", "inputs": {**both["record"]["inputs"], "model": ["record", 0]}}
    both["second"] = sampler(["again", 0], 2, latent_image=["sampler", 0])
    both["other"] = {"class_type": "I2AM_Collect", "inputs": {"latent": ["second", 0], "recording": ["again", 1]}}
    run_graph.fresh_cache("NONE")
    out = run_graph(both, give=give, watch={**WATCH, "others": ("other", 1)})
    assert (out["maps"].run.seed, out["others"].run.seed) == (1, 2)
    run_graph.fresh_cache()
    gc.collect()
    registry.find("", "", "")
    assert not registry._results


def test_a_picture_that_is_shown_again_takes_no_more_room(run_graph: Graphs, pack: ModuleType, pack_nodes: Any) -> None:
    folder = Path(folder_paths.get_temp_directory())
    heat = pack_nodes["I2AM_Map"].execute(**{**defaults(pack_nodes["I2AM_Map"]), "maps": planted(pack)}).result[0]
    node = pack_nodes["I2AM_Grid"]
    inputs = {**defaults(node), "heat": ["give_heat", 0], "image": ["give_image", 0]}
    give = {"heat": heat, "image": picture(GENERATED, 2)}

    def shown(title: str) -> tuple[list[str], torch.Tensor]:
        run_graph.fresh_cache()
        prompt = {"grid": {"class_type": "I2AM_Grid", "inputs": {**inputs, "title": title}}}
        out = run_graph(prompt, give=give, watch={"sheet": ("grid", 0)})
        return [image["filename"] for image in out.ui["grid"]["images"]], out["sheet"]

    names, sheet = shown("One")
    count = len(list(folder.iterdir()))
    assert shown("One")[0] == names
    assert len(list(folder.iterdir())) == count
    assert shown("Two")[0] != names
    assert len(list(folder.iterdir())) == count + len(names)
    for name, shown_ in zip(names, sheet, strict=True):
        file = (folder / name).read_bytes()
        again = io.BytesIO()
        pictures = importlib.import_module(f"{pack.__name__}.nodes.base").pictures
        pictures(shown_[None])[0].save(again, "PNG", compress_level=1)  # as the host's PreviewImage
        assert file == again.getvalue()


def test_a_preview_that_the_temporary_folder_lost_is_written_again(pack: ModuleType) -> None:
    base = importlib.import_module(f"{pack.__name__}.nodes.base")
    folder = Path(folder_paths.get_temp_directory())
    image = picture((16, 12))
    (saved,) = base.preview(image).as_dict()["images"]
    (folder / saved["filename"]).unlink()
    assert base.preview(image).as_dict() == {"images": [saved]}
    assert (folder / saved["filename"]).is_file()
    assert (saved["subfolder"], saved["type"]) == ("", "temp")
    assert not list(folder.glob("*.part"))
