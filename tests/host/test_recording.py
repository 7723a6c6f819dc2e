"""Recording a sampler: nothing changes, and every event has its step, layer, branch and image."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import comfy.sample
import pytest
import torch
from host_tests import tiny
from host_tests.spy import Spy
from torch import Tensor

SAMPLERS = ["ddim", "euler", "euler_ancestral", "heun", "dpm_2", "dpmpp_2m", "dpmpp_sde", "uni_pc", "lcm"]
GRID = (3, 4)
LAYERS = ["input.1.1.0", "input.3.1.0", "middle.0.1.0", "output.0.1.0", "output.1.1.0", "output.2.1.0", "output.3.1.0"]


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    """The library as the pack has it: comfy, carried, layout and errors."""
    names = {
        "comfy": "hosts.comfy.record",
        "carried": "models.carried",
        "registry": "hosts.registry",
        "layout": "geometry.layout",
        "errors": "errors",
    }
    return type("Lib", (), {k: importlib.import_module(f"{pack.__name__}.i2am.{v}") for k, v in names.items()})


@pytest.fixture(scope="module")
def carry(lib: Any) -> Any:
    """Puts the layout of 3 x 4 tokens beside a conditioning."""
    layout = lib.layout.Layout.of(lib.layout.TokenGrid(*GRID, picture=(30, 40)))
    return lambda conditioning, **facts: lib.carried.carry(conditioning, lib.carried.Carried(layout, (128, 96), **facts))


def record(lib: Any, model: Any, **options: Any) -> tuple[Any, Any]:
    return lib.comfy.attach(model, lib.comfy.Options(**options))


def bits(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a, b)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_latent_is_the_same_to_the_last_bit(lib: Any, carry: Any, sampler: str) -> None:
    positive, negative = carry(tiny.positive()), carry(tiny.negative(), null=True)
    batch = 3 if sampler in ("ddim", "heun") else 1
    cfg = 1.0 if sampler in ("lcm", "dpm_2") else 5.0
    given = {"sampler": sampler, "cfg": cfg, "latent": (batch, 4, 16, 12)}
    plain = tiny.sample(tiny.model(), positive, negative, **given)
    model, recording = record(lib, tiny.model(), pairwise="heads")
    recorded = tiny.sample(model, positive, negative, **given)
    assert bits(plain, recorded)
    maps = recording.maps_of(recorded)
    assert maps.images == batch
    assert maps.recorded == (0, 1, 2, 3)
    other = tiny.sample(tiny.model(), carry(tiny.positive(seed=99)), negative, **given)
    assert not bits(plain, other)


@pytest.mark.parametrize("sampler", [*SAMPLERS, "dpm_fast", "dpm_adaptive"])
def test_every_step_holds_its_last_evaluation(lib: Any, carry: Any, sampler: str) -> None:
    """Against a spy that knows nothing of the pack."""
    model, recording = record(lib, tiny.model(), pairwise="heads", groups=50, branches=("cond", "uncond"))
    spy = Spy(12)
    noise = torch.randn(2, 4, 16, 12, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        latent = comfy.sample.sample(
            spy.attach(model), noise, 5, 5.0, sampler, "normal", carry(tiny.positive()), carry(tiny.negative(), null=True),
            torch.zeros_like(noise), callback=spy.callback, seed=1,
        )  # fmt: skip
    maps = recording.maps_of(latent)
    if sampler in ("dpm_fast", "dpm_adaptive"):
        assert set(maps.recorded) <= set(range(5))
        assert maps.recorded
        return
    assert maps.recorded == (0, 1, 2, 3, 4)
    assert [layer.name for layer in maps.layers] == LAYERS
    assert spy.steps().keys() == {0, 1, 2, 3, 4}
    for step, calls in spy.steps().items():
        assert [c.layer for c in calls] == LAYERS
        for call in calls:
            q, k = (t.unflatten(2, (call.heads, -1)).transpose(1, 2).double() for t in (call.q, call.k))
            weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)  # (2 chunks x 2 images, heads, N, S)
            assert len(call.conditionings) == 2
            # the usual order of the host is uncond first; which it is shows in the null tokens' keys
            for chunk, branch in ((0, "uncond"), (1, "cond")):
                got = maps.pairwise(call.layer, branch)[:, step].double()
                assert torch.allclose(got, weights[2 * chunk : 2 * chunk + 2], atol=2e-6), (step, call.layer, branch)


def test_cond_and_uncond_are_told_apart_by_their_conditioning(lib: Any, carry: Any) -> None:
    """The same tokens on both sides give the same maps; different ones do not, and swapping them swaps the maps."""
    a, b = tiny.positive(seed=3), tiny.positive(seed=4)

    def run(first: Any, second: Any) -> Any:
        model, recording = record(lib, tiny.model(), branches=("cond", "uncond"))
        return recording.maps_of(tiny.sample(model, carry(first), carry(second), steps=1))

    one, two = run(a, b), run(b, a)
    layer = LAYERS[0]
    assert torch.allclose(one.pairwise(layer, "cond"), two.pairwise(layer, "uncond"), atol=1e-6)
    assert not torch.allclose(one.pairwise(layer, "cond"), one.pairwise(layer, "uncond"), atol=1e-3)


def test_a_negative_that_has_a_reference_of_its_own_is_no_null(lib: Any, carry: Any) -> None:
    for null in (True, False):
        model, recording = record(lib, tiny.model(), branches=("cond", "uncond"))
        latent = tiny.sample(model, carry(tiny.positive()), carry(tiny.negative(), null=null), steps=1)
        assert recording.maps_of(latent).null_branches == (("uncond",) if null else ())


def test_unequal_token_counts_are_folded_back(lib: Any, carry: Any) -> None:
    """The host repeats 12 tokens to 36 beside a negative of 36; the maps are those of 12."""
    model, recording = record(lib, tiny.model())
    together = recording.maps_of(tiny.sample(model, carry(tiny.positive()), tiny.negative(tokens=36), steps=1))
    model, recording = record(lib, tiny.model())
    alone = recording.maps_of(tiny.sample(model, carry(tiny.positive()), tiny.negative(), steps=1))
    for layer in LAYERS[:1]:  # the first layer's queries do not depend on the context
        assert together.layer(layer).keys == 12
        assert torch.allclose(together.pairwise(layer), alone.pairwise(layer), atol=1e-6)
        assert torch.allclose(together.marginal("r2g", layer), alone.marginal("r2g", layer), atol=1e-7)


def test_other_packs_hooks_stay_and_see_the_same(lib: Any, carry: Any) -> None:
    calls = {"override": 0, "replace": 0}

    def override(function: Any, *args: Any, **kwargs: Any) -> Tensor:
        calls["override"] += 1
        return function(*args, **kwargs)

    def replace(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        calls["replace"] += 1
        heads = options["n_heads"]
        q, k, v = (t.unflatten(2, (heads, -1)).transpose(1, 2) for t in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(q, k, v * 1.5).transpose(1, 2).flatten(2)

    def patched(model: Any) -> Any:
        model = model.clone()
        model.model_options["transformer_options"]["optimized_attention_override"] = override
        model.set_model_attn2_replace(replace, "input", 1)
        return model

    positive, negative = carry(tiny.positive()), carry(tiny.negative(), null=True)
    plain = tiny.sample(patched(tiny.model()), positive, negative)
    seen = dict(calls)
    before, first = record(lib, patched(tiny.model()))
    assert bits(plain, tiny.sample(before, positive, negative))
    after, second = record(lib, tiny.model())
    after = patched(after)
    assert bits(plain, tiny.sample(after, positive, negative))
    assert calls == {name: 3 * count for name, count in seen.items()}
    names = [[x.name for x in r.maps_of(plain).layers] for r in (first, second)]
    assert names == [LAYERS, LAYERS]


@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_norms_are_those_of_real_attention_whatever_another_pack_makes_of_it(lib: Any, carry: Any, factor: float) -> None:
    """Alone, the recorder takes them from the host's output; behind another pack's override it multiplies itself."""

    def override(function: Any, q: Tensor, k: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        cross = k.shape[1] != q.shape[1]
        return function(q, k, *args, **kwargs) * (factor if cross else 1.0)

    def run(model: Any) -> Any:
        model, recording = record(lib, model, branches=("cond", "uncond"))
        return recording.maps_of(tiny.sample(model, carry(tiny.positive()), carry(tiny.negative()), latent=(2, 4, 16, 12)))

    overridden = tiny.model().clone()
    overridden.model_options["transformer_options"]["optimized_attention_override"] = override
    both = run(tiny.model()), run(overridden)
    for branch in ("cond", "uncond"):
        a, b = (maps.grouped("norm", LAYERS[0], branch)[:, 0] for maps in both)  # later layers and steps differ by the factor
        assert a.std() > 1e-3
        assert torch.allclose(a, b, rtol=1e-5)


def test_areas_and_two_positives_change_nothing_and_are_said(lib: Any, carry: Any) -> None:
    area = [[tiny.context(12, 7), {"area": (8, 12, 4, 0), "strength": 1.0, "set_area_to_bounds": False}]]
    positive = [*carry(tiny.positive()), *carry(tiny.positive(seed=12)), *area]
    negative = tiny.negative()
    plain = tiny.sample(tiny.model(), positive, negative)
    model, recording = record(lib, tiny.model())
    recorded = tiny.sample(model, positive, negative)
    assert bits(plain, recorded)
    notes = " ".join(recording.maps_of(recorded).notes)
    assert "several conditionings" in notes
    assert "area" in notes


def test_text_conditioning_is_refused_before_anything_is_lost(lib: Any) -> None:
    model, _recording = record(lib, tiny.model())
    with pytest.raises(lib.errors.LayoutError, match=r"context has 77 tokens.*Try-On Conditioning"):
        tiny.sample(model, tiny.positive(tokens=77), tiny.negative(tokens=77))


def test_tokens_set_by_hand(lib: Any) -> None:
    layout = lib.layout.Layout.of(lib.layout.TokenGrid(3, 3, leading=3))
    model, recording = record(lib, tiny.model(), layout=layout)
    maps = recording.maps_of(tiny.sample(model, tiny.positive(), tiny.negative()))
    assert maps.references[0].grid.leading == 3
    assert maps.layers[0].keys == 12
    wrong = lib.layout.Layout.of(lib.layout.TokenGrid(4, 4))
    model, _ = record(lib, tiny.model(), layout=wrong)
    with pytest.raises(lib.errors.LayoutError, match="12 keys"):
        tiny.sample(model, tiny.positive(), tiny.negative())


def test_two_samplers_on_one_recording_do_not_mix(lib: Any, carry: Any) -> None:
    model, recording = record(lib, tiny.model())
    positive, negative = carry(tiny.positive()), tiny.negative()
    one = tiny.sample(model, positive, negative, steps=2)
    two = tiny.sample(model, positive, negative, steps=3, seed=2)
    assert recording.maps_of(one).run.steps == 2
    assert recording.maps_of(two).run.steps == 3
    assert recording.maps_of(two).run.seed == 2
    hashes = [recording.maps_of(x).run.extra["latent_hash"] for x in (one, two)]
    assert hashes == [lib.registry.fingerprint(x) for x in (one, two)]
    with pytest.raises(lib.errors.RecordingError, match="connect the LATENT of the sampler itself"):
        recording.maps_of(one + 1)


def test_an_interrupted_run_leaves_nothing(lib: Any, carry: Any) -> None:
    import comfy.model_management as management

    model, recording = record(lib, tiny.model())
    noise = torch.randn(1, 4, 16, 12, generator=torch.Generator().manual_seed(0))

    def stop(step: int, *_: Any) -> None:
        if step == 1:
            raise management.InterruptProcessingException

    given = (noise, 4, 5.0, "euler", "normal", carry(tiny.positive()), tiny.negative(), torch.zeros_like(noise))
    with pytest.raises(management.InterruptProcessingException), torch.inference_mode():
        comfy.sample.sample(model, *given, callback=stop, seed=1)
    assert recording.runs == []
    with pytest.raises(lib.errors.RecordingError, match="did not end"):
        recording.maps_of(noise)
    with torch.inference_mode():
        latent = comfy.sample.sample(model, *given, seed=1)
    assert recording.maps_of(latent).recorded == (0, 1, 2, 3)


def test_an_error_in_a_later_step_ends_only_the_recording(lib: Any, carry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = importlib.import_module(lib.comfy.__name__.replace("hosts.comfy.record", "recording.recorder")).Recorder
    model, recording = record(lib, tiny.model())
    positive, negative = carry(tiny.positive()), tiny.negative()
    plain = tiny.sample(tiny.model(), positive, negative)
    real = recorder.end_step

    def broken(self: Any, step: int) -> None:
        if step == 2:
            raise lib.errors.RecordingError("no room left")
        real(self, step)

    monkeypatch.setattr(recorder, "end_step", broken)
    assert bits(plain, tiny.sample(model, positive, negative))
    with pytest.raises(lib.errors.RecordingError, match="no room left"):
        recording.maps_of(plain)


def test_a_new_recording_finds_what_another_recorded(lib: Any, carry: Any) -> None:
    """A recording node that the host ran again while its sampler stayed cached."""
    model, _ = record(lib, tiny.model())
    latent = tiny.sample(model, carry(tiny.positive()), tiny.negative(), seed=77)
    _, fresh = record(lib, tiny.model())
    assert fresh.maps_of(latent).run.seed == 77


def test_models_that_are_no_unets_are_refused(lib: Any) -> None:
    class Other:
        model = type("M", (), {"diffusion_model": torch.nn.Linear(1, 1)})()

    with pytest.raises(lib.errors.RecordingError, match="this MODEL is a Linear"):
        record(lib, Other())
