"""Cuts in the host's own U-Nets: the run is that of attention over the remaining keys in float64, and nothing else."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests import tiny
from host_tests.cut_case import At, Lib, Truth
from torch import Tensor

GRID = (3, 4)
SIZE = (16, 12)
"""Of the latent; its tokens are 16 x 12 and 8 x 6."""


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    return Lib(pack)


@pytest.fixture(scope="module")
def layout(lib: Any) -> Any:
    return lib.layout.Layout.of(lib.layout.TokenGrid(*GRID))


@pytest.fixture(scope="module")
def part(lib: Any) -> Any:
    """A layout in which the reference is the 6 tokens in the middle of 12."""
    return lib.layout.Layout((lib.layout.Reference(lib.layout.TokenGrid(2, 3), 3),), 12)


def layer_of(options: Any) -> str | None:
    return f"{options['block'][0]}.{options['block'][1]}.1.{options['block_index']}"


def is_cross(q: Tensor, k: Tensor, _given: Any) -> bool:
    return k.shape[1] != q.shape[1]


def half() -> Tensor:
    """The left half of the generated picture."""
    return torch.cat([torch.ones(128, 48), torch.zeros(128, 48)], 1)


def truth_of(keys: list[int], own: int = 12, **limits: Any) -> Truth:
    """``keys`` of each ``own`` that a row has, in the branch cond unless said."""

    def hide(at: At) -> Tensor | None:
        limited = {"branch": ["cond"], **limits}
        if any(getattr(at, name) not in allowed for name, allowed in limited.items() if name not in ("heads", "left")):
            return None
        hidden = torch.zeros(at.heads, at.queries, at.keys, dtype=torch.bool)
        columns = 12 if at.queries == 16 * 12 else 6
        rows = [i for i in range(at.queries) if "left" not in limits or i % columns < columns // 2]
        gone = [key + first for first in range(0, at.keys, own) for key in keys]
        heads = torch.tensor(limits.get("heads", [*range(at.heads)]))
        hidden[heads[:, None, None], torch.tensor(rows)[:, None], torch.tensor(gone)] = True
        return hidden

    return Truth(hide, layer_of, is_cross=is_cross)


def close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() < 2e-4 * b.abs().max())


REFERENCE = [*range(3, 9)]
LATER = [*(f"output.{i}.1.0" for i in range(4)), "middle.0.1.0"]
CASES: dict[str, tuple[dict[str, Any], list[int], dict[str, Any]]] = {
    "the reference": ({}, REFERENCE, {}),
    "directly": ({"route": "generated"}, REFERENCE, {}),
    "a region of it": ({"region": torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])}, [3, 8], {}),
    "a region of the picture": ({"route": "generated", "where": half()}, REFERENCE, {"left": True}),
    "heads": ({"heads": (0, 3)}, REFERENCE, {"heads": [0, 3]}),
    "steps": ({"steps": (1, 3)}, REFERENCE, {"step": [1, 2]}),
    "layers": ({"layers": ("output.*", "middle.*")}, REFERENCE, {"layer": [*LATER]}),
    "the text": ({"what": "text", "branches": ("cond",)}, [0, 1, 2, 9, 10, 11], {}),
    "words": ({"what": "text", "tokens": (1, 3)}, [1, 9], {}),
}


@pytest.mark.parametrize("words", [12, 18], ids=["as long", "a longer negative"])
@pytest.mark.parametrize("case", CASES)
def test_the_run_is_that_of_the_remaining_keys(lib: Any, part: Any, case: str, words: int) -> None:
    """Where a context is repeated to the length of another, a key goes wherever it is repeated."""
    given, keys, limits = CASES[case]
    base, pair = tiny.model(), (tiny.positive(), tiny.negative(words))
    cut = tiny.sample(lib.cut(base, part, **given), *pair, latent=(2, 4, *SIZE))
    truth = truth_of(keys, **limits)
    assert close(cut, tiny.sample(truth.attach(base), *pair, latent=(2, 4, *SIZE)))
    assert not close(cut, tiny.sample(base, *pair, latent=(2, 4, *SIZE)))
    assert {at.layer for at in truth.seen} >= {"input.1.1.0", "middle.0.1.0", "output.0.1.0"}


def test_where_the_reference_is_all_the_negatives_tokens_stand_in(lib: Any, layout: Any) -> None:
    """As if the positive were the negative: with cfg 1 and another, and of another length."""
    base = tiny.model()
    for cfg in (1.0, 5.0):
        for tokens in (12, 7):
            negative = tiny.negative(tokens)
            cut = tiny.sample(lib.cut(base, layout), tiny.positive(), negative, cfg=cfg, latent=(2, 4, *SIZE))
            want = tiny.sample(base, negative, negative, cfg=cfg, latent=(2, 4, *SIZE))
            assert close(cut, want), (cfg, tokens)
            assert not close(cut, tiny.sample(base, tiny.positive(), negative, cfg=cfg, latent=(2, 4, *SIZE)))


@pytest.mark.parametrize("given", [{"heads": (1,)}, {"route": "generated", "where": half()}], ids=["heads", "a region"])
def test_some_heads_or_places_see_the_tokens_that_stand_in(lib: Any, layout: Any, given: dict[str, Any]) -> None:
    """The truth sees both contexts in a row, and hides one of them from each."""
    base, both = tiny.model(), torch.cat([tiny.positive()[0][0], tiny.negative()[0][0]], 1)
    one, other = truth_of([*range(12)], 24), truth_of([*range(12, 24)], 24)
    which = truth_of([*range(24)], 24, **({"heads": [1]} if "heads" in given else {"left": True}))

    def hide(at: At) -> Tensor | None:
        first, second, touched = (t.hide(at) for t in (one, other, which))
        assert first is not None
        assert second is not None
        assert touched is not None
        return torch.where(touched, first, second)

    truth = Truth(hide, layer_of, is_cross=is_cross)
    want = tiny.sample(truth.attach(base), [[both, {}]], tiny.negative(), cfg=1.0)
    assert close(tiny.sample(lib.cut(base, layout, **given), tiny.positive(), tiny.negative(), cfg=1.0), want)


def test_nothing_cut_changes_no_bit(lib: Any, layout: Any, part: Any) -> None:
    base = tiny.model()
    plain = tiny.sample(base, tiny.positive(), tiny.negative())
    assert torch.equal(tiny.sample(lib.cut(base, layout, what="nothing"), tiny.positive(), tiny.negative()), plain)
    assert not torch.equal(tiny.sample(lib.cut(base, part), tiny.positive(), tiny.negative()), plain)
    assert torch.equal(tiny.sample(base, tiny.positive(), tiny.negative()), plain)
    with pytest.raises(lib.errors.RecordingError, match=r"nothing was cut"):  # the negative is no reference already
        tiny.sample(lib.cut(base, layout, branches=("uncond",)), tiny.positive(), tiny.negative())


def test_a_cut_reference_might_be_any_other(lib: Any, part: Any) -> None:
    one, other = tiny.context(12, 10), tiny.context(12, 10)
    other[:, 3:9] = tiny.context(6, 99)
    used = lib.cut(tiny.model(), part)
    made = [tiny.sample(used, [[each, {}]], tiny.negative()) for each in (one, other)]
    assert torch.equal(*made)


def test_several_cuts_in_a_row_are_made_together(lib: Any, part: Any) -> None:
    base = tiny.model()
    used = lib.cut(lib.cut(base, part, what="text", tokens=(0,)), part, what="text", tokens=(1, 5), heads=(2,))
    one, two = truth_of([0]), truth_of([1, 11], heads=[2])

    def hide(at: At) -> Tensor | None:
        a, b = one.hide(at), two.hide(at)
        return None if a is None or b is None else a | b

    truth = Truth(hide, layer_of, is_cross=is_cross)
    want = tiny.sample(truth.attach(base), tiny.positive(), tiny.negative())
    assert close(tiny.sample(used, tiny.positive(), tiny.negative()), want)


@pytest.mark.parametrize("first", ["record", "cut"])
@pytest.mark.parametrize("which", ["all of the keys", "part of them", "a region of the picture"])
def test_the_recorded_maps_are_those_of_the_cut_run(lib: Any, layout: Any, part: Any, which: str, first: str) -> None:
    base, own = tiny.model(), layout if which == "all of the keys" else part
    given = {"route": "generated", "where": half()} if which == "a region of the picture" else {}
    options = lib.record.Options(layout=own, pairwise="heads", groups=50)
    if first == "record":
        recorded, recording = lib.record.attach(base, options)
        used = lib.cut(recorded, own, **given)
    else:
        used, recording = lib.record.attach(lib.cut(base, own, **given), options)
    latent = tiny.sample(used, tiny.positive(), tiny.negative(7))
    assert torch.equal(latent, tiny.sample(lib.cut(base, own, **given), tiny.positive(), tiny.negative(7)))
    maps = recording.maps_of(latent)
    for layer in maps.layers:
        got = maps.pairwise(layer.name)
        if which == "a region of the picture":
            columns = layer.grid.columns
            left = torch.arange(layer.grid.placed) % columns < columns // 2
            assert not got[..., left, :].any()
            assert bool((got[..., ~left, :] > 0).all())
        else:
            assert not got.any(), "exactly nothing"
            assert not maps.marginal("mass", layer.name).any()
    assert any(note.startswith("an intervention: Cut: ") for note in maps.notes)


def test_another_pack_that_replaces_an_attention(lib: Any, layout: Any, part: Any) -> None:
    """Its call gets the keys that are left; where it cannot, it is refused."""
    base, seen = tiny.model(), []

    def replace(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        from comfy.ldm.modules.attention import optimized_attention

        seen.append(k.shape[1])
        return optimized_attention(q, k, v, options["n_heads"])

    other = base.clone()
    for block in (("input", 1), ("middle", 0), *(("output", i) for i in range(4))):
        other.set_model_attn2_replace(replace, *block)
    for own, left in ((part, 6), (layout, 12)):
        seen.clear()
        cut = tiny.sample(lib.cut(other, own), tiny.positive(), tiny.negative(), cfg=1.0)
        assert set(seen) == {left}
        assert close(cut, tiny.sample(lib.cut(base, own), tiny.positive(), tiny.negative(), cfg=1.0))
    with pytest.raises(lib.errors.LayoutError, match=r"another pack replaces the attention of layer '.*leave heads and region"):
        tiny.sample(lib.cut(other, part, heads=(0,)), tiny.positive(), tiny.negative())


def test_a_route_that_a_unet_does_not_have_is_refused(lib: Any, layout: Any) -> None:
    with pytest.raises(lib.errors.LayoutError, match=r"this MODEL is a U-Net.*set it to 'all' or 'generated'"):
        lib.cut(tiny.model(), layout, route="text")
