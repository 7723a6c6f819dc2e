"""The route via text against float64 softmaxes of both hops, in any order of tokens; planted ways; branches, files, budgets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import statement
import torch
from attention_call import few
from blocks import tokens_per_block
from hypothesis import given
from hypothesis import strategies as st
from joint_run import PICTURE, JointRun, flux_like
from text_route import PICTURE_ALONE, WHOLE, lacking, planted, stated

from i2am.errors import LayoutError, MapsFileError, RecordingError, UnavailableError
from i2am.geometry.layout import TokenGrid
from i2am.geometry.sequence import Sequence, Span, TextRows, generated, reference, text
from i2am.geometry.thinning import keep
from i2am.hosts.attention import Attention
from i2am.maps.facts import Facts, LayerInfo
from i2am.maps.value import AttributionMaps
from i2am.recording.call_maps import CallMaps
from i2am.recording.planning import cost_of
from i2am.recording.recorder import Recorder
from i2am.recording.reduce_joint import reduce_joint


@st.composite
def sequences(draw: st.DrawFn) -> Sequence:
    """Text in one or two pieces, odd grids, tokens without places, several references, nobody's tokens, in any order."""
    grid = TokenGrid(draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    sizes = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2)), min_size=1, max_size=3))
    spans = [generated(grid), *(reference(TokenGrid(*size), f"reference {i}") for i, size in enumerate(sizes))]
    spans += [text(n) for n in draw(st.lists(st.integers(1, 5), min_size=1, max_size=2))]
    spans += [Span("other", TokenGrid(0, 0, 2), "other")] if draw(st.booleans()) else []
    return Sequence.of(*draw(st.permutations(spans)))


def check(calls: list[CallMaps], expected: dict[str, Any], largest: float) -> None:
    """Every map of the route."""
    near = {"rtol": 3e-6 + 2e-6 * min(largest, 1e3), "atol": 1e-9}
    for i, call in enumerate(calls):
        assert call.via_text is not None
        assert call.g2r_via_text is not None
        torch.testing.assert_close(call.via_text.double(), expected["via"][i], **near)
        torch.testing.assert_close(call.g2r_via_text[:, 0].double(), expected["on_reference"][i], **near)
        assert call.words_via_text is not None
        torch.testing.assert_close(call.words_via_text[:, 0].double(), expected["handed_on"][i], **near)
        assert (call.words is None) == (call.words_spread is None) == (i > 0)
    assert calls[0].words is not None
    assert calls[0].words_spread is not None
    torch.testing.assert_close(calls[0].words[:, 0].double(), expected["words"], **near)
    torch.testing.assert_close(calls[0].words_spread[:, 0].double(), expected["spread"], rtol=1e-3, atol=1e-6)


@few
@given(sequences(), st.sampled_from([1, 2]), st.sampled_from([0.3, 3.0, 60.0]), st.booleans(), st.integers(0, 2**31))
def test_both_hops_are_those_of_the_softmax_over_all_keys(
    sequence: Sequence, stride: int, spread: float, masked: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(2, 4, sequence.keys, 3, generator=generator) * spread
    k = torch.randn(2, 2, sequence.keys, 3, generator=generator)
    mask = None
    if masked:
        mask = torch.rand(2, 1, sequence.keys, sequence.keys, generator=generator) < 0.7
    brought = sequence.bring(q, k, None, mask, None)
    assert brought.text is not None
    block = statement.logits(q, k, 0.5, mask)
    calls = reduce_joint(
        brought.q,
        brought.k,
        layout=brought.layout,
        scale=0.5,
        kept=keep(brought.grid, stride),
        mask=brought.mask,
        text=brought.text,
    )
    largest = float(block[block.isfinite()].abs().max()) if block.isfinite().any() else 0.0
    expected = stated(sequence, block, stride)
    check(calls, expected, largest)
    rest = calls[0].rest
    assert rest is not None
    through = sum(call.via_text for call in calls if call.via_text is not None)
    assert bool((through <= expected["text"] + 1e-5).all())  # what the text keeps is the rest of its share


def test_a_canvas_whose_tokens_are_not_in_order_has_the_same_route() -> None:
    """Two pictures side by side, and text behind them: keys are brought into another order."""
    canvas = Sequence(
        (
            Span("generated", TokenGrid(3, 2), "generated", 0, pitch=5),
            Span("reference", TokenGrid(3, 2), "reference", 3, pitch=5),
            Span("text", TokenGrid(0, 0, 4), "text", 15),
        ),
        19,
    )
    q, k = torch.randn(1, 2, 19, 4), torch.randn(1, 2, 19, 4)
    brought = canvas.bring(q, k, None, None, None)
    assert brought.text is not None
    calls = reduce_joint(brought.q, brought.k, layout=brought.layout, scale=1.0, kept=keep(brought.grid, 1), text=brought.text)
    check(calls, stated(canvas, statement.logits(q, k, 1.0)), 1.0)


@pytest.mark.parametrize("bytes_", [1, 300, 1 << 25])
def test_tiles_of_any_size_give_the_same(bytes_: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2am.recording.reduce_joint.TILE_BYTES", bytes_)
    sequence = flux_like(7)
    q, k = torch.randn(1, 2, sequence.keys, 4), torch.randn(1, 2, sequence.keys, 4)
    brought = sequence.bring(q, k, None, None, None)
    calls = reduce_joint(brought.q, brought.k, layout=brought.layout, scale=1.0, kept=keep(brought.grid, 2), text=brought.text)
    check(calls, stated(sequence, statement.logits(q, k, 1.0), 2), 1.0)


# --------------------------------------------------------------------------------- planted ways


def mean_of(maps: AttributionMaps, kind: str, index: int) -> float:
    """Over the picture."""
    return float(maps.marginal(kind, "only", reference=index).mean())


def test_a_garment_that_reaches_the_picture_only_through_the_text() -> None:
    maps = planted({"generated": "text", "text": "shirt"})
    assert mean_of(maps, "mass", 0) == pytest.approx(0, abs=1e-6)
    assert mean_of(maps, "via_text", 0) == pytest.approx(1, abs=1e-6)
    assert mean_of(maps, "via_text", 1) == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(maps.grouped("g2r_via_text", "only")[0, 0, 0], torch.full((6,), 1 / 6))


def test_a_garment_that_reaches_the_picture_only_directly() -> None:
    maps = planted({"generated": "shirt", "text": "text"})
    assert mean_of(maps, "mass", 0) == pytest.approx(1, abs=1e-6)
    assert mean_of(maps, "via_text", 0) == pytest.approx(0, abs=1e-6)


def test_a_text_that_reads_the_reference_carries_nothing_if_the_picture_does_not_read_the_text() -> None:
    maps = planted({"generated": "generated", "text": "shirt"})
    assert mean_of(maps, "via_text", 0) == pytest.approx(0, abs=1e-6)


# --------------------------------------------------------------------------------- runs


def test_branches_have_texts_of_their_own_lengths(tmp_path: Path) -> None:
    run = JointRun({"cond": flux_like(7), "uncond": flux_like(4)})
    maps = run.record()
    assert [layer.words for layer in maps.layers] == [(("cond", 7), ("uncond", 4))] * 2
    for branch, sequence in run.sequences.items():
        for step in range(2):
            q, k = run.calls["double.0", branch, step]
            expected = stated(sequence, statement.logits(q, k, run.scale))
            for index in range(2):
                seen = maps.marginal("via_text", "double.0", branch, index)[:, step].double()
                torch.testing.assert_close(seen, expected["via"][index], rtol=1e-5, atol=1e-7)
                seen = maps.grouped("g2r_via_text", "double.0", branch, index)[:, step, 0].double()
                torch.testing.assert_close(seen, expected["on_reference"][index], rtol=1e-5, atol=1e-7)
            seen = maps.grouped("words", "double.0", branch)[:, step, 0].double()
            torch.testing.assert_close(seen, expected["words"], rtol=1e-5, atol=1e-7)
    loaded = AttributionMaps.load(maps.save(tmp_path / "maps.safetensors"))
    assert loaded == maps
    assert loaded.layers[0].words == (("cond", 7), ("uncond", 4))


def test_routes_and_what_is_left_add_up_to_one() -> None:
    run = JointRun({"cond": flux_like(5)}, steps=1)
    maps = run.record(stride=2)
    rest = maps.marginal("rest", "single.1")
    names = maps.layers[0].rest
    direct, via = (
        torch.stack([maps.marginal(kind, "single.1", reference=i) for i in range(2)]) for kind in ("mass", "via_text")
    )
    keeps = rest[..., names.index("text"), :] - via.sum(0)
    assert float(keeps.min()) > 0
    torch.testing.assert_close(
        direct.sum(0) + via.sum(0) + keeps + rest[..., names.index("generated"), :], torch.ones(2, 1, 3, 6)
    )
    # its map on the reference adds up to the same as its map on the picture, where each token counts once
    weights = tokens_per_block(PICTURE, 2).float()
    for index in range(2):
        through = (via[index].mean(2) * weights).sum(-1) / weights.sum()
        torch.testing.assert_close(maps.grouped("g2r_via_text", "single.1", reference=index)[:, :1, 0].sum(-1), through)


def test_a_text_of_changing_length_counts_its_later_tokens_as_nothing_where_it_has_none() -> None:
    recorder = Recorder(None, steps=2, stride=1, cells=0, groups=1)
    seen = []
    for step, tokens in enumerate((3, 5)):
        sequence = flux_like(tokens)
        q, k = torch.randn(1, 2, sequence.keys, 4), torch.randn(1, 2, sequence.keys, 4)
        Attention.joint("only", sequence, "cond", q, k, None, scale=1.0).record(recorder, step)
        recorder.end_step(step)
        seen.append(stated(sequence, statement.logits(q, k, 1.0))["words"])
    maps = recorder.finish()
    assert maps.layers[0].words == (("cond", 5),)
    expected = (torch.cat([seen[0], torch.zeros(1, 2)], -1) + seen[1]) / 2
    torch.testing.assert_close(maps.grouped("words", "only")[:, 0, 0].double(), expected, rtol=1e-5, atol=1e-7)


def test_references_whose_queries_are_kept_from_an_earlier_step_leave_the_text_its_own() -> None:
    """As FluxKVCache does: later calls have the queries of text and picture alone."""
    whole = flux_like(3)
    kept = replace(whole, queries=((0, 3 + PICTURE.placed),))
    q, k = torch.randn(1, 2, whole.keys, 4), torch.randn(1, 2, whole.keys, 4)
    brought = kept.bring(q[:, :, : 3 + PICTURE.placed], k, None, None, None)
    assert brought.text is not None
    torch.testing.assert_close(brought.text.q, q[:, :, :3])
    calls = reduce_joint(brought.q, brought.k, layout=brought.layout, scale=1.0, kept=keep(brought.grid, 1), text=brought.text)
    check(calls, stated(whole, statement.logits(q, k, 1.0)), 1.0)


WITHOUT_TEXT = Sequence(tuple(replace(s, start=s.start - 3) for s in WHOLE.spans[1:]))


@pytest.mark.parametrize(
    ("sequences_", "options"),
    [
        ([PICTURE_ALONE], {}),
        ([WITHOUT_TEXT], {}),
        ([WHOLE, PICTURE_ALONE], {}),
        ([PICTURE_ALONE, WHOLE], {}),
        ([WHOLE], {"via_text": False}),
    ],
    ids=["text asks elsewhere", "no text", "then elsewhere", "first elsewhere", "switched off"],
)
def test_a_run_whose_text_did_not_ask_in_every_step_has_no_route(
    sequences_: list[Sequence], options: dict[str, Any], tmp_path: Path
) -> None:
    maps = lacking(sequences_, **options)
    assert maps.layers[0].words == ()
    for kind in ("via_text", "g2r_via_text", "words_via_text", "words", "words_spread"):
        assert not maps.has(kind, "only")
    assert maps.has("mass", "only")
    assert AttributionMaps.load(maps.save(tmp_path / "maps.safetensors")) == maps


def test_its_room_is_counted() -> None:
    maps = JointRun({"cond": flux_like(7)}).record()
    layer = maps.layers[0]
    kinds = ("via_text", "g2r_via_text", "words_via_text", "words", "words_spread")
    own = sum(t.numel() for key, t in maps._tensors.items() if key[1] == layer.name and key[0] in kinds)
    assert own == 2 * 2 * (3 * 2 * 24 + 20 + 6 + 4 * 7)  # images, steps: heads x references x patches; tokens; words
    with_it, without = cost_of(layer, False), cost_of(replace(layer, words=()), False)
    assert (with_it.marginal - without.marginal, with_it.mean - without.mean) == (2 * 24, 20 + 6 + 4 * 7)


def test_an_older_files_layers_have_no_words_and_newer_tensors_must_fit(tmp_path: Path) -> None:
    maps = JointRun({"cond": flux_like(7)}).record()
    plain: list[LayerInfo] = [replace(layer, words=()) for layer in maps.layers]
    facts = {name: getattr(maps, name) for name in Facts.__dataclass_fields__}
    said = AttributionMaps(maps._tensors, **facts | {"layers": tuple(plain)})
    with pytest.raises(MapsFileError, match=r"'g2r_via_text\|double.0\|cond\|0', which is not described"):
        said.save(tmp_path / "maps.safetensors")
    longer = [replace(layer, words=(("cond", 9),)) for layer in maps.layers]
    said = AttributionMaps(maps._tensors, **facts | {"layers": tuple(longer)})
    with pytest.raises(MapsFileError, match=r"float32 \(2, 2, 1, 7\), expected float32 \(2, 2, 3, 9\)"):
        said.save(tmp_path / "maps.safetensors")
    elsewhere = [replace(layer, words=(("cond", 7), ("uncond", 7))) for layer in maps.layers]
    said = AttributionMaps(maps._tensors, **facts | {"layers": tuple(elsewhere)})
    with pytest.raises(MapsFileError, match="words holds a branch that is not among branches"):
        said.save(tmp_path / "maps.safetensors")


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda t: replace(t, q=t.q[:, :1]), LayoutError, "both are of one call"),
        (lambda t: replace(t, q=t.q[:, :, :2]), LayoutError, "the text has 2 queries"),
        (lambda t: replace(t, q=t.q * float("nan")), RecordingError, "queries of the text hold NaN"),
    ],
)
def test_a_text_of_another_call_is_refused(change: Any, error: type[Exception], match: str) -> None:
    sequence = flux_like(3)
    q, k = torch.randn(1, 2, sequence.keys, 4), torch.randn(1, 2, sequence.keys, 4)
    brought = sequence.bring(q, k, None, None, None)
    assert isinstance(brought.text, TextRows)
    with pytest.raises(error, match=match):
        reduce_joint(
            brought.q, brought.k, layout=brought.layout, scale=1.0, kept=keep(brought.grid, 1), text=change(brought.text)
        )


def test_without_a_recording_of_it_reading_it_says_why() -> None:
    with pytest.raises(UnavailableError, match="'via_text' of layer 'only' was not recorded"):
        lacking([PICTURE_ALONE]).marginal("via_text", "only")
