"""IPAdapter_plus is recorded: what it attends to, by adapter and picture, and without changing what it makes."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests import adapters, tiny
from host_tests.graph import Graphs
from torch import Tensor

LATENT = (1, 4, 24, 16)


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    names = {
        "comfy": "hosts.comfy.record",
        "carried": "models.carried",
        "layout": "geometry.layout",
        "choice": "levels.choice",
        "levels": "levels.marginal",
        "patches": "levels.patch",
        "maps": "maps.value",
        "errors": "errors",
    }
    return type("Lib", (), {k: importlib.import_module(f"{pack.__name__}.i2am.{v}") for k, v in names.items()})


def sample(model: Any, **given: Any) -> Tensor:
    return tiny.sample(model, tiny.positive(77), tiny.negative(77), **{"latent": LATENT, "steps": 3, **given})


def recorded(lib: Any, model: Any, options: dict[str, Any] | None = None, **given: Any) -> tuple[Any, Tensor]:
    model, recording = lib.comfy.attach(model, lib.comfy.Options(**(options or {})))
    latent = sample(model, **given)
    return recording.maps_of(latent), latent


@dataclass
class Attended:
    """One call of the pack's attention, (rows, N, channels) and (rows or pictures * rows, tokens, channels)."""

    q: Tensor
    k: Tensor
    heads: int

    def weights(self, rows: slice) -> Tensor:
        """(B, heads, N, keys) in float64."""
        q, k = (t.double().unflatten(2, (self.heads, -1)).transpose(1, 2) for t in (self.q, self.joined))
        return (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(-1)[rows]

    @property
    def joined(self) -> Tensor:
        return self.k.reshape(len(self.q), -1, self.k.shape[2])


@pytest.fixture
def attended(monkeypatch: pytest.MonkeyPatch) -> list[Attended]:
    """All that the pack's module attends to, as it sees it itself."""
    module = adapters.patch()
    real, calls = module.optimized_attention, []

    def spy(q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **kwargs: Any) -> Tensor:
        calls.append(Attended(q.clone(), k.clone(), heads))
        return real(q, k, v, heads, *args, **kwargs)

    monkeypatch.setattr(module, "optimized_attention", spy)
    return calls


def _on_adapter(calls: list[Attended], adapter: int = 0, of: int = 1) -> list[list[Attended]]:
    """The calls of one of several adapters, [step][layer]: each layer attends to its text first."""
    mine = calls[1 + adapter :: 1 + of]
    count = len(adapters.LAYERS)
    return [mine[i : i + count] for i in range(0, len(mine), count)]


@pytest.mark.parametrize("kind", adapters.TOKENS)
def test_the_latent_is_the_same_to_the_last_bit(lib: Any, kind: str) -> None:
    plain = sample(adapters.apply(tiny.model(shape="sd15"), kind))
    maps, latent = recorded(lib, adapters.apply(tiny.model(shape="sd15"), kind), {"pairwise": "heads"})
    assert torch.equal(plain, latent)
    assert [x.name for x in maps.layers] == adapters.LAYERS
    assert maps.recorded == (0, 1, 2)
    assert [(r.name, r.grid.tokens, r.softmax) for r in maps.references] == [("IPAdapter", adapters.TOKENS[kind], 1)]
    assert not torch.equal(plain, sample(adapters.apply(tiny.model(shape="sd15"), kind, seed=6)))
    assert not torch.equal(plain, sample(tiny.model(shape="sd15")))


def test_sdxl_has_several_attentions_in_a_block(lib: Any, attended: list[Attended]) -> None:
    text = [[torch.randn(1, 77, 2048, generator=torch.Generator().manual_seed(i)), {}] for i in (1, 2)]

    def made(model: Any) -> Tensor:
        return tiny.sample(model, text[:1], text[1:], latent=LATENT, steps=2)

    given = adapters.apply(tiny.model(shape="sdxl"), shape="sdxl")
    model, recording = lib.comfy.attach(given, lib.comfy.Options())
    latent = made(model)
    calls = attended[1::2]
    maps = recording.maps_of(latent)
    assert torch.equal(latent, made(given))
    layers = adapters.layers_of("sdxl")
    assert [x.name for x in maps.layers] == layers
    assert len(layers) == 60
    for layer, call in zip(layers, calls[: len(layers)], strict=True):
        either = [call.weights([row]).mean(2) for row in range(2)]  # cond and uncond, in the host's order
        g2r = maps.marginal("g2r", layer)[:, 0].double()
        assert any(torch.allclose(g2r, a, atol=1e-6) for a in either)


def test_an_adapter_may_be_applied_after_the_recording_node(lib: Any) -> None:
    before, latent = recorded(lib, adapters.apply(tiny.model(shape="sd15")))
    model, recording = lib.comfy.attach(tiny.model(shape="sd15"), lib.comfy.Options())
    assert torch.equal(sample(adapters.apply(model)), latent)
    after = recording.maps_of(latent)
    assert torch.equal(after.marginal("r2g", "output.4.1.0", reference=0), before.marginal("r2g", "output.4.1.0", reference=0))


def _keys(model: Any, layer: str, branch: str, adapter: int = 0) -> Tensor:
    """An adapter's keys in a layer, (1, tokens, channels), straight from its weights."""
    kind, block = layer.split(".")[:2]
    given = model.model_options["transformer_options"]["patches_replace"]["attn2"][kind, int(block)].kwargs[adapter]
    with torch.inference_mode():
        keys = given["ipadapter"].ip_layers.to_kvs[f"{given['module_key']}_to_k_ip"](given[branch])
    return keys.reshape(1, -1, keys.shape[-1])


@pytest.mark.parametrize("scaling", ["V only", "K+V"])
@pytest.mark.parametrize("kind", adapters.TOKENS)
def test_maps_are_those_of_the_adapters_own_softmax(lib: Any, kind: str, scaling: str, attended: list[Attended]) -> None:
    given = {"pairwise": "heads", "groups": 3, "branches": ("cond", "uncond")}
    model = adapters.apply(tiny.model(shape="sd15"), kind, embeds_scaling=scaling, weight=0.6)
    maps, _ = recorded(lib, model, given, latent=(2, *LATENT[1:]))
    factor = 1.0 if scaling == "V only" else 0.6
    steps = _on_adapter(attended)
    assert len(steps) == 3
    for step, calls in enumerate(steps):
        for layer, call in zip(adapters.LAYERS, calls, strict=True):
            for branch in ("cond", "uncond"):
                keys = factor * _keys(model, layer, branch)
                rows = [i for i, row in enumerate(call.joined) if torch.allclose(row, keys[0], atol=1e-5)]
                assert len(rows) == 2
                a = call.weights(rows)
                for name, expected in (("g2r", a.mean(2)), ("balanced", (a / a.sum(2, keepdim=True)).mean(3))):
                    assert torch.allclose(maps.marginal(name, layer, branch)[:, step].double(), expected, atol=1e-6)
                if kind == "full":
                    assert torch.allclose(maps.pairwise(layer, branch)[:, step].double(), a, atol=1e-6)
    assert maps.pairwise_layers() == (tuple(adapters.LAYERS) if kind == "full" else ())


def test_tokens_without_places_have_maps_on_the_generated_picture_alone(lib: Any) -> None:
    maps, _ = recorded(lib, adapters.apply(tiny.model(shape="sd15"), "plus"))
    for side in ("R2G", "R2G-balanced"):
        heat = lib.levels.ulam(maps, side)
        assert float(heat.values.max()) > float(heat.values.min()) >= 0
    with pytest.raises(lib.errors.UnavailableError, match="the 16 tokens of 'IPAdapter' have no places on its picture"):
        lib.levels.ulam(maps, "G2R")
    with pytest.raises(lib.errors.UnavailableError, match="have no places"):
        lib.patches.sram(maps, (0, 0))
    with pytest.raises(lib.errors.UnavailableError, match="all the keys of the call"):
        lib.levels.ulam(maps, "mass")
    with pytest.raises(lib.errors.UnavailableError, match="placed_only leaves nothing"):
        lib.levels.ulam(maps, "R2G", placed_only=True)


def test_full_face_tokens_keep_the_places_of_the_vision_model(lib: Any) -> None:
    maps, _ = recorded(lib, adapters.apply(tiny.model(shape="sd15"), "full"))
    (reference,) = maps.references
    assert (reference.grid.rows, reference.grid.columns, reference.grid.leading, reference.grid.rect) == (16, 16, 1, None)
    g2r = lib.levels.ulam(maps, "G2R")
    assert float(g2r.values.sum()) + g2r.unplaced[0] == pytest.approx(1, abs=1e-5)
    cells = [(a, b) for a in range(24) for b in range(16)]
    assert torch.allclose(lib.patches.sram(maps, cells).values, g2r.values, atol=1e-6)
    assert "which part of the picture the tokens cover is unknown" in g2r.notes


def test_pictures_that_are_joined_are_references_of_one_softmax(lib: Any, attended: list[Attended]) -> None:
    model = adapters.apply(tiny.model(shape="sd15"), pictures=3)
    maps, latent = recorded(lib, model, latent=(2, *LATENT[1:]))
    assert torch.equal(sample(model, latent=(2, *LATENT[1:])), latent)
    assert [(r.name, r.start, r.softmax) for r in maps.references] == [
        ("IPAdapter, picture 1", 0, 1),
        ("IPAdapter, picture 2", 4, 1),
        ("IPAdapter, picture 3", 8, 1),
    ]
    call = _on_adapter(attended)[2][0]
    assert call.k.shape[:2] == (12, 4)  # pictures * rows
    keys = _keys(model, "input.1.1.0", "cond")
    rows = [i for i, row in enumerate(call.joined) if torch.allclose(row, keys[0], atol=1e-5)]
    shares = call.weights(rows).unflatten(3, (3, 4)).sum(4)
    for i in range(3):
        mass = maps.marginal("mass", "input.1.1.0", reference=i)[:, 2].double()
        assert torch.allclose(mass, shares[..., i], atol=1e-6)
    heats = [lib.levels.ulam(maps, "mass", lib.choice.Choice(reference=i, layers="input.1.1.0")).values for i in range(3)]
    assert torch.allclose(sum(heats), torch.ones_like(heats[0]), atol=1e-5)


def test_every_image_of_a_batch_may_have_its_own_picture(lib: Any, attended: list[Attended]) -> None:
    model = adapters.apply(tiny.model(shape="sd15"), "full", pictures=2, batch=True)
    maps, _ = recorded(lib, model, {"groups": 3, "pairwise": "heads"}, latent=(2, *LATENT[1:]))
    assert [r.name for r in maps.references] == ["IPAdapter"]
    assert "one picture for each of the batch" in maps.run.extra["IPAdapter"]
    keys = _keys(model, "input.1.1.0", "cond").unflatten(1, (2, 257))[0]
    call = _on_adapter(attended)[0][0]
    rows = [next(i for i, row in enumerate(call.joined) if torch.allclose(row, own, atol=1e-5)) for own in keys]
    assert torch.allclose(maps.pairwise("input.1.1.0")[:, 0].double(), call.weights(rows), atol=1e-6)


def test_two_adapters_have_a_softmax_and_steps_each(lib: Any, attended: list[Attended], tmp_path: Any) -> None:
    model = adapters.apply(tiny.model(shape="sd15"), "standard", end_at=0.5)
    model = adapters.apply(model, "full", seed=8, weight_type="composition")
    maps, latent = recorded(lib, model, steps=6)
    assert torch.equal(sample(model, steps=6), latent)
    assert [(r.name, r.grid.tokens, r.softmax) for r in maps.references] == [("IPAdapter 1", 4, 1), ("IPAdapter 2", 257, 2)]
    first, second = maps.active
    assert first == tuple(range(len(first)))
    assert 0 < len(first) < 6
    assert second == maps.recorded == tuple(range(6))
    assert [x.name for x in maps.layers] == adapters.LAYERS
    own = [x.name for x in maps.layers if maps.has("r2g", x.name, reference=1)]
    assert own == ["input.7.1.0", "input.8.1.0"]  # its weights are of those layers
    labels = lib.levels.llam(maps, "G2R", lib.choice.Choice(reference=1)).labels
    assert [label.split(" ")[0] for label in labels] == own
    with pytest.raises(lib.errors.UnavailableError, match=r"none of the chosen layers attends to reference 1.*input.7.1.0"):
        lib.levels.ulam(maps, "G2R", lib.choice.Choice(reference=1, layers="output.*"))
    with pytest.raises(lib.errors.UnavailableError, match="or not with this reference"):
        lib.levels.ulam(maps, "R2G", lib.choice.Choice(reference=0, steps=(len(first), 6)))
    every = lib.levels.ulam(maps, "R2G", lib.choice.Choice(reference=0)).values
    assert torch.equal(every, lib.levels.ulam(maps, "R2G", lib.choice.Choice(reference=0, steps=(0, len(first)))).values)
    again = lib.maps.AttributionMaps.load(maps.save(tmp_path / "two.safetensors"))
    assert (again.references, again.active, again.layers) == (maps.references, maps.active, maps.layers)
    assert torch.equal(
        lib.levels.ulam(again, "G2R", lib.choice.Choice(reference=1)).values,
        lib.levels.ulam(maps, "G2R", lib.choice.Choice(reference=1)).values,
    )


def test_an_adapter_stands_beside_a_reference_in_the_conditioning(lib: Any) -> None:
    layout = lib.layout.Layout.of(lib.layout.TokenGrid(3, 4, picture=(30, 40)))
    positive = lib.carried.carry(tiny.positive(12), lib.carried.Carried(layout, (192, 128)))
    alone, recording = lib.comfy.attach(tiny.model(shape="sd15"), lib.comfy.Options())
    with_one, both = lib.comfy.attach(adapters.apply(tiny.model(shape="sd15")), lib.comfy.Options())
    given = {"latent": LATENT, "steps": 1}
    usual = recording.maps_of(tiny.sample(alone, positive, tiny.negative(12), **given))
    maps = both.maps_of(tiny.sample(with_one, positive, tiny.negative(12), **given))
    assert [(r.name, r.softmax) for r in maps.references] == [("reference", 0), ("IPAdapter", 1)]
    assert "middle.0.1.0" in [x.name for x in maps.layers]
    assert not maps.has("r2g", "middle.0.1.0", reference=1)
    # the first layer's queries and text are not touched by the adapter yet
    assert torch.equal(maps.marginal("g2r", "input.1.1.0"), usual.marginal("g2r", "input.1.1.0"))


def test_rows_and_columns_that_are_set_by_hand_speak_of_the_conditioning(lib: Any) -> None:
    by_hand = lib.layout.Layout.of(lib.layout.TokenGrid(7, 11))
    maps, _ = recorded(lib, adapters.apply(tiny.model(shape="sd15")), {"layout": by_hand})
    assert [(r.name, r.softmax) for r in maps.references] == [("reference", 0)]


def test_an_adapter_of_no_weight_leaves_nothing_to_look_at(lib: Any) -> None:
    model, recording = lib.comfy.attach(adapters.apply(tiny.model(shape="sd15"), weight=0.0), lib.comfy.Options())
    latent = sample(model)
    with pytest.raises(lib.errors.RecordingError, match="nothing was recorded"):
        recording.maps_of(latent)


@pytest.mark.parametrize("kind", ["plus", "full"])
def test_the_starter_graph_runs_and_looks(run_graph: Graphs, kind: str) -> None:
    """Workflow 06 from its vision model on, with tiny weights in place of the files that it loads."""
    twin = json.loads((Path(__file__).parents[1] / "workflows" / "06_ipadapter.json").read_text(encoding="utf-8"))
    by_class = {node["class_type"]: key for key, node in twin.items()}
    given = {
        (by_class["CheckpointLoaderSimple"], 2): "vae",
        (by_class["IPAdapterUnifiedLoader"], 0): "model",
        (by_class["IPAdapterUnifiedLoader"], 1): "ipadapter",
        (by_class["LoadImage"], 0): "picture",
        (by_class["VAEDecode"], 0): "image",
    }
    sampler = twin[by_class["KSampler"]]["inputs"]
    for name in ("positive", "negative"):
        given[tuple(sampler[name])] = name
    sampler["steps"] = 3
    twin[by_class["EmptyLatentImage"]]["inputs"].update(width=128, height=192)
    kept = {"IPAdapterAdvanced", "I2AM_Record", "KSampler", "EmptyLatentImage", "I2AM_Look"}
    graph = {key: node for key, node in twin.items() if node["class_type"] in kept}
    for node in graph.values():
        wired = {k: given.get(tuple(v)) for k, v in node["inputs"].items() if isinstance(v, list)}
        node["inputs"].update({k: [f"give_{name}", 0] for k, name in wired.items() if name})
    adapters.pack()
    give = {
        "model": tiny.model(shape="sd15"),
        "ipadapter": {"ipadapter": {"model": adapters.weights(kind)}, "clipvision": {"model": adapters.vision()}},
        "picture": torch.rand(1, 160, 112, 3, generator=torch.Generator().manual_seed(1)),
        "image": torch.rand(1, 192, 128, 3, generator=torch.Generator().manual_seed(2)),
        "positive": tiny.positive(77),
        "negative": tiny.negative(77),
    }
    look = by_class["I2AM_Look"]
    out = run_graph(graph, give=give, watch={"sheet": (look, 0), "maps": (look, 1)})
    assert out.ui[look]["images"]
    (reference,) = out["maps"].references
    assert reference.grid.tokens == adapters.TOKENS[kind]
    assert out["maps"].run.extra["IPAdapter"].startswith(f"{adapters.TOKENS[kind]} tokens a picture, weight")
    assert len(out["maps"].layers) == 15
