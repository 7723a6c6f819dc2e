"""The diffusers host: it changes nothing, restores everything, sees every call, and refuses what it cannot know."""

from __future__ import annotations

import copy
import gc
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import statement
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from planted import CONTEXT, GRIDS, HEADS, LATENT, LAYERS, MIDDLE, attention_of, tiny_unet
from torch import Tensor, nn

from i2am.errors import I2AMError, LayoutError, RecordingError
from i2am.hosts.diffusers import record
from i2am.layout import Layout, Reference, TokenGrid
from i2am.levels import tlam
from i2am.maps import AttributionMaps
from i2am.recorder import Recorder

# a key of nobody, a reference of 4 x 3 after a leading token, two keys of nobody, a reference of 2 x 5
LAYOUT = Layout((Reference(TokenGrid(4, 3, 1), 1, "shirt"), Reference(TokenGrid(2, 5), 16, "shoes")), keys=26)
TIMES = (901.0, 601.0, 301.0)
KINDS = ("r2g", "r2g_placed", "balanced", "balanced_placed", "mass", "mass_placed", "g2r")
Mode = tuple[str, int]
MODES = [("batch", 1), ("batch", 2), ("calls", 2), ("none", 2)]


@pytest.fixture
def unet() -> UNet2DConditionModel:
    return copy.deepcopy(_unet())


_unet = cache(tiny_unet)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def branches_of(mode: str) -> tuple[str, ...]:
    return ("cond",) if mode == "none" else ("uncond", "cond")


@dataclass
class Run:
    """A short guided denoising; ``reference`` seeds what the keys hold."""

    mode: str = "batch"
    images: int = 1
    reference: int = 1
    times: tuple[float, ...] = TIMES
    latent: tuple[int, int] = LATENT
    dtype: torch.dtype = torch.float32
    each_step: Callable[[int], None] | None = None

    def context(self) -> dict[str, Tensor]:
        """(images, keys, CONTEXT) by branch."""
        keys = LAYOUT.key_count
        cond = normal(self.reference, self.images, keys, CONTEXT).to(self.dtype)
        return {"uncond": normal(0, 1, keys, CONTEXT).to(self.dtype).expand_as(cond), "cond": cond}

    def __call__(self, unet: UNet2DConditionModel, **kwargs: Any) -> Tensor:
        x = normal(99, self.images, 4, *self.latent).to(self.dtype)
        context = self.context()
        with torch.inference_mode():
            for step, time in enumerate(self.times):
                if self.mode == "batch":
                    both = torch.cat([context["uncond"], context["cond"]])
                    uncond, cond = unet(torch.cat([x, x]), time, encoder_hidden_states=both, **kwargs).sample.chunk(2)
                elif self.mode == "calls":
                    uncond, cond = (unet(x, time, context[b], **kwargs).sample for b in ("uncond", "cond"))
                else:
                    uncond = cond = unet(x, torch.tensor([time] * self.images), context["cond"], **kwargs).sample
                x = x - 0.3 * (uncond + 3 * (cond - uncond))
                if self.each_step:
                    self.each_step(step)
        return x


def recording_of(model: Any, run: Run, **options: Any) -> Any:
    branches = options.pop("branches", branches_of(run.mode))
    options = {"steps": len(run.times), "images": run.images, "keep": branches, "pairwise": "heads", "groups": 3, **options}
    return record(model, options.pop("layout", LAYOUT), branches=branches, **options)


def recorded(
    unet: UNet2DConditionModel, run: Run, kwargs: dict | None = None, **options: Any
) -> tuple[Tensor, AttributionMaps]:
    recording = recording_of(unet, run, **options)
    with recording:
        out = run(unet, **(kwargs or {}))
    return out, recording.maps


def same(a: AttributionMaps, b: AttributionMaps) -> bool:
    return a._tensors.keys() == b._tensors.keys() and all(torch.equal(a._tensors[k], b._tensors[k]) for k in a._tensors)


def traces(unet: UNet2DConditionModel) -> dict[str, Any]:
    """All that a recording might leave in a U-Net; compared by identity where it holds objects."""
    processors = {name: id(m.processor) for name, m in unet.named_modules() if hasattr(m, "processor")}
    hooks = {n: (len(m._forward_hooks), len(m._forward_pre_hooks)) for n, m in unet.named_modules()}
    own = {name: sorted(k for k in vars(m) if not k.startswith("_")) for name, m in unet.named_modules()}
    return {"processors": processors, "hooks": hooks, "own": own, "state": list(unet.state_dict())}


class Seen:
    """Watches q, k and v of every cross-attention call by its own hooks, beside the host."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self.calls: dict[str, list[dict[str, Tensor]]] = {name: [] for name in LAYERS}
        self.unet = unet

    def __enter__(self) -> Seen:
        self.handles = []
        for name in LAYERS:
            attn = attention_of(self.unet, name)
            for part in ("to_q", "to_k", "to_v"):
                self.handles.append(getattr(attn, part).register_forward_hook(self._hook(name, part)))
        return self

    def _hook(self, name: str, part: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, out: Tensor) -> None:
            if part == "to_q":
                self.calls[name].append({})
            self.calls[name][-1][part] = out.unflatten(2, (HEADS, -1)).transpose(1, 2).clone()

        return hook

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def rows(self, layer: str, step: int, branch: str, run: Run) -> dict[str, Tensor]:
        """q, k, v of one step and branch, (images, heads, ..., d)."""
        n, i = run.images, branches_of(run.mode).index(branch)
        if run.mode == "calls":
            return self.calls[layer][2 * step + i]
        return {part: t[i * n : (i + 1) * n] for part, t in self.calls[layer][step].items()}


def assert_states(maps: AttributionMaps, seen: Seen, run: Run, mask: Tensor | None = None, relative: float = 1e-4) -> None:
    """Every map equals the plain statement of it; ``mask`` is additive, (rows, keys)."""
    n = run.images
    for layer in maps.layers:
        for branch in maps.branches:
            rows = slice(branches_of(run.mode).index(branch) * n, (branches_of(run.mode).index(branch) + 1) * n)
            for step in range(len(run.times)):
                part = seen.rows(layer.name, step, branch, run)
                for i, reference in enumerate(LAYOUT.references):
                    stated = statement.call_maps(
                        part["to_q"],
                        part["to_k"],
                        part["to_v"],
                        (reference.start, reference.grid.leading, reference.grid.placed),
                        scale=part["to_q"].shape[-1] ** -0.5,
                        mask=None if mask is None else mask[rows, None, None],
                    )
                    found = {kind: maps.marginal(kind, layer.name, branch, i)[:, step] for kind in KINDS if kind in stated}
                    found["pairwise"] = maps.pairwise(layer.name, branch, i)[:, step]
                    for kind in ("entropy", "norm"):
                        found[kind] = maps.grouped(kind, layer.name, branch, i)[:, step]
                    for kind, value in found.items():
                        assert_close(value.double(), stated[kind], relative, f"{kind} of {layer.name}, {branch}, {step}, {i}")


def assert_close(seen: Tensor, expected: Tensor, relative: float, what: str) -> None:
    torch.testing.assert_close(seen, expected, rtol=relative, atol=1e-6, msg=lambda text: f"{what}: {text}")


# ------------------------------------------------------------------------------------------- nothing is changed


@pytest.mark.parametrize(("mode", "images"), MODES)
def test_the_output_is_bit_identical_and_every_call_is_seen(
    unet: UNet2DConditionModel, monkeypatch: pytest.MonkeyPatch, mode: str, images: int
) -> None:
    run = Run(mode, images)
    before = traces(unet)
    plain = run(unet)
    events: Counter = Counter()
    observe = Recorder.observe

    def counted(self: Recorder, layer: str, grid: Any, step: int, branch: str, q: Tensor, *args: Any, **kwargs: Any) -> None:
        for image in range(len(q)):
            events[layer, step, branch, image] += 1
        observe(self, layer, grid, step, branch, q, *args, **kwargs)

    monkeypatch.setattr(Recorder, "observe", counted)
    with Seen(unet) as seen:
        out, maps = recorded(unet, run)
    assert torch.equal(out, plain)
    assert traces(unet) == before
    assert set(events.values()) == {1}
    assert len(events) == len(TIMES) * len(LAYERS) * len(branches_of(mode)) * images
    assert_states(maps, seen, run)
    assert [x.name for x in maps.layers] == list(LAYERS)
    assert {x.name: (x.grid.rows, x.grid.columns) for x in maps.layers} == GRIDS
    assert [x.name for x in maps.layers if x.middle] == [MIDDLE]

    other = Run(mode, images, reference=2)
    changed, other_maps = recorded(unet, other)
    assert not torch.equal(changed, plain)
    assert torch.equal(changed, other(unet))
    assert not torch.allclose(other_maps.marginal("g2r", LAYERS[0]), maps.marginal("g2r", LAYERS[0]), rtol=1e-3)


@pytest.mark.parametrize("pairwise", [None, "mean", "heads"])
def test_what_is_kept_does_not_change_the_output(unet: UNet2DConditionModel, pairwise: str | None) -> None:
    run = Run()
    mask = torch.zeros(24, 20)
    mask[:12] = 1
    out, maps = recorded(unet, run, pairwise=pairwise, keep=("cond",), inpaint_mask=mask, layers="up_blocks*", groups=1)
    assert torch.equal(out, run(unet))
    assert maps.branches == ("cond",)
    assert [x.name for x in maps.layers] == [x for x in LAYERS if x.startswith("up")]
    assert maps.pairwise_heads == pairwise
    assert maps.generated_size == (96, 80)


@pytest.mark.parametrize("processor", [AttnProcessor, AttnProcessor2_0])
def test_every_attention_backend(unet: UNet2DConditionModel, processor: type) -> None:
    run = Run(images=2)
    unet.set_attn_processor(processor())
    before = traces(unet)
    plain = run(unet)
    with Seen(unet) as seen:
        out, maps = recorded(unet, run)
    assert torch.equal(out, plain)
    assert traces(unet) == before
    assert_states(maps, seen, run)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_are_reduced_in_fp32(unet: UNet2DConditionModel, dtype: torch.dtype) -> None:
    run = Run(images=2, dtype=dtype)
    unet = unet.to(dtype)
    plain = run(unet)
    assert plain.dtype == dtype
    with Seen(unet) as seen:
        out, maps = recorded(unet, run)
    assert torch.equal(out, plain)
    assert maps.marginal("r2g", LAYERS[0]).dtype == torch.float32
    assert_states(maps, seen, run)  # to fp32's own error, from the model's own half-precision q and k


def test_latents_of_odd_size(unet: UNet2DConditionModel) -> None:
    run = Run(latent=(9, 13))
    with Seen(unet) as seen:
        out, maps = recorded(unet, run)
    assert torch.equal(out, run(unet))
    assert {(x.grid.rows, x.grid.columns) for x in maps.layers} == {(9, 13), (5, 7)}
    assert_states(maps, seen, run)


def test_gradients_still_flow_through_a_recorded_model(unet: UNet2DConditionModel) -> None:
    x, context = normal(0, 1, 4, *LATENT), normal(1, 1, LAYOUT.key_count, CONTEXT).requires_grad_()
    unet(x, 5, context).sample.sum().backward()
    plain, context.grad = context.grad, None
    recording = record(unet, LAYOUT, steps=1, branches=("cond",))
    with recording:
        unet(x, 5, context).sample.sum().backward()
    assert plain is not None
    assert torch.equal(context.grad, plain)
    assert not any(t.requires_grad for t in recording.maps._tensors.values())


# ---------------------------------------------------------------------------------------- everything is restored


class Broken(RuntimeError):
    pass


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["between steps", "inside a call"])
def test_a_run_that_breaks_off_leaves_nothing(unet: UNet2DConditionModel, error: type[BaseException], where: str) -> None:
    before, plain = traces(unet), Run()(unet)
    processors = {name: attention_of(unet, name).processor for name in LAYERS}
    recording = recording_of(unet, Run())
    calls = [0]

    def fail(*_: object) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise error

    handle = None
    run = Run(each_step=fail if where == "between steps" else None)
    if where == "inside a call":
        handle = attention_of(unet, LAYERS[-1]).to_v.register_forward_hook(fail)
    with pytest.raises(error), recording:
        run(unet)
    if handle is not None:
        handle.remove()
    assert calls[0] == 2
    assert traces(unet) == before
    assert all(attention_of(unet, name).processor is p for name, p in processors.items())
    with pytest.raises(RecordingError, match="no maps"):
        _ = recording.maps
    # the same recording can be used again, and nothing of the broken run is in it
    with recording:
        out = Run()(unet)
    assert torch.equal(out, plain)
    assert same(recording.maps, recorded(unet, Run())[1])
    assert recording.maps.recorded == (0, 1, 2)


def test_a_second_run_starts_clean(unet: UNet2DConditionModel) -> None:
    recording = recording_of(unet, Run())
    with recording:
        Run(reference=1)(unet)
    first = recording.maps
    with recording:
        Run(reference=2)(unet)
    assert same(first, recorded(unet, Run(reference=1))[1])
    assert same(recording.maps, recorded(unet, Run(reference=2))[1])
    assert not same(first, recording.maps)


def test_a_failed_second_run_does_not_leave_the_first_ones_maps(unet: UNet2DConditionModel) -> None:
    recording = recording_of(unet, Run())
    with recording:
        Run()(unet)
    with pytest.raises(Broken), recording:
        raise Broken
    with pytest.raises(RecordingError, match="no maps"):
        _ = recording.maps


def test_one_recording_is_not_entered_twice_at_once(unet: UNet2DConditionModel) -> None:
    before = traces(unet)
    recording = recording_of(unet, Run())
    with recording:
        with pytest.raises(RecordingError, match="running already"), recording:
            pass
        Run()(unet)
    assert recording.maps.recorded == (0, 1, 2)
    assert traces(unet) == before


def test_nested_recordings_do_not_mix(unet: UNet2DConditionModel) -> None:
    before, run = traces(unet), Run(images=2)
    plain = run(unet)
    wide = recording_of(unet, run)
    narrow = recording_of(unet, run, keep=("cond",), layers="mid_block*", pairwise="mean", groups=1)
    with wide, narrow:
        out = run(unet)
    assert torch.equal(out, plain)
    assert traces(unet) == before
    assert same(wide.maps, recorded(unet, run)[1])
    assert same(narrow.maps, recorded(unet, run, keep=("cond",), layers="mid_block*", pairwise="mean", groups=1)[1])


def test_an_inner_recording_of_a_part_of_the_run(unet: UNet2DConditionModel) -> None:
    outer, inner = recording_of(unet, Run()), recording_of(unet, Run(times=TIMES[:2]))
    with outer:
        with inner:
            Run(times=TIMES[:2])(unet)
        inner_maps = inner.maps
        Run(reference=2, times=TIMES[2:])(unet)
    assert same(inner_maps, recorded(unet, Run(times=TIMES[:2]))[1])
    last = outer.maps.pairwise(LAYERS[0])[:, 2]
    assert torch.equal(last, recorded(unet, Run(reference=2, times=TIMES[2:]), groups=1)[1].pairwise(LAYERS[0])[:, 0])


def test_recordings_that_end_in_the_wrong_order(unet: UNet2DConditionModel) -> None:
    before, run = traces(unet), Run()
    plain = run(unet)
    first, second = recording_of(unet, run), recording_of(unet, run)
    first.__enter__()
    second.__enter__()
    run(unet)
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert same(first.maps, second.maps)
    assert traces(unet) == before
    assert torch.equal(run(unet), plain)


def test_two_models_recorded_at_once() -> None:
    one, two = tiny_unet(1), tiny_unet(2)
    a, b = recording_of(one, Run()), recording_of(two, Run(reference=2))
    with a, b:
        Run()(one)
        Run(reference=2)(two)
    assert same(a.maps, recorded(one, Run())[1])
    assert same(b.maps, recorded(two, Run(reference=2))[1])


OURS = ("Watch", "Recorder", "CallMaps", "AttributionMaps", "DiffusersRecording")


def held() -> tuple[int, Counter]:
    """Bytes of all tensors, and how many objects of a recording there are, that did not exist at `gc.freeze`."""
    gc.collect()
    alive = gc.get_objects()
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in alive if type(t) is Tensor}
    return sum(storages.values()), Counter(type(x).__name__ for x in alive if type(x).__name__ in OURS)


def test_twenty_recordings_in_a_row_do_not_grow_memory(unet: UNet2DConditionModel) -> None:
    def fail(_step: int) -> None:
        raise Broken

    run, breaking = Run(times=TIMES[:1]), Run(times=TIMES[:1], each_step=fail)
    run(unet)
    gc.collect()
    gc.freeze()
    try:
        shared = recording_of(unet, run)
        nothing = held()
        with shared:
            run(unet)
        one = held()
        assert one[0] >= nothing[0] + shared.maps.nbytes
        assert one[1]["AttributionMaps"] == 1
        for i in range(20):
            if i % 4 == 3:
                with pytest.raises(Broken), shared:
                    breaking(unet)
                assert held() == nothing, i
            elif i % 2:
                recorded(unet, run)
            else:
                with shared:
                    run(unet)
                assert held() == one, i
    finally:
        gc.unfreeze()


# --------------------------------------------------------------------------------------------- other processors


class Strong:
    """A processor of somebody else's: it scales its layer's output, and takes a keyword argument of its own."""

    def __init__(self) -> None:
        self.inner, self.calls = AttnProcessor2_0(), 0

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        strength: float = 1.0,
    ) -> Tensor:
        self.calls += 1
        return strength * self.inner(attn, hidden_states, encoder_hidden_states, attention_mask, temb)


class Learned(nn.Module):
    """A processor that is a module with weights."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.7))

    def forward(self, attn: nn.Module, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Tensor:
        return self.gain * AttnProcessor2_0()(attn, hidden_states, encoder_hidden_states)


def test_a_custom_processor_is_chained_with_its_keyword_arguments(unet: UNet2DConditionModel) -> None:
    run, custom = Run(images=2), Strong()
    attention_of(unet, LAYERS[0]).set_processor(custom)
    weak, strong = run(unet, cross_attention_kwargs={"strength": 0.5}), run(unet)
    assert not torch.equal(weak, strong)
    before, custom.calls = traces(unet), 0
    with Seen(unet) as seen:
        out, maps = recorded(unet, run, {"cross_attention_kwargs": {"strength": 0.5}})
    assert torch.equal(out, weak)
    assert custom.calls == len(TIMES)
    assert traces(unet) == before
    assert attention_of(unet, LAYERS[0]).processor is custom
    assert_states(maps, seen, run)


def test_a_processor_that_is_a_module_is_chained(unet: UNet2DConditionModel) -> None:
    run, plain = Run(), Run()(unet)
    module = Learned()
    attention_of(unet, MIDDLE).set_processor(module)
    before, changed = traces(unet), run(unet)
    assert any(name.endswith("processor.gain") for name in before["state"])
    assert not torch.equal(changed, plain)
    with Seen(unet) as seen:
        out, maps = recorded(unet, run)
    assert torch.equal(out, changed)
    assert traces(unet) == before
    assert attention_of(unet, MIDDLE)._modules["processor"] is module
    assert_states(maps, seen, run)
    with pytest.raises(Broken), recording_of(unet, run):
        raise Broken
    assert attention_of(unet, MIDDLE)._modules["processor"] is module


def test_a_processor_that_is_a_function_is_chained(unet: UNet2DConditionModel) -> None:
    def double(attn: nn.Module, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Tensor:
        return 2 * AttnProcessor2_0()(attn, hidden_states, encoder_hidden_states)

    attention_of(unet, MIDDLE).processor = double
    run = Run()
    changed = run(unet)
    out, _ = recorded(unet, run)
    assert torch.equal(out, changed)
    assert attention_of(unet, MIDDLE).processor is double


def test_a_processor_set_during_the_run_stays(unet: UNet2DConditionModel, caplog: pytest.LogCaptureFixture) -> None:
    custom, run = Strong(), Run()
    with caplog.at_level(logging.WARNING, "i2am"), recording_of(unet, run):
        run(unet)
        attention_of(unet, MIDDLE).set_processor(custom)
    assert attention_of(unet, MIDDLE).processor is custom
    assert MIDDLE in caplog.text
    assert all(isinstance(attention_of(unet, x).processor, AttnProcessor2_0) for x in LAYERS if x != MIDDLE)
    assert not any(h for pair in traces(unet)["hooks"].values() for h in pair)


class Blind:
    """A processor that does not use the layer's to_q and to_k."""

    def __call__(self, attn: nn.Module, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Tensor:
        return hidden_states * 0.5


class Twice:
    """A processor that projects keys twice, as those for image prompts may do."""

    def __call__(self, attn: nn.Module, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Tensor:
        inner = AttnProcessor2_0()
        half = encoder_hidden_states.shape[1] // 2
        return inner(attn, hidden_states, encoder_hidden_states[:, :half]) + inner(
            attn, hidden_states, encoder_hidden_states[:, half:]
        )


@pytest.mark.parametrize(("processor", "text"), [(Blind(), "did not project"), (Twice(), "twice")])
def test_a_processor_whose_attention_cannot_be_seen_is_refused(
    unet: UNet2DConditionModel, processor: object, text: str
) -> None:
    attention_of(unet, MIDDLE).set_processor(processor)
    before, run = traces(unet), Run()
    with pytest.raises(RecordingError, match=text) as caught:
        recorded(unet, run)
    assert MIDDLE in str(caught.value)
    assert "layers" in str(caught.value)
    assert traces(unet) == before
    out, maps = recorded(unet, run, layers=("down*", "up*"))  # as the error proposes
    assert torch.equal(out, run(unet))
    assert MIDDLE not in [x.name for x in maps.layers]


def test_fused_projections_are_refused(unet: UNet2DConditionModel) -> None:
    unet.fuse_qkv_projections()
    before = traces(unet)
    with pytest.raises(RecordingError, match="unfuse_qkv_projections"):
        recorded(unet, Run())
    assert traces(unet) == before
    unet.unfuse_qkv_projections()
    recorded(unet, Run())


# -------------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("processor", [AttnProcessor, AttnProcessor2_0])
@pytest.mark.parametrize(("mode", "images"), MODES)
def test_masked_keys_are_honoured(unet: UNet2DConditionModel, processor: type, mode: str, images: int) -> None:
    unet.set_attn_processor(processor())
    run = Run(mode, images, times=TIMES[:1])
    rows = images * (2 if mode == "batch" else 1)
    allowed = normal(5, rows, LAYOUT.key_count) > -0.3
    allowed[:, 0] = True
    kwargs = {"encoder_attention_mask": allowed}
    plain = run(unet, **kwargs)
    assert not torch.equal(plain, run(unet))
    with Seen(unet) as seen:
        out, maps = recorded(unet, run, kwargs)
    assert torch.equal(out, plain)
    bias = (1 - allowed.float()) * -10000.0
    # the model adds -10000 in fp32, which leaves the logits of forbidden keys three figures
    assert_states(maps, seen, run, bias if mode == "batch" else bias.repeat(2, 1), relative=2e-3)
    for branch in maps.branches:
        forbidden = ~(allowed if mode != "batch" else allowed.chunk(2)[branches_of(mode).index(branch)])
        for i, reference in enumerate(LAYOUT.references):
            where = forbidden[:, None, None, None, reference.start : reference.stop]
            pairs = maps.pairwise(MIDDLE, branch, i)
            assert float((pairs * where).max()) == 0.0
            assert float((pairs * ~where).max()) > 0


# ----------------------------------------------------------------------------------------------------- refusals


def test_a_wrong_number_of_keys_is_refused_with_the_layer_and_both_numbers(unet: UNet2DConditionModel) -> None:
    before = traces(unet)
    with pytest.raises(LayoutError) as caught:
        recorded(unet, Run(), layout=Layout.of(TokenGrid(5, 4, 1)))
    text = str(caught.value)
    for part in (repr(LAYERS[0]), "26 keys", "expects 21", "5 x 4 + 1", "leading"):
        assert part in text
    assert traces(unet) == before
    layout = dict.fromkeys(LAYERS, LAYOUT) | {MIDDLE: Layout.of(TokenGrid(5, 5, 2))}
    with pytest.raises(LayoutError, match=f"'{MIDDLE}' was called with 26 keys, but the layout expects 27"):
        recorded(unet, Run(), layout=layout.__getitem__)
    assert traces(unet) == before


def test_a_layout_for_each_layer(unet: UNet2DConditionModel) -> None:
    other = Layout.of(TokenGrid(6, 4, 2))
    _, maps = recorded(unet, Run(), layout=lambda name: other if name == MIDDLE else LAYOUT)
    assert maps.pairwise(MIDDLE).shape[-2:] == (30, 26)
    assert maps.pairwise(LAYERS[0]).shape[-2:] == (120, 13)
    assert maps.layer(MIDDLE).references == other.references


@pytest.mark.parametrize(
    ("images", "branches", "run", "text"),
    [
        (3, ("uncond", "cond"), Run(), "2 rows, expected 6 .3 images x branches uncond, cond. or 3"),
        (1, ("cond",), Run(), "2 rows, expected 1 "),
        (2, ("cond",), Run("none", 1), "1 rows, expected 2"),
        (2, ("uncond", "cond"), Run("none", 1), "1 rows, expected 4"),
        (2, ("uncond", "cond"), Run("batch", 1), "'cond' was never evaluated"),  # two rows look like two images of uncond alone
        (1, ("uncond", "cond"), Run("none", 1), "'cond' was never evaluated"),
    ],
)
def test_wrong_images_or_branches_are_refused(
    unet: UNet2DConditionModel, images: int, branches: tuple[str, ...], run: Run, text: str
) -> None:
    before = traces(unet)
    recording = record(unet, LAYOUT, steps=3, images=images, branches=branches, keep=branches)
    with pytest.raises(RecordingError, match=text), recording:
        run(unet)
    assert traces(unet) == before
    with pytest.raises(RecordingError):
        _ = recording.maps


def test_guidance_that_is_not_there_is_not_taken_for_cond(unet: UNet2DConditionModel) -> None:
    """The default keeps cond alone: a run without guidance, declared with it, must not give an empty or wrong map."""
    with pytest.raises(RecordingError, match="nothing was recorded"), record(unet, LAYOUT, steps=3):
        Run("none", 1)(unet)


def test_more_steps_than_declared_are_refused(unet: UNet2DConditionModel) -> None:
    before = traces(unet)
    with pytest.raises(RecordingError, match="step 2 is outside of the schedule's 2 steps"):
        recorded(unet, Run(), steps=2)
    assert traces(unet) == before


def test_a_run_that_never_calls_the_model_is_refused(unet: UNet2DConditionModel) -> None:
    with pytest.raises(RecordingError, match="not called"), recording_of(unet, Run()):
        pass


def test_a_layer_filter_that_matches_nothing_is_refused(unet: UNet2DConditionModel) -> None:
    with pytest.raises(RecordingError, match="layers"):
        recorded(unet, Run(), layers="output.*")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"keep": ("negative",)}, "negative"),
        ({"branches": ("cond", "cond")}, "once"),
        ({"images": 0}, "images"),
        ({"steps": 0}, "steps"),
        ({"pairwise": "all"}, "pairwise"),
        ({"budget": 0}, "budget"),
    ],
)
def test_settings_that_mean_nothing_are_refused(unet: UNet2DConditionModel, options: dict, text: str) -> None:
    before = traces(unet)
    with pytest.raises(RecordingError, match=text), record(unet, LAYOUT, **{"steps": 3, **options}):
        Run()(unet)
    assert traces(unet) == before


def test_other_models_are_refused() -> None:
    with pytest.raises(RecordingError, match=r"UNet2DConditionModel.*Linear"):
        record(nn.Linear(2, 2), LAYOUT, steps=1)


def test_a_picture_that_changes_its_size_is_refused(unet: UNet2DConditionModel) -> None:
    recording = recording_of(unet, Run())
    with recording:
        Run(times=TIMES[:1])(unet)
        with pytest.raises(RecordingError, match=r"12 x 10.*8 x 8.*one size of picture"):
            Run(times=TIMES[1:], latent=(8, 8))(unet)


# -------------------------------------------------------------------------------------------------- steps and time


def scheduler_of(steps: int) -> DDIMScheduler:
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
    scheduler.set_timesteps(steps)
    return scheduler


def sigma(scheduler: DDIMScheduler, time: float) -> float:
    alpha = float(scheduler.alphas_cumprod[int(time)])
    return ((1 - alpha) / alpha) ** 0.5


def test_a_pipeline_gives_sigmas_sampler_and_picture_size(unet: UNet2DConditionModel) -> None:
    scheduler = scheduler_of(3)
    times = tuple(float(t) for t in scheduler.timesteps)
    pipeline = SimpleNamespace(unet=unet, scheduler=scheduler, vae_scale_factor=4)
    run = Run(times=times)
    picture = torch.zeros(6, 5, 3, dtype=torch.uint8)
    info = {"seed": 5, "cfg": 3.0, "model": "tiny", "extra": {"note": "x"}}
    _, maps = recorded(pipeline.unet, run)
    assert (maps.run.sampler, maps.run.sigmas, maps.generated_size) == ("", (), (96, 80))
    recording = recording_of(pipeline, run, info=info, thumbnails={"garment": picture})
    with recording:
        run(unet)
    maps = recording.maps
    assert maps.generated_size == (48, 40)
    assert maps.layers[0].grid.picture == (48, 40)
    assert maps.run.timesteps == times
    assert maps.run.sigmas == pytest.approx([sigma(scheduler, t) for t in times], rel=1e-5)
    assert (maps.run.sampler, maps.run.host, maps.run.steps) == ("DDIMScheduler", "diffusers", 3)
    assert (maps.run.seed, maps.run.cfg, maps.run.model, dict(maps.run.extra)) == (5, 3.0, "tiny", {"note": "x"})
    assert maps.run.evaluations == (1, 1, 1)
    assert torch.equal(maps.thumbnails["garment"], picture)


@pytest.mark.parametrize("mode", ["batch", "calls", "none"])
def test_the_last_evaluation_at_a_timestep_counts(unet: UNet2DConditionModel, mode: str) -> None:
    once, twice = Run(mode, reference=1), Run(mode, reference=2)
    branches = branches_of(mode)
    recording = recording_of(unet, once, steps=3)
    with recording:
        for time in TIMES:
            for run in (twice, once):  # a first evaluation that does not count
                Run(mode, reference=run.reference, times=(time,))(unet)
    maps = recording.maps
    assert maps.recorded == (0, 1, 2)
    assert maps.run.evaluations == (2, 2, 2)
    assert maps.run.timesteps == TIMES
    for step, time in enumerate(TIMES):
        alone = recorded(unet, Run(mode, reference=1, times=(time,)), groups=1)[1]
        for branch in branches:
            assert torch.equal(maps.pairwise(LAYERS[-1], branch)[:, step], alone.pairwise(LAYERS[-1], branch)[:, 0])


def test_partial_runs_keep_their_absolute_step_numbers(unet: UNet2DConditionModel) -> None:
    scheduler = scheduler_of(10)
    times = tuple(float(t) for t in scheduler.timesteps)
    pipeline = SimpleNamespace(unet=unet, scheduler=scheduler, vae_scale_factor=8)
    run = Run(times=times[4:7])
    recording = recording_of(pipeline, run, steps=10, groups=5, timesteps=scheduler.timesteps)
    with recording:
        run(unet)
    maps = recording.maps
    assert maps.recorded == (4, 5, 6)
    assert maps.run.evaluations == (0, 0, 0, 0, 1, 1, 1, 0, 0, 0)
    assert maps.groups == ((0, 2), (2, 4), (4, 6), (6, 8), (8, 10))
    assert len(maps.run.timesteps) == 10
    alone = recorded(unet, run)[1]
    layer = LAYERS[1]
    assert torch.equal(maps.marginal("g2r", layer)[:, 4:7], alone.marginal("g2r", layer))
    assert not maps.marginal("g2r", layer)[:, :4].any()
    pairs = alone.pairwise(layer)
    torch.testing.assert_close(maps.pairwise(layer)[:, 2], (pairs[:, 0] + pairs[:, 1]) / 2)
    torch.testing.assert_close(maps.pairwise(layer)[:, 3], pairs[:, 2])
    labels = tlam(maps, "G2R", 3, steps=(4, 7), layers=layer).labels
    for label, step in zip(labels, (4, 5, 6), strict=True):
        assert f"step {step}" in label
        assert f"{sigma(scheduler, times[step]):.3g}" in label


def test_a_timestep_that_is_not_in_the_schedule_is_refused(unet: UNet2DConditionModel) -> None:
    with pytest.raises(RecordingError, match=r"timestep 500.*not among the 3 given"):
        recorded(unet, Run(times=(901.0, 500.0)), timesteps=TIMES, steps=3)


def test_a_run_that_stops_early_says_which_steps_it_did(unet: UNet2DConditionModel) -> None:
    _, maps = recorded(unet, Run(times=TIMES[:2]), steps=5, groups=5)
    assert maps.recorded == (0, 1)
    assert maps.run.steps == 5
    assert maps.run.evaluations == (1, 1, 0, 0, 0)
    with pytest.raises(I2AMError, match="recorded"):
        tlam(maps, "G2R", 5)
    assert len(tlam(maps, "G2R", 2, steps=(0, 2)).values) == 2


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
