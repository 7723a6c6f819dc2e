"""Adapters: references in a softmax of their own, tokens without places, and steps in which one was switched off."""

from __future__ import annotations

from pathlib import Path

import pytest
import statement
import torch
from PIL import Image
from torch import Tensor

from i2am.errors import LayoutError, UnavailableError
from i2am.geometry.layout import Layout, Reference, TokenGrid
from i2am.levels.choice import Choice
from i2am.levels.marginal import ulam
from i2am.maps.value import AttributionMaps
from i2am.outputs.first_look import first_look
from i2am.outputs.report import report_of_run
from i2am.outputs.viewer_data import viewer_data
from i2am.recording.recorder import Recorder
from i2am.recording.reduce import reduce_attention

GARMENT = Reference(TokenGrid(3, 4), 0, "garment")
STYLE = Reference(TokenGrid(0, 0, 4), 0, "style", softmax=1)
FACES = (Reference(TokenGrid(2, 2, 1), 0, "face 1", softmax=2), Reference(TokenGrid(2, 2, 1), 5, "face 2", softmax=2))
LAYOUT = Layout((GARMENT, STYLE, *FACES), keys=15)
GRIDS = {"input.1.1.0": (6, 4), "output.3.1.0": (12, 8)}
STYLED = range(2)
"""The steps in which "style" is on."""
STEPS = 5


def call(step: int, layer: str, softmax: int) -> tuple[Tensor, Tensor]:
    """Random q (1, 2, N, 4) and k (1, 2, S, 4)."""
    source = torch.Generator().manual_seed(100 * step + 10 * list(GRIDS).index(layer) + softmax)
    rows, columns = GRIDS[layer]
    keys = {0: 15, 1: 4, 2: 10}[softmax]
    return 2 * torch.randn(1, 2, rows * columns, 4, generator=source), torch.randn(1, 2, keys, 4, generator=source)


@pytest.fixture(scope="module")
def maps() -> AttributionMaps:
    """Every softmax in every layer, but "style" in some steps alone and the faces in one layer alone."""
    recorder = Recorder(LAYOUT, steps=STEPS, groups=STEPS, pairwise="heads", generated_size=(96, 64))
    for step in range(STEPS):
        for layer, grid in GRIDS.items():
            for softmax in (0, 1, 2):
                if (softmax == 1 and step not in STYLED) or (softmax == 2 and layer != "output.3.1.0"):
                    continue
                q, k = call(step, layer, softmax)
                recorder.observe(layer, grid, step, "cond", q, k, k, scale=0.5, softmax=softmax)
        recorder.end_step(step)
    return recorder.finish()


def test_a_layout_has_a_part_for_each_softmax() -> None:
    assert LAYOUT.key_count == 15
    assert [LAYOUT.indices(i) for i in range(4)] == [(0,), (1,), (2, 3), ()]
    assert LAYOUT.part(0) == Layout((GARMENT,), keys=15)
    assert [(r.name, r.start, r.softmax) for r in LAYOUT.part(2).references] == [("face 1", 0, 0), ("face 2", 5, 0)]
    assert LAYOUT.part(2).key_count == 10
    assert Layout((STYLE,)).key_count == 0
    with pytest.raises(LayoutError, match="at least one reference"):
        LAYOUT.part(3)
    with pytest.raises(LayoutError, match="'garment' of softmax 0 comes after one of 1; sort them"):
        Layout((STYLE, GARMENT))
    with pytest.raises(LayoutError, match="starts at key 3, before the end of another"):
        Layout((GARMENT, STYLE, Reference(TokenGrid(2, 2), 3, "other", softmax=1)))
    with pytest.raises(LayoutError, match="0 x 0 and at least 1 leading"):
        TokenGrid(0, 0)
    with pytest.raises(LayoutError, match="got 0 x 4"):
        TokenGrid(0, 4, 1)


@pytest.mark.parametrize("spread", [1.0, 200.0])
def test_tokens_without_places_reduce_as_the_equations_say(spread: float) -> None:
    """By sums and products, and in the log domain where logits are extreme."""
    source = torch.Generator().manual_seed(3)
    q, k = spread * torch.randn(2, 3, 30, 4, generator=source), torch.randn(2, 3, 9, 4, generator=source)
    layout = Layout((Reference(TokenGrid(0, 0, 4), 2),), keys=9)
    (got,) = reduce_attention(q, k, k, layout=layout, scale=0.5, pairwise="mean")
    a_r = statement.real_attention(statement.logits(q, k, 0.5))[..., 2:6]
    a_g = statement.compared_attention(statement.logits(q, k, 0.5))[..., 2:6]
    assert torch.allclose(got.r2g.double(), a_g.mean(-1), atol=1e-5)
    assert torch.allclose(got.mass.double(), a_r.sum(-1), atol=1e-5)
    assert torch.allclose(got.g2r.double(), a_r.mean(-2), atol=1e-5)
    assert got.norm is not None
    assert torch.allclose(got.norm.double(), (a_r @ k[:, :, 2:6].double()).norm(dim=-1), atol=1e-4)
    assert got.pairwise is None
    for none in (got.r2g_placed, got.balanced_placed, got.mass_placed, got.entropy, got.peak_value):
        assert not none.any()


def test_each_softmax_is_averaged_over_the_steps_that_had_it(maps: AttributionMaps) -> None:
    assert maps.recorded == (0, 1, 2, 3, 4)
    assert maps.active == ((0, 1, 2, 3, 4), (0, 1), (0, 1, 2, 3, 4), (0, 1, 2, 3, 4))
    for index, (reference, steps) in enumerate(zip(LAYOUT.references, maps.active, strict=True)):
        layer = "output.3.1.0"
        expected = []
        for step in steps:
            q, k = call(step, layer, reference.softmax)
            expected.append(statement.compared_attention(statement.logits(q, k, 0.5))[..., reference.start : reference.stop])
        mean = torch.stack(expected).mean((0, 2, 4))[0].reshape(1, 12, 8)
        got = ulam(maps, "R2G", Choice(reference=index, layers=layer)).values
        assert torch.allclose(got.double(), mean, atol=1e-6)


def test_the_mass_is_a_share_of_its_own_softmax(maps: AttributionMaps) -> None:
    shares = [ulam(maps, "mass", Choice(reference=i)).values for i in (2, 3)]
    assert torch.allclose(shares[0] + shares[1], torch.ones_like(shares[0]), atol=1e-5)
    assert float(ulam(maps, "mass", Choice(reference=0)).values.max()) < 1  # beside three more keys
    with pytest.raises(UnavailableError, match="all the keys of the call"):
        ulam(maps, "mass", Choice(reference=1))


def test_layers_without_an_adapter_are_not_taken_for_it(maps: AttributionMaps) -> None:
    assert torch.equal(
        ulam(maps, "R2G", Choice(reference=2)).values, ulam(maps, "R2G", Choice(reference=2, layers="output.*")).values
    )
    with pytest.raises(UnavailableError, match=r"reference 2, 'face 1' \(layers that do: output.3.1.0\)"):
        ulam(maps, "R2G", Choice(reference=2, layers="input.*"))
    assert maps.pairwise_layers(reference=1) == ()
    assert maps.pairwise_layers(reference=3) == ("output.3.1.0",)


def test_of_layers_that_see_a_softmax_in_unequal_steps_the_complete_ones_are_kept() -> None:
    recorder = Recorder(LAYOUT, steps=2)
    for step, layers in enumerate((GRIDS, ["input.1.1.0"])):
        for layer in layers:
            q, k = call(step, layer, 1)
            recorder.observe(layer, GRIDS[layer], step, "cond", q, k, k, scale=0.5, softmax=1)
        recorder.end_step(step)
    maps = recorder.finish()
    assert [x.name for x in maps.layers] == ["input.1.1.0"]
    assert {key[1] for key in maps._tensors} == {"input.1.1.0"}
    assert [n for n in maps.notes if "not computed in all steps" in n and n.endswith(": output.3.1.0")]
    assert maps.recorded == (0, 1)


def test_a_layer_whose_adapter_alone_is_incomplete_keeps_the_rest() -> None:
    recorder = Recorder(LAYOUT, steps=2)
    for step, styled in enumerate((list(GRIDS), ["input.1.1.0"])):
        for layer, grid in GRIDS.items():
            for softmax in (0, 1) if layer in styled else (0,):
                q, k = call(step, layer, softmax)
                recorder.observe(layer, grid, step, "cond", q, k, k, scale=0.5, softmax=softmax)
        recorder.end_step(step)
    maps = recorder.finish()
    assert [x.name for x in maps.layers] == list(GRIDS)
    assert {key[1] for key in maps._tensors if key[3] == 0} == set(GRIDS)
    assert {key[1] for key in maps._tensors if key[3] == 1} == {"input.1.1.0"}
    assert [n for n in maps.notes if "output.3.1.0 (its adapters)" in n]


def test_files_keep_which_softmax_and_which_steps(maps: AttributionMaps, tmp_path: Path) -> None:
    again = AttributionMaps.load(maps.save(tmp_path / "maps.safetensors"))
    assert (again.references, again.layers, again.active) == (maps.references, maps.layers, maps.active)
    for i in range(4):
        assert torch.equal(ulam(again, "R2G", Choice(reference=i)).values, ulam(maps, "R2G", Choice(reference=i)).values)


def test_the_first_look_at_tokens_without_places_is_the_generated_picture(maps: AttributionMaps) -> None:
    shown, face = Image.new("RGB", (64, 96), (30, 160, 60)), Image.new("RGB", (80, 80), (200, 90, 60))
    alone = first_look(maps, [shown], choice=Choice(reference=1)).sheets[0]
    assert first_look(maps, [shown], [face], choice=Choice(reference=1)).sheets[0].width > alone.width
    assert first_look(maps, [shown], choice=Choice(reference=2)).sheets[0].width > alone.width  # has a map on the reference


def test_the_page_weighs_groups_by_each_references_own_steps(maps: AttributionMaps, tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (40, 40), (120, 60, 60))] * 4
    data = viewer_data(maps, Image.new("RGB", (64, 96)), pictures)
    assert [r["steps"] for r in data["references"]] == [[1] * 5, [1, 1, 0, 0, 0], [1] * 5, [1] * 5]
    assert data["references"][1]["grid"] == [0, 0]
    assert {"G2R", "SRAM", "mirror", "mass"} <= set(data["references"][1]["unavailable"])
    assert {(e["reference"], e["layer"]) for e in data["pairwise"]} == {(0, 0), (0, 1), (2, 1), (3, 1)}
    page = report_of_run(tmp_path / "page.html", maps, [Image.new("RGB", (64, 96))])
    assert page.stat().st_size > 10_000
