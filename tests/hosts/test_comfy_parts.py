"""The parts of the ComfyUI host that need no ComfyUI; tests/host tries them all inside one."""

from __future__ import annotations

import ast
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import i2am
from i2am.errors import RecordingError
from i2am.hosts.comfy.arguments import Arguments, observed
from i2am.hosts.comfy.kernels import Kernels
from i2am.hosts.comfy.kinds import KINDS, network_of
from i2am.hosts.comfy.noise_mask import noise_mask
from i2am.hosts.comfy.packed import pictures_mask
from i2am.hosts.comfy.record import Options, layers_beside
from i2am.hosts.comfy.steps import BY_SIGMA, Steps
from i2am.hosts.comfy.unet import UNet
from i2am.hosts.comfy.unet_places import layer_name

HOSTS = Path(i2am.__file__).parent / "hosts"
MAY_KNOW = {"unet.py", "unet_cut.py", "unet_places.py", "kernels.py", "kinds.py", "ipadapter.py", "wan.py"}
"""Files that may know of U-Nets, beside the loaders."""
OF_A_UNET = ("unet", "u-net", "attn1", "attn2", "input_blocks", "activations_shape", "mid_block")
OF_ONE_MODEL = ("warp", "garment", "stableviton")


@pytest.mark.parametrize("host", ["comfy", "diffusers"])
def test_generic_files_know_nothing_of_a_kind_of_network(host: str) -> None:
    """Code and messages; docstrings may show one as an example. No file but a model's own knows of that model."""
    files = [path for folder in (HOSTS, HOSTS / host) for path in folder.glob("*.py") if path.name != "tryon.py"]
    assert len(files) > 10
    for path in files:
        text = path.read_text(encoding="utf-8").lower()
        assert not [word for word in OF_ONE_MODEL if word in text], path.name
        if path.name in MAY_KNOW:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                body[0].value.value = ""
        code = ast.unparse(tree).lower()
        assert not [word for word in OF_A_UNET if word in code], path.name


def test_most_samplers_say_themselves_when_a_step_is_over() -> None:
    steps = Steps([10.0, 5.0, 1.0, 0.0], "sample_heun")
    assert (steps.total, steps.now) == (3, 0)
    assert steps.before_evaluation(torch.tensor([10.0])) is None
    assert steps.before_evaluation(torch.tensor([5.0])) is None  # the second evaluation of Heun's step
    assert steps.now == 0
    assert steps.after_callback(0) == 0
    assert steps.now == 1
    assert steps.at_end() is None
    assert not steps.over
    assert (steps.after_callback(1), steps.after_callback(2)) == (1, 2)
    assert steps.over  # whatever it evaluates now belongs to no step


def test_a_schedule_without_steps_is_over_at_once() -> None:
    assert Steps([5.0], "sample_euler").over
    assert Steps([], "sample_euler").total == 0


@pytest.mark.parametrize("sampler", BY_SIGMA)
def test_the_others_steps_are_found_by_their_sigma(sampler: str) -> None:
    steps = Steps([10.0, 5.0, 1.0, 0.0], sampler)
    seen = [(steps.before_evaluation(torch.tensor([sigma, sigma])), steps.now) for sigma in (10.0, 7.0, 5.0, 4.9, 0.5)]
    assert seen == [(None, 0), (None, 0), (0, 1), (None, 1), (1, 2)]
    assert steps.after_callback(7) is None
    assert steps.at_end() == 2


def test_a_step_that_is_taken_back_does_not_end_twice() -> None:
    steps = Steps([10.0, 5.0, 1.0, 0.0], "dpm_adaptive_function")
    seen = [(steps.before_evaluation(torch.tensor([sigma])), steps.now) for sigma in (10.0, 4.0, 10.0, 8.0, 4.0, 0.5)]
    assert seen == [(None, 0), (0, 1), (None, 1), (None, 1), (None, 1), (1, 2)]


def test_a_layer_is_called_by_its_block_or_as_a_module_beside_the_network_says() -> None:
    place: dict[str, Any] = {"block": ("output", 4), "block_index": 0}
    assert layer_name(place) == "output.4.1.0"
    assert layer_name({**place, "i2am_layer": "beside.2"}) == "beside.2"


class Block(nn.Module):
    """Named as the host's blocks with one transformer block are."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.transformer_blocks = nn.ModuleList([nn.Module()])
        self.transformer_blocks[0].attn2 = nn.Module()
        self.transformer_blocks[0].attn2.to_k = nn.Linear(width, 4)


def unet(width: int = 6) -> nn.Module:
    network = nn.Module()
    network.input_blocks = nn.ModuleList([nn.ModuleList([nn.Identity()]), nn.ModuleList([nn.Identity(), Block(width)])])
    network.middle_block = nn.ModuleList([nn.Identity(), Block(width)])
    return network


def test_layers_that_are_asked_for_must_be_there() -> None:
    kind = UNet()
    assert kind.fits(unet())
    assert kind.token_widths(unet()) == {6}
    kind.check_layers(unet(), ["input.1.*", "middle.0.1.0", "beside.0"], ["beside.0"])
    with pytest.raises(RecordingError, match=r"matches 'output.\*'; it has: input.1.1.0, middle.0.1.0, beside.0"):
        kind.check_layers(unet(), ["output.*"], ["beside.0"])


def test_a_model_is_taken_by_the_first_kind_that_it_fits() -> None:
    model = SimpleNamespace(model=SimpleNamespace(diffusion_model=unet()))
    assert network_of(model) is KINDS[0]
    with pytest.raises(RecordingError, match="this MODEL is a Linear, which cannot be recorded here yet; what can: U-Nets"):
        network_of(SimpleNamespace(model=SimpleNamespace(diffusion_model=nn.Linear(1, 1))))
    with pytest.raises(RecordingError, match="model got a NoneType, which is no MODEL"):
        network_of(None)


def test_networks_beside_the_models_own_name_their_layers() -> None:
    named = SimpleNamespace(model=SimpleNamespace(recorded_layers=("beside.0", "beside.1")))
    silent = SimpleNamespace(model=nn.Linear(1, 1))
    assert layers_beside(SimpleNamespace()) == ()
    assert layers_beside(SimpleNamespace(additional_models={"a": [silent], "b": [named, named]})) == ("beside.0", "beside.1")


def test_equal_options_have_one_name() -> None:
    mask = torch.zeros(4, 4)
    assert Options(inpaint_mask=mask).key == Options(inpaint_mask=mask.clone()).key
    assert len({Options().key, Options(inpaint_mask=mask).key, Options(inpaint_mask=mask + 1).key, Options(groups=2).key}) == 4


# ------------------------------------------------------------------------------------- the host's attention functions


def _tensors(split: bool) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v of 3 rows and 2 heads of 4, with 5 queries and 6 keys."""
    source = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(3, 2, n, 4, generator=source) for n in (5, 6, 6))
    return (q, k, v) if split else tuple(t.transpose(1, 2).flatten(2) for t in (q, k, v))  # type: ignore[return-value]


def test_arguments_are_brought_into_one_order() -> None:
    apart, joined = _tensors(split=True), _tensors(split=False)
    out = apart[0] + 1
    for given, kwargs, made in (
        (apart, {"skip_reshape": True, "skip_output_reshape": True}, out),
        (joined, {}, out.transpose(1, 2).flatten(2)),
        (apart, {"skip_reshape": True}, out.transpose(1, 2).flatten(2)),
    ):
        seen = Arguments.of(*given, 2, (), kwargs, made)
        assert all(torch.equal(a, b) for a, b in zip((seen.q, seen.k, seen.v), apart, strict=True))
        assert seen.output is not None
        assert torch.equal(seen.output, out)
        assert seen.scale == 0.5
        assert seen.mask is None
        assert seen.mask_of(slice(0, 1), 6) is None
    assert Arguments.of(*joined, 2, (), {"scale": 0.25}, out.bfloat16()).output is None
    assert Arguments.of(*joined, 2, (), {"scale": 0.25}, None).scale == 0.25


@pytest.mark.parametrize("shape", [(5, 6), (3, 6), (1, 5, 6), (3, 5, 6), (3, 1, 6), (3, 2, 5, 6), (1, 1, 5, 6)])
def test_masks_of_all_shapes(shape: tuple[int, ...]) -> None:
    """(N, S) for all rows or, of booleans, (rows, S); (rows or 1, N or 1, S); and with heads."""
    mask = torch.randn(shape, generator=torch.Generator().manual_seed(1)) > 0
    for given in (torch.Generator(), None):
        seen = Arguments.of(*_tensors(split=False), 2, () if given else (mask,), {"mask": mask} if given else {}, None)
        part = seen.mask_of(slice(1, 2), 4)
        assert part is not None
        logits = torch.zeros(1, 2, 5, 4).masked_fill(~part, -1)
        expected = {
            2: lambda: mask[1:2, None, None] if shape == (3, 6) else mask[None, None],
            3: lambda: (mask[1:2] if shape[0] == 3 else mask)[:, None],
            4: lambda: mask[1:2] if shape[0] == 3 else mask,
        }[len(shape)]()[..., :4]
        assert torch.equal(logits, torch.zeros(1, 2, 5, 4).masked_fill(~expected, -1))


def test_an_observer_stands_behind_the_override_that_is_there() -> None:
    log: list[Any] = []

    def function(*_args: Any, **_kwargs: Any) -> str:
        log.append("function")
        return "out"

    def inner(called: Any, *args: Any, **kwargs: Any) -> Any:
        log.append("inner")
        return called(*args, **kwargs)

    def take() -> Any:
        log.append("take")
        return lambda *given: log.append(given)

    assert observed(None, take)(function, 1, 2, 3, 4, 5, mask=6) == "out"
    assert log == ["take", "function", (1, 2, 3, 4, (5,), {"mask": 6}, "out")]
    log.clear()
    assert observed(inner, take)(function, 1, 2, 3, 4) == "out"
    assert log == ["take", (1, 2, 3, 4, (), {}, None), "inner", "function"]
    log.clear()
    assert observed(None, lambda: None)(function, 1, 2, 3, 4) == "out"
    assert log == ["function"]
    assert not hasattr(observed(inner, take), "container_function")  # the host takes the tensors out itself


class Held:
    """A tensor in a container that its last user takes."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    def peek(self) -> Any:
        assert self.tensor is not None
        return self.tensor

    def take(self) -> Any:
        tensor, self.tensor = self.peek(), None
        return tensor


@pytest.mark.parametrize("frees", [True, False])
def test_containers_are_looked_into_and_handed_on(frees: bool) -> None:
    log: list[Any] = []

    def kernel(*held: Any, **kwargs: Any) -> str:
        log.append(("kernel", [h.take() for h in held[:3]], held[3:], kwargs))
        return "out"

    def observe(*given: Any) -> None:
        log.append(given)

    if frees:
        kernel.container_function = kernel  # type: ignore[attr-defined]
    override = observed(None, lambda: observe, lambda: kernel).container_function  # type: ignore[attr-defined]
    assert override(Held(1), Held(2), Held(3), 4, 5, scale=6) == "out"
    called = ("kernel", [1, 2, 3], (4, 5), {"scale": 6})
    if frees:  # its inputs are gone afterwards
        assert log == [(1, 2, 3, 4, (5,), {"scale": 6}, None), called]
    else:
        assert log == [called, (1, 2, 3, 4, (5,), {"scale": 6}, "out")]
    log.clear()
    unwatched = observed(None, lambda: None, lambda: kernel).container_function  # type: ignore[attr-defined]
    assert unwatched(Held(1), Held(2), Held(3), 4) == "out"
    assert log == [("kernel", [1, 2, 3], (4,), {})]


def test_containers_go_on_to_the_override_that_is_there() -> None:
    log: list[Any] = []

    def inner(*_: Any) -> None:
        pytest.fail("it takes containers itself")

    inner.container_function = lambda *held: log.append([h.take() for h in held[:3]])  # type: ignore[attr-defined]
    override = observed(inner, lambda: lambda *given: log.append(given), lambda: pytest.fail)  # dropped beside an override
    override.container_function(Held(1), Held(2), Held(3), 4)  # type: ignore[attr-defined]
    assert log == [(1, 2, 3, 4, (), {}, None), [1, 2, 3]]


def test_a_preferred_kernel_runs_in_place_of_the_hosts() -> None:
    preferred = observed(None, lambda: None, lambda: lambda *_args: "preferred")
    assert preferred(lambda *_args: "host", 1, 2, 3, 4) == "preferred"


def test_kernels_are_found_by_block_and_depth() -> None:
    network = unet()
    own, middle = network.input_blocks[1][1], network.middle_block[1]
    for block, kernel in ((own, "first"), (middle, "second")):
        for name in ("attn1", "attn2"):
            attention = nn.Module()
            attention.comfy_attention = SimpleNamespace(function=f"{kernel} {name}")
            setattr(block.transformer_blocks[0], name, attention)
    for given in (network, _wrapping(network)):
        kernels = Kernels.of(given)
        for place, kernel in ((("input", 1), "first"), (("middle", 0), "second")):
            for name in ("attn1", "attn2"):
                kernels.expect(name, {"block": place, "block_index": 0})
                assert kernels.take() == f"{kernel} {name}"
                assert kernels.take() is None
        kernels.replaced = {("input", 1, 0), ("middle", 0)}
        for place in (("input", 1), ("middle", 0)):
            kernels.expect("attn1", {"block": place, "block_index": 0})
            assert kernels.take() is None
    older = Kernels.of(unet())
    older.expect("attn2", {"block": ("input", 1), "block_index": 0})
    assert older.take() is None


def _wrapping(network: nn.Module) -> nn.Module:
    compiled = nn.Module()
    compiled._orig_mod = network
    return compiled


def test_a_videos_mask_is_one_for_each_of_its_frames() -> None:
    mask = torch.zeros(2, 5, 3, 4, 4)  # two videos, as the host brings it to their latents
    for video, frame in product(range(2), range(3)):
        mask[video, :, frame, :, video + frame] = 1
    found = noise_mask(pictures_mask(mask, (2, 5, 3, 4, 4)))
    assert found is not None
    assert torch.equal(found, mask[:, 0].flatten(0, 1))
    one = noise_mask(pictures_mask(mask[:, :, :1], (2, 5, 1, 4, 4)))
    assert one is not None
    assert torch.equal(one, mask[:, 0, 0])
    flat = mask[:1, :, :, :, :].reshape(1, 1, -1)
    again = noise_mask(pictures_mask(torch.cat([flat, torch.ones(1, 1, 7)], 2), (1, 5, 3, 4, 4)))
    assert again is not None
    assert torch.equal(again, mask[0, 0])
