"""Cuts in diffusers: the run is that of attention over the remaining keys in float64, in every family, and nothing else."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers_run import LAYOUT, Broken, Run, branches_of, one_thread, recording_of, traces, unet_fixture  # noqa: F401
from joint_models import CASES, Case, Inputs, Places
from torch import Tensor
from torch.nn import functional as F

from i2am.errors import I2AMError, LayoutError, RecordingError
from i2am.geometry.layout import Layout, TokenGrid
from i2am.hosts.diffusers.record import intervene, record
from i2am.interventions.plan import Cut

Hide = Callable[[Tensor, Tensor], "Tensor | None"]
"""From q and k, (B, H, N, d), to what is hidden, broadcastable to (B, H, N, S)."""


def in_float64(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, hidden: Tensor) -> Tensor:
    k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1).double() for t in (k, v))
    logits = q.double() @ k.transpose(2, 3) * q.shape[-1] ** -0.5
    if mask is not None:
        logits = logits.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else logits + mask
    return (logits.masked_fill(hidden, float("-inf")).softmax(-1) @ v).to(q.dtype)


def close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() < 2e-4 * b.abs().max())


# ------------------------------------------------------------------ joint attention


def truth(case: Case, model: Any, inputs: Inputs, gone: Callable[[Places], tuple[list[int], list[int]]], patch: Any) -> Tensor:
    """The run in which these keys and queries of each branch's places are hidden from each other."""
    file = importlib.import_module(type(model).__module__)
    attend = file.dispatch_attention_fn
    branches = [case.places(inputs, words) for words in inputs.words]

    def asked(query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, **given: Any) -> Tensor:
        places = next((p for p in branches if (p.asked, p.keys) == (query.shape[1], key.shape[1])), None)
        if places is None:
            return attend(query, key, value, attn_mask=attn_mask, **given)
        keys, queries = gone(places)
        hidden = torch.zeros(places.asked, places.keys, dtype=torch.bool)
        hidden[torch.tensor(queries)[:, None], torch.tensor(keys)] = True
        mask = attn_mask if attn_mask is None or attn_mask.ndim == 4 else attn_mask[:, None, None]
        return in_float64(*(t.transpose(1, 2) for t in (query, key, value)), mask, hidden).transpose(1, 2)

    with patch.context() as own:
        own.setattr(file, "dispatch_attention_fn", asked)
        return case.run(model, inputs)


@pytest.mark.parametrize("guided", [False, True], ids=["", "guided"])
@pytest.mark.parametrize("name", CASES)
def test_a_joint_run_is_that_of_the_remaining_keys(name: str, guided: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    model, inputs = case.model(), case.inputs(cfg=guided, images=1 if guided else 2)
    given: dict[str, Any] = {"steps": len(inputs.times), "images": inputs.images}
    plain = case.run(model, inputs)
    for cut, gone in (
        (Cut("reference", 1), lambda p: (p.references[1], [*range(p.asked)])),
        (Cut("reference", 0, route="generated"), lambda p: (p.references[0], p.queries)),
    ):
        if "2.1" in name and cut.route == "all":
            with (
                pytest.raises(RecordingError, match=r"reads the references in calls of its own"),
                intervene(model, [cut], **given),
            ):
                case.run(model, inputs)
            continue
        with intervene(model, [cut], **given):
            out = case.run(model, inputs)
        assert close(out, truth(case, model, inputs, gone, monkeypatch)), cut.sentence
        assert not close(out, plain)
    assert torch.equal(case.run(model, inputs), plain)


def test_a_cut_reference_might_be_any_other_and_its_maps_are_nothing() -> None:
    case = CASES["FLUX.1"]
    model, inputs = case.model(), case.inputs()
    given: dict[str, Any] = {"steps": 2, "pairwise": "heads", "stride": 1, "cells": 0}
    recording, made = record(model, cuts=[Cut("reference", 1)], **given), []
    for change in (0.0, 1.0):
        with recording:
            made.append(case.run(model, inputs, lambda at, t, change=change: t + change if at == "reference 1" else t))
    assert torch.equal(*made)
    maps = recording.maps
    for layer in maps.layers:
        assert not maps.pairwise(layer.name, "cond", 1).any()
        assert bool((maps.pairwise(layer.name, "cond", 0) > 0).all())
    assert "an intervention: Cut: reference 1 (the 2nd) from all tokens." in maps.notes
    plain = case.run(model, inputs)
    with record(model, cuts=[Cut("nothing")], **given):
        assert torch.equal(case.run(model, inputs), plain)


@pytest.mark.parametrize("route", ["text", "generated"])
def test_a_route_that_is_cut_is_0_and_the_others_are_not(route: str) -> None:
    case = CASES["FLUX.1"]
    model, inputs = case.model(), case.inputs()
    recording = record(model, cuts=[Cut("reference", 1, route=route)], steps=2, stride=1, cells=0)
    with recording:
        case.run(model, inputs)
    maps = recording.maps
    for layer in maps.layers:
        for reference in (0, 1):
            for way, kinds in (("generated", ("mass",)), ("text", ("via_text", "g2r_via_text", "words_via_text"))):
                for kind in kinds:
                    read = maps.grouped if kind in ("g2r_via_text", "words_via_text") else maps.marginal
                    values = read(kind, layer.name, reference=reference)
                    assert bool((values == 0).all()) == (reference == 1 and way == route)
                    assert bool((values > 0).all()) != (reference == 1 and way == route)


def test_steps_layers_and_heads_of_a_joint_run() -> None:
    """Nothing before the step, outside the layer: the first step's end is that of the uncut run."""
    case = CASES["FLUX.1"]
    model, inputs = case.model(), case.inputs()
    ends: list[Tensor] = []
    model.register_forward_hook(lambda _m, _a, out: ends.append(out[0] if isinstance(out, tuple) else out.sample))
    case.run(model, inputs)
    with intervene(model, [Cut(steps=(1, 2))], steps=2):
        case.run(model, inputs)
    assert torch.equal(ends[0], ends[2])
    assert not close(ends[1], ends[3])
    for limits in ({"layers": ("single_*",)}, {"heads": (1,)}):
        with intervene(model, [Cut(**limits)], steps=2):
            limited = case.run(model, inputs)
        with intervene(model, [Cut()], steps=2):
            assert not close(limited, case.run(model, inputs))


# ------------------------------------------------------------------ U-Nets


def cross(run: Run, gone: Callable[[Tensor], Tensor], patch: Any, unet: UNet2DConditionModel) -> Tensor:
    """The run of a U-Net in which keys of the branch cond are hidden: ``gone`` from q gives (H, N, keys)."""
    attend, keys = F.scaled_dot_product_attention, LAYOUT.key_count

    def asked(query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, **given: Any) -> Tensor:
        if key.shape[2] != keys:
            return attend(query, key, value, attn_mask=attn_mask, **given)
        hidden = torch.zeros(len(query), query.shape[1], query.shape[2], keys, dtype=torch.bool)
        hidden[run.images * branches_of(run.mode).index("cond") :] = gone(query)
        return in_float64(query, key, value, attn_mask, hidden)

    with patch.context() as own:
        own.setattr(F, "scaled_dot_product_attention", asked)
        return run(unet)


@pytest.mark.parametrize("mode", ["batch", "none"])
@pytest.mark.parametrize("which", ["reference", "heads", "places"])
def test_a_unets_run_is_that_of_the_remaining_keys(
    which: str, mode: str, unet: UNet2DConditionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(mode=mode, images=2)
    shoes = torch.zeros(LAYOUT.key_count, dtype=torch.bool)
    shoes[16:26] = True
    half = torch.cat([torch.ones(96, 40), torch.zeros(96, 40)], 1)
    cut = {
        "reference": Cut("reference", 1),
        "heads": Cut("reference", 1, heads=(1,)),
        "places": Cut("reference", 1, route="generated", where=half),
    }[which]

    def gone(q: Tensor) -> Tensor:
        hidden = shoes.expand(q.shape[1], q.shape[2], -1).clone()
        if which == "heads":
            hidden[0] = False
        if which == "places":
            columns = 10 if q.shape[2] == 120 else 5
            hidden[:, torch.arange(q.shape[2]) % columns >= columns // 2] = False
        return hidden

    given: dict[str, Any] = {"steps": 3, "branches": branches_of(mode), "images": 2}
    before = traces(unet)
    with intervene(unet, [cut], LAYOUT, **given):
        out = run(unet)
    assert traces(unet) == before
    assert close(out, cross(run, gone, monkeypatch, unet))
    assert not close(out, run(unet))


def test_where_the_reference_is_all_the_negatives_rows_stand_in(unet: UNet2DConditionModel) -> None:
    """As if cond were uncond."""
    whole, run = Layout.of(TokenGrid(2, 13)), Run(mode="batch")
    with intervene(unet, [Cut()], whole, steps=3):
        out = run(unet)
    same = Run(mode="batch")
    same.context = lambda: {branch: run.context()["uncond"] for branch in ("uncond", "cond")}  # type: ignore[method-assign]
    assert close(out, same(unet))
    with (
        pytest.raises(LayoutError, match=r"no rows of a negative.*run with guidance"),
        intervene(unet, [Cut()], whole, steps=3, branches=("cond",)),
    ):
        Run(mode="none")(unet)


def test_the_maps_of_a_unet_are_those_of_the_cut_run(unet: UNet2DConditionModel) -> None:
    run = Run()
    recording = recording_of(unet, run, cuts=[Cut("reference", 0)])
    with recording:
        run(unet)
    for layer in recording.maps.layers:
        assert not recording.maps.pairwise(layer.name, "cond", 0).any()
        assert bool((recording.maps.pairwise(layer.name, "cond", 1) > 0).all())


# ------------------------------------------------------------------ what is refused, and what is left


def test_nothing_is_left_of_a_run_that_failed(unet: UNet2DConditionModel) -> None:
    plain, before = Run()(unet), traces(unet)

    def fail(_step: int) -> None:
        raise Broken

    with pytest.raises(Broken), intervene(unet, [Cut()], LAYOUT, steps=3):
        Run(each_step=fail)(unet)
    assert traces(unet) == before
    assert torch.equal(Run()(unet), plain)
    with intervene(unet, [Cut("nothing")], LAYOUT, steps=3):
        assert torch.equal(Run()(unet), plain)


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        (Cut("reference", 2), "reference number 2 is to be cut, but the run has 2"),
        (Cut(heads=(5,)), "head 5 is to be cut, but the layer has"),
        (Cut(steps=(1, 9)), "steps 1:9 are to be cut, but the run has 3"),
        (Cut(layers=("nowhere",)), "nothing was cut, so the picture is that of an unchanged run"),
        (Cut(route="text"), "only the generated picture looks at others"),
    ],
)
def test_what_is_not_there_is_refused(cut: Cut, says: str, unet: UNet2DConditionModel) -> None:
    with pytest.raises(I2AMError, match=says), intervene(unet, [cut], LAYOUT, steps=3):
        Run()(unet)


def test_a_processor_that_writes_its_attention_out_is_refused(unet: UNet2DConditionModel) -> None:
    unet.set_attn_processor(AttnProcessor())
    refused = pytest.raises(RecordingError, match=r"computed by AttnProcessor, which.*AttnProcessor2_0")
    with refused, intervene(unet, [Cut()], LAYOUT, steps=3):
        Run()(unet)
