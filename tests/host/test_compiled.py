"""A compiled model is recorded, whatever was compiled before, and makes the same picture."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from host_tests import tiny
from torch import Tensor


@pytest.fixture(autouse=True)
def no_code_kept(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level("WARNING")  # else the compiler's own log fills the report
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    names = {
        "host": "hosts.comfy.record",
        "compiled": "hosts.comfy.compiled",
        "layout": "geometry.layout",
        "errors": "errors",
    }
    return type("Lib", (), {k: importlib.import_module(f"{pack.__name__}.i2am.{v}") for k, v in names.items()})


def attach(lib: Any, model: Any, **options: Any) -> tuple[Any, Any]:
    return lib.host.attach(model, lib.host.Options(layout=lib.layout.Layout.of(lib.layout.TokenGrid(3, 4)), **options))


def compiled(model: Any) -> Any:
    """As the host's node TorchCompileModel makes it, with a backend that needs no compiler."""
    model = model.clone()

    def unguarded(entries: Any) -> list[bool]:
        return ["transformer_options" not in entry.name for entry in entries]

    set_torch_compile_wrapper(model=model, backend="eager", options={"guard_filter_fn": unguarded})
    return model


def blockwise(model: Any) -> Any:
    """As other packs do it: a part of the network is replaced by a compiled one."""
    model = model.clone()
    name = "diffusion_model.middle_block.1.transformer_blocks.0"
    model.add_object_patch(name, torch.compile(model.get_model_object(name), backend="eager"))
    return model


def sample(model: Any) -> Tensor:
    return tiny.sample(model, tiny.positive(), tiny.negative(), steps=2)


@pytest.mark.parametrize("how", [compiled, blockwise])
def test_before_and_after_record(lib: Any, how: Any) -> None:
    base = tiny.model()
    usual, expected = attach(lib, base)
    plain = sample(usual)
    expected = expected.maps_of(plain)

    def check(model: Any, recording: Any) -> None:
        latent = sample(model)
        assert torch.equal(latent, plain)
        maps = recording.maps_of(latent)
        assert maps.recorded == (0, 1)
        assert "this MODEL is compiled" in " ".join(maps.notes)
        assert [x.name for x in maps.layers] == [x.name for x in expected.layers]
        for layer in maps.layers:
            assert torch.equal(maps.pairwise(layer.name), expected.pairwise(layer.name))

    model, recording = attach(lib, base)
    check(how(model), recording)
    assert torch.equal(sample(how(base)), plain)  # code compiled while nothing was recorded is kept
    check(*attach(lib, how(base)))
    assert torch.equal(sample(how(base)), plain)
    assert "compiled" not in " ".join(expected.notes)


def test_layers_of_a_compiled_block_keep_their_names(lib: Any) -> None:
    model = blockwise(tiny.model(seed=11))
    sample(model)  # puts the block into the network
    model, recording = attach(lib, model, layers=("middle.*",))
    assert [x.name for x in recording.maps_of(sample(model)).layers] == ["middle.0.1.0"]


def test_a_recording_leaves_the_compiler_as_it_was(lib: Any) -> None:
    model, _ = attach(lib, compiled(tiny.model()))
    sample(model)
    seen: list[str] = []

    def backend(graph: Any, _inputs: Any, **_: Any) -> Any:
        seen.append("compiled")
        return graph

    torch.compile(lambda x: x + 1, backend=backend)(torch.ones(3))
    assert seen == ["compiled"]


def test_two_threads_may_record_compiled_models(lib: Any) -> None:
    """The compiler's stance is one for all threads: it is given back by the last one."""
    one, two = lib.compiled.uncompiled(), lib.compiled.uncompiled()
    function = torch.compile(lambda x: x * 2, backend=lambda *_a, **_k: pytest.fail("compiled"))
    with one:
        two.__enter__()
    function(torch.ones(2))
    two.__exit__(None, None, None)
    with pytest.raises(BaseException, match="compiled"):
        function(torch.ones(2))


def test_where_it_cannot_run_uncompiled_only_the_recording_ends(lib: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = sample(tiny.model())
    model, recording = attach(lib, compiled(tiny.model()))
    monkeypatch.delattr(torch.compiler, "set_stance")
    latent = sample(model)
    assert torch.equal(latent, plain)
    with pytest.raises(lib.errors.RecordingError, match=r"this MODEL is compiled, and PyTorch .* install PyTorch 2.6"):
        recording.maps_of(latent)
