"""Joint attention calls with several references, through the recorder: every map is that of a plain float64 softmax."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from joint_run import PICTURE, SHIRT, SHOES, JointRun, flux_like

from i2am.errors import LayoutError, RecordingError
from i2am.geometry.layout import TokenGrid
from i2am.geometry.sequence import Sequence, Span, generated, in_windows, reference, text
from i2am.hosts.attention import Attention
from i2am.maps.value import AttributionMaps
from i2am.recording.recorder import Recorder

CANVAS = Sequence(
    (
        Span("generated", PICTURE, "generated", 0, pitch=9),
        Span("reference", TokenGrid(6, 4), "shirt", 5, pitch=9),
        Span("text", TokenGrid(0, 0, 4), "text", 54),
    )
)
WINDOWS = Sequence(
    (
        Span("text", TokenGrid(0, 0, 3), "prompt", 0),
        Span("reference", SHIRT, "shirt", 3, order=in_windows(5, 4, 2)),
        Span("generated", PICTURE, "generated", 23),
        Span("reference", SHOES, "shoes", 50),
    ),
    keys=60,
)
CACHED = replace(flux_like(7), queries=((0, 31),))
RUNS = {
    "text of other length in the negative": {"cond": flux_like(7), "uncond": flux_like(12)},
    "references kept from an earlier step": {"cond": CACHED},
    "a canvas": {"cond": CANVAS},
    "windows and gaps": {"cond": WINDOWS},
}


@pytest.mark.parametrize("name", RUNS)
def test_maps_of_every_reference_are_those_of_the_softmax_over_all_keys(name: str) -> None:
    run = JointRun(RUNS[name])
    maps = run.record(pairwise="heads")
    for layer in run.layers:
        for branch in run.sequences:
            for i in range(len(maps.references)):
                stated = run.stated(layer, branch, i)
                for kind in ("mass", "r2g", "balanced", "g2r"):
                    seen = maps.marginal(kind, layer, branch, i)
                    torch.testing.assert_close(seen.double(), stated[kind], rtol=2e-5, atol=1e-9, msg=f"{kind} {layer}")
                pairs = maps.pairwise(layer, branch, i)
                torch.testing.assert_close(pairs.double(), stated["pairwise"], rtol=2e-5, atol=1e-9)


def test_the_facts_are_the_same_for_all_lengths_of_text(tmp_path: Path) -> None:
    maps = JointRun({"cond": flux_like(7), "uncond": flux_like(12)}).record()
    layer = maps.layers[0]
    assert [(r.name, r.start, r.grid) for r in layer.references] == [("shirt", 0, SHIRT), ("shoes", 20, SHOES)]
    assert layer.grid == replace(PICTURE, picture=(96, 64))
    assert (layer.keys, layer.branch_keys) == (62, (("cond", 57), ("uncond", 62)))
    assert layer.keys_of(1, "cond") == 57
    again = AttributionMaps.load(maps.save(tmp_path / "maps.safetensors"))
    assert again == maps


def test_a_text_may_change_its_length_within_a_run() -> None:
    recorder = Recorder(None, steps=2)
    for step, tokens in enumerate((7, 9)):
        sequence = flux_like(tokens)
        q = torch.randn(1, 2, sequence.keys, 4)
        Attention.joint("double.0", sequence, "cond", q, q, q, scale=0.5).record(recorder, step)
        recorder.end_step(step)
    assert recorder.finish().layers[0].keys == 59


def test_an_odd_picture_keeps_the_rectangle_that_its_grid_covers() -> None:
    grid = replace(PICTURE, rect=(0.0, 0.0, 4 / 3.5, 1.0))
    maps = JointRun({"cond": flux_like(3, grid)}).record(inpaint_mask=torch.ones(12, 7))
    assert maps.layers[0].grid.rect == grid.rect
    from i2am.levels.marginal import ulam

    assert ulam(maps, "mass").rect == grid.rect
    weights = torch.ones(6, 4)
    weights[:, 3] = 0.5  # half of the last column lies beyond the picture
    pairs = maps.pairwise("double.0")[0].mean((0, 1))
    expected = (weights.flatten()[:, None] * pairs).sum(0) / weights.sum()
    torch.testing.assert_close(maps.marginal("g2r_masked", "double.0")[0].mean((0, 1)), expected)


def test_references_that_change_are_refused() -> None:
    recorder = Recorder(None, steps=1, branches=("cond", "uncond"))
    q = torch.randn(1, 2, 57, 4)
    Attention.joint("double.0", flux_like(7), "cond", q, q, None, scale=1.0).record(recorder, 0)
    other = Sequence.of(text(7), generated(PICTURE), reference(SHIRT, "shirt"))
    q = torch.randn(1, 2, other.keys, 4)
    with pytest.raises(RecordingError, match=r"references of layer 'double.0' changed .* shoes: 2 x 3 \+ 0 to shirt: 5 x 4"):
        Attention.joint("double.0", other, "uncond", q, q, None, scale=1.0).record(recorder, 0)


def test_a_call_of_another_length_names_its_layer() -> None:
    q = torch.randn(1, 2, 58, 4)
    with pytest.raises(LayoutError, match=r"layer 'single.3': the call has 58 queries and 58 keys, expected 57 and 57: text 7"):
        Attention.joint("single.3", flux_like(7), "cond", q, q, None, scale=1.0)


def test_a_recorder_without_a_layout_needs_one_in_the_call() -> None:
    q = torch.randn(1, 2, 24, 4)
    with pytest.raises(RecordingError, match="give the recorder or the call a layout"):
        Recorder(None, steps=1).observe("double.0", (6, 4), 0, "cond", q, q, None, scale=1.0)
