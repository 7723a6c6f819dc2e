"""A second kind of network is one class and one entry in a list: here a small one with joint attention, of this file alone."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import partial
from types import ModuleType
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models_base
import pytest
import torch
from comfy.ldm.modules.attention import optimized_attention
from host_tests import tiny
from torch import Tensor

TEXT, GRID = 3, (2, 3)  # the context: text, then the reference's tokens
HEADS, WIDTH = 2, 16
LATENT = (2, 4, 6, 5)
OVERRIDE = "optimized_attention_override"


class Joint(torch.nn.Module):
    """Blocks that attend to text, reference and picture in one sequence."""

    def __init__(self, operations: Any, device: Any = None, **_: Any) -> None:
        super().__init__()
        self.dtype = torch.float32
        linear = partial(operations.Linear, device=device, dtype=self.dtype)
        self.context, self.picture, self.out = linear(tiny.CONTEXT, WIDTH), linear(4, WIDTH), linear(WIDTH, 4)
        self.blocks = torch.nn.ModuleList(linear(WIDTH, 3 * WIDTH) for _ in range(2))

    def forward(self, x: Tensor, _time: Tensor, context: Tensor, transformer_options: dict[str, Any], **_: Any) -> Tensor:
        sequence = torch.cat([self.context(context), self.picture(x.flatten(2).transpose(1, 2))], 1)
        for i, block in enumerate(self.blocks):
            q, k, v = block(sequence).chunk(3, -1)
            options = {**transformer_options, "block_index": i}
            sequence = sequence + optimized_attention(q, k, v, HEADS, transformer_options=options)
        return self.out(sequence[:, context.shape[1] :]).transpose(1, 2).reshape(x.shape)


class _Config(comfy.supported_models_base.BASE):
    unet_extra_config: dict[str, Any] = {}  # noqa: RUF012 -- as the host declares it
    latent_format = comfy.latent_formats.SD15


@pytest.fixture(scope="module")
def network() -> comfy.model_base.BaseModel:
    made = comfy.model_base.BaseModel(_Config({}), model_type=comfy.model_base.ModelType.EPS, unet_model=Joint)
    source = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weight in made.diffusion_model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=source) * 0.4)
    return made.eval().requires_grad_(False)


def model(network: comfy.model_base.BaseModel) -> comfy.model_patcher.ModelPatcher:
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(network, load_device=device, offload_device=torch.device("cpu"))


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    names = {
        "record": "hosts.comfy.record",
        "kinds": "hosts.comfy.kinds",
        "arguments": "hosts.comfy.arguments",
        "attention": "hosts.attention",
        "layout": "geometry.layout",
        "errors": "errors",
    }
    return type("Lib", (), {k: importlib.import_module(f"{pack.__name__}.i2am.{v}") for k, v in names.items()})


class JointKind:
    """What a recording needs to know of `Joint`."""

    takes = "models of this test"
    nulls = True

    def __init__(self, lib: Any) -> None:
        self.lib = lib

    def fits(self, network: torch.nn.Module) -> bool:
        return isinstance(network, Joint)

    def frames(self, _latent: tuple[int, ...]) -> int:
        return 1

    def layers(self, network: Joint) -> tuple[str, ...]:
        return tuple(f"block.{i}" for i in range(len(network.blocks)))

    def check_layers(self, *_: Any) -> None:
        pass

    def check_told(self, *_: Any) -> None:
        pass

    def token_widths(self, network: Joint) -> set[int]:
        return {network.context.in_features}

    def adapters(self, _options: dict[str, Any]) -> tuple[()]:
        return ()

    def layout_of(self, entry: dict[str, Any], told: Any) -> Any:
        tokens = entry["model_conds"]["c_crossattn"].cond.shape[1]
        reference = self.lib.layout.Reference(self.lib.layout.TokenGrid(*GRID), 0, "picture")
        return self.lib.layout.Layout((reference,), keys=tokens + told.latent[-2] * told.latent[-1])

    def pictures(self, _entry: dict[str, Any], _told: Any) -> dict[str, Tensor]:
        return {}

    def no_reference(self, branch: str, _contexts: Any) -> Exception:
        return self.lib.errors.LayoutError(f"{branch} has no reference")

    def watch(self, given: dict[str, Any], call: Any) -> dict[str, Any]:
        options = given["transformer_options"]
        observe = partial(self._observe, call, given)
        return {**options, OVERRIDE: self.lib.arguments.observed(options.get(OVERRIDE), lambda: observe)}

    def _observe(self, call: Any, given: dict[str, Any], *arguments: Any) -> None:
        layer = f"block.{arguments[5]['transformer_options']['block_index']}"
        call.seen.add(layer)
        call.observe(layer, self._attentions(call, given, layer, arguments))

    def _attentions(self, call: Any, given: dict[str, Any], layer: str, arguments: tuple[Any, ...]) -> Iterator[Any]:
        seen, tokens = self.lib.arguments.Arguments.of(*arguments), given["c_crossattn"].shape[1]
        every = list(range(seen.k.shape[2]))
        order = every[TEXT:tokens] + every[:TEXT] + every[tokens:]
        batch = len(seen.q) // len(call.rows)
        for i, row in enumerate(call.rows):
            part = slice(i * batch, (i + 1) * batch)
            if row is not None:
                q, k, v = seen.q[part, :, tokens:], seen.k[part][:, :, order], seen.v[part][:, :, order]
                grid = (given["x"].shape[-2], given["x"].shape[-1])
                yield self.lib.attention.Attention(layer, grid, row.branch, q, k, v, scale=seen.scale)


def sample(used: Any, **given: Any) -> Tensor:
    tokens = TEXT + GRID[0] * GRID[1]
    return tiny.sample(used, tiny.positive(tokens), tiny.negative(tokens), latent=LATENT, steps=3, **given)


@pytest.mark.parametrize("cfg", [1.0, 5.0])
def test_it_is_recorded(lib: Any, network: comfy.model_base.BaseModel, monkeypatch: pytest.MonkeyPatch, cfg: float) -> None:
    monkeypatch.setattr(lib.kinds, "KINDS", (*lib.kinds.KINDS, JointKind(lib)))
    calls: list[tuple[Tensor, Tensor]] = []

    def spy(function: Any, q: Tensor, k: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        calls.append((q.clone(), k.clone()))
        return function(q, k, *args, **kwargs)

    plain = sample(model(network), cfg=cfg)
    spied = model(network).clone()
    spied.model_options["transformer_options"][OVERRIDE] = spy
    branches = ("cond",) if cfg == 1 else ("cond", "uncond")
    recorded, recording = lib.record.attach(spied, lib.record.Options(branches=branches, groups=3, pairwise="heads"))
    latent = sample(recorded, cfg=cfg)
    assert torch.equal(latent, plain)
    maps = recording.maps_of(latent)
    assert (maps.recorded, maps.branches, maps.images) == ((0, 1, 2), branches, LATENT[0])
    assert {x.name: (x.grid.rows, x.grid.columns, x.heads) for x in maps.layers} == dict.fromkeys(
        ("block.0", "block.1"), (*LATENT[2:], HEADS)
    )
    tokens, placed = TEXT + GRID[0] * GRID[1], GRID[0] * GRID[1]
    assert len(calls) == 3 * 2
    for i, (q, k) in enumerate(calls):
        step, layer = divmod(i, 2)
        q, k = (t.double().unflatten(2, (HEADS, -1)).transpose(1, 2) for t in (q, k))
        real = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(-1)[:, :, tokens:, TEXT:tokens]
        # the host puts uncond first
        for branch, part in zip(("uncond", "cond") if cfg != 1 else branches, real.split(LATENT[0]), strict=True):
            got = maps.pairwise(f"block.{layer}", branch)[:, step].double()
            assert got.shape[-1] == placed
            assert torch.allclose(got, part, atol=1e-6)


def test_without_its_entry_it_is_refused_by_what_it_is(lib: Any, network: comfy.model_base.BaseModel) -> None:
    with pytest.raises(
        lib.errors.RecordingError, match=r"this MODEL is a Joint, which cannot be recorded here yet; what can: U-Nets"
    ):
        lib.record.attach(model(network), lib.record.Options())
