"""Joint-attention transformers of diffusers: each family's layout is proven, and its maps are those of a plain softmax."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import statement
import torch
from joint_models import BRANCHES, CASES, HEADS, Asked, Case, Inputs, Places, count
from torch import Tensor

from i2am.hosts.diffusers.families.family import KEPT
from i2am.hosts.diffusers.families.z_image import LOOKING
from i2am.hosts.diffusers.record import record
from i2am.hosts.diffusers.rows import ASSUMED
from i2am.levels.choice import Choice
from i2am.levels.share import share
from i2am.maps.value import AttributionMaps
from i2am.recording.recorder import Recorder

FULL: dict[str, Any] = {"pairwise": "heads", "groups": 1000, "stride": 1, "cells": 0}
"""Everything is kept, of every query."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def recorded(case: Case, model: Any, inputs: Inputs, **options: Any) -> tuple[Tensor, AttributionMaps]:
    """A run's tokens and maps; all that tells the layout is what the transformer is called with."""
    keep = BRANCHES[: 1 + inputs.cfg]
    recording = record(model, steps=len(inputs.times), images=inputs.images, keep=keep, **{**FULL, **options})
    with recording:
        out = case.run(model, inputs)
    return out, recording.maps


def places_of(case: Case, inputs: Inputs, branch: int = 0) -> Places:
    return case.places(inputs, inputs.words[branch])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("guided", [False, True], ids=["", "guided"])
def test_maps_are_those_of_a_float64_softmax_and_the_output_is_the_same_to_the_last_bit(
    name: str, guided: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    model, inputs = case.model(), case.inputs(cfg=guided, images=1 if guided else 2)
    plain = case.run(model, inputs)
    events: list[tuple[Any, ...]] = []
    observe = Recorder.observe
    monkeypatch.setattr(
        Recorder, "observe", lambda self, *given, **more: (events.append(given[:4:3]), observe(self, *given, **more))[1]
    )
    asked = Asked(model, monkeypatch)
    out, maps = recorded(case, model, inputs)
    assert torch.equal(out, plain)
    branches = BRANCHES[: 1 + guided]
    assert (maps.branches, maps.recorded, maps.null_branches) == (branches, (0, 1), ())
    assert tuple(layer.name for layer in maps.layers) == case.layers
    kept = "kept keys" in name or (guided and "2.1" in name)
    expected = [(LOOKING, name == "Z-Image"), (KEPT, kept), (ASSUMED, guided)]
    assert set(maps.notes) == {note for note, is_said in expected if is_said}
    assert len(events) == len(inputs.times) * len(case.layers) * len(branches)
    for branch, kind in enumerate(branches):
        places = places_of(case, inputs, branch)
        for step in range(len(inputs.times)):
            calls = asked.joint(places, step * len(branches) + branch)
            assert len(calls) == len(case.layers)
            for layer, seen in zip(case.layers, calls, strict=True):
                block = statement.logits(seen.q[:, :, places.queries], seen.k, seen.q.shape[-1] ** -0.5, seen.mask)
                real, compared = statement.real_attention(block), statement.compared_attention(block)
                balanced = statement.balanced_attention(block)
                for i, own in enumerate(places.references):
                    stated = {
                        "mass": real[..., own].sum(-1),
                        "r2g": compared[..., own].mean(-1),
                        "balanced": balanced[..., own].mean(-1),
                        "g2r": real[..., own].mean(-2),
                    }
                    for what, expected in stated.items():
                        found = maps.marginal(what, layer, kind, i)[:, step]
                        torch.testing.assert_close(found.double(), expected, rtol=2e-4, atol=1e-8)
                    pairs = maps.pairwise(layer, kind, i)[:, step]
                    torch.testing.assert_close(pairs.double(), real[..., own], rtol=2e-4, atol=1e-8)


def text_rows(places: Places) -> list[int] | None:
    """Where the text tokens are among a call's queries; None: they ask elsewhere."""
    if places.asked == places.keys:
        return places.text
    words = len(places.text)  # references that were kept have no queries; the text of Qwen-Image 2.1 neither
    return list(range(words)) if places.asked == words + len(places.generated) else None


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("guided", [False, True], ids=["", "guided"])
def test_the_route_via_text_is_that_of_both_hops(name: str, guided: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64, branch by branch, whose texts have lengths of their own."""
    case = CASES[name]
    model, inputs = case.model(), case.inputs(cfg=guided)
    asked = Asked(model, monkeypatch)
    _, maps = recorded(case, model, inputs)
    branches = BRANCHES[: 1 + guided]
    for branch, kind in enumerate(branches):
        places = places_of(case, inputs, branch)
        for step in range(len(inputs.times)):
            for layer, seen in zip(case.layers, asked.joint(places, step * len(branches) + branch), strict=True):
                texts = text_rows(places)
                if texts is None:
                    assert maps.layer(layer).words == ()
                    assert not maps.has("via_text", layer, kind)
                    continue
                assert dict(maps.layer(layer).words)[kind] == len(places.text)
                whole = statement.real_attention(statement.logits(seen.q, seen.k, seen.q.shape[-1] ** -0.5, seen.mask))
                reads, to_text = whole[:, :, texts].mean(1), whole[:, :, places.queries][..., places.text]
                for i, own in enumerate(places.references):
                    expected = torch.einsum("bhnt,bt->bhn", to_text, reads[..., own].sum(-1))
                    found = maps.marginal("via_text", layer, kind, i)[:, step]
                    torch.testing.assert_close(found.double(), expected, rtol=2e-4, atol=1e-8)
                    column = torch.einsum("bt,bts->bs", to_text.mean((1, 2)), reads[..., own])
                    found = maps.grouped("g2r_via_text", layer, kind, i)[:, step, 0]
                    torch.testing.assert_close(found.double(), column, rtol=2e-4, atol=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_shares_of_references_text_and_picture_add_up_to_1(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    model, inputs = case.model(), case.inputs(cfg=True)
    asked = Asked(model, monkeypatch)
    _, maps = recorded(case, model, inputs)
    for branch, kind in enumerate(BRANCHES):
        places = places_of(case, inputs, branch)
        parts = dict(
            zip(("reference 1", "reference 2", "text", "generated"), (*places.references, places.text, places.generated))
        )
        parts |= places.others
        for index, layer in enumerate(case.layers):
            seen = [asked.joint(places, 2 * step + branch)[index] for step in range(len(inputs.times))]
            blocks = [statement.logits(s.q[:, :, places.queries], s.k, s.q.shape[-1] ** -0.5, s.mask) for s in seen]
            real = torch.stack([statement.real_attention(block)[0].mean(0) for block in blocks]).mean(0)
            heat = share(maps, Choice(branch=kind, layers=layer))
            assert set(heat.labels) == set(parts)
            torch.testing.assert_close(heat.values.sum(0), torch.ones(inputs.generated))
            for label, values in zip(heat.labels, heat.values, strict=True):
                expected = real[:, parts[label]].sum(-1)
                torch.testing.assert_close(values.flatten().double(), expected, rtol=2e-4, atol=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_a_changed_cell_changes_its_own_key_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first block that is joint: each token of a picture, and of the text, is where the layout says."""
    case = CASES[name]
    model, inputs = case.model(), case.inputs(times=(0.9,))
    for refiner in ("noise_refiner", "context_refiner", "siglip_refiner") if name == "Z-Image" else ():
        setattr(model, refiner, torch.nn.ModuleList())
    for blocks in (*getattr(model, "mode_blocks", {}).values(), getattr(model, "txt_mode_blocks", ())):
        for block in blocks:  # FLUX 3's own blocks mix a picture's tokens before the joint ones see them
            torch.nn.init.zeros_(block.attn.to_out[0].weight)
    asked = Asked(model, monkeypatch)
    _, maps = recorded(case, model, inputs)
    base, places = asked.joint(places_of(case, inputs), 0)[0].k, places_of(case, inputs)
    grids = {"generated": inputs.generated, **{f"reference {i}": g for i, g in enumerate(inputs.references)}}
    keys = {"generated": places.generated, **{f"reference {i}": own for i, own in enumerate(places.references)}}
    if name != "Krea-2":  # whose text fusion mixes words
        grids["text 0"], keys["text 0"] = (1, inputs.words[0]), places.text
    for part, (rows, columns) in grids.items():
        for r, c in {(0, 0), (rows - 1, 0), (rows // 2, columns - 1)}:

            def changed(what: str, tensor: Tensor, part: str = part, at: int = r * columns + c) -> Tensor:
                if what == part:
                    tensor = tensor.clone()
                    tensor[:, at] += 1
                return tensor

            case.run(model, inputs, changed)
            now = asked.joint(places, len(asked.evaluations) - 1)[0].k
            moved = (now != base).flatten(3).any(3).any(1)[0].nonzero()[:, 0].tolist()
            assert moved == [keys[part][r * columns + c]], (part, r, c)
    layer = maps.layers[0]
    assert [(x.grid.rows, x.grid.columns) for x in layer.references] == list(inputs.references)
    assert (layer.grid.rows, layer.grid.columns, layer.keys) == (*inputs.generated, places.keys)


@pytest.mark.parametrize("name", CASES)
def test_another_reference_gives_another_picture_and_other_maps(name: str) -> None:
    case = CASES[name]
    model = case.model()
    (out, maps), (other, others) = (recorded(case, model, case.inputs(seed=seed)) for seed in (0, 7))
    assert not torch.equal(out, other)
    assert not torch.equal(maps.marginal("g2r", case.layers[0], "cond", 0), others.marginal("g2r", case.layers[0], "cond", 0))


# ---------------------------------------------------------------------------------------------------------------- planted


class Plant:
    """Puts attention in place of a model's own: each (step, layer, head, branch, image, reference) has its displacement."""

    def __init__(self, case: Case, inputs: Inputs) -> None:
        self.case, self.inputs, self.step, self.branch, self.layer = case, inputs, -1, 0, 0

    def begin(self, _model: Any, _args: Any, given: dict[str, Any], words: int) -> None:
        self.branch = self.inputs.words.index(words)
        time = given["timestep"] if "timestep" in given else 1 - given["t"]
        self.step, self.layer = self.inputs.times.index(round(float(time.flatten()[0]), 3)), 0

    def targets(self, step: int, layer: int, head: int, branch: int, image: int, reference: int) -> Tensor:
        """(N,): the token of the reference that each query looks at."""
        (h, w), (rows, columns) = self.inputs.generated, self.inputs.references[reference]
        index = (((step * 2 + layer) * HEADS + head) * 2 + branch) * self.inputs.images + image
        dy, dx = divmod((index * 7 + 3 * reference) % (rows * columns), columns)
        y, x = torch.arange(h)[:, None] * rows // h + dy, torch.arange(w) * columns // w + dx
        return (y % rows * columns + x % columns).flatten()

    def instead(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """q and k, (B, N or S, H, d), of a joint call; others stay."""
        places = places_of(self.case, self.inputs, self.branch)
        if (query.shape[1], key.shape[1]) != (places.asked, places.keys):
            return query, key
        q, k = torch.zeros_like(query), torch.zeros_like(key)
        first = 0
        for i, own in enumerate(places.references):
            k[:, own, :, first : first + len(own)] = torch.eye(len(own))[:, None]
            for image in range(len(q)):
                for head in range(HEADS):
                    targets = self.targets(self.step, self.layer, head, self.branch, image, i)
                    q[image, places.queries, head, first + targets] = 60.0
            first += len(own)
        self.layer += 1
        return q, k


@pytest.mark.parametrize("name", CASES)
def test_planted_displacements_are_recovered(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    inputs = case.inputs(cfg=True, images=1 if "kept" in name else 2)
    model, plant = case.model(), Plant(case, inputs)
    asked = Asked(model, monkeypatch, plant.instead)
    signature = ("hidden_states", "encoder_hidden_states", "timestep")
    if "Qwen-Image-Edit" in name:
        signature = ("hidden_states", "encoder_hidden_states", "mask", "timestep")

    def begin(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        given = {**dict(zip(signature, args, strict=False)), **kwargs}
        words = sum(map(len, given["cap_feats"][0])) if "cap_feats" in given else given["encoder_hidden_states"].shape[1]
        if "2.1" in name:
            words -= sum(count(grid) // 4 for grid in inputs.references)
        plant.begin(module, args, given, words)

    model.register_forward_pre_hook(begin, with_kwargs=True)
    _, maps = recorded(case, model, inputs)
    assert len(asked.evaluations) == 2 * len(inputs.times)
    slots = [
        (s, n, h, b, p, i)
        for s in range(len(inputs.times)) for n in range(len(case.layers)) for h in range(HEADS)
        for b in range(2) for p in range(inputs.images) for i in range(len(inputs.references))
    ]  # fmt: skip
    for step, layer, head, branch, image, reference in slots:
        pairs = maps.pairwise(case.layers[layer], BRANCHES[branch], reference)[image, step, head]
        targets = plant.targets(step, layer, head, branch, image, reference)
        assert torch.equal(pairs.argmax(-1), targets), (step, layer, head, branch, image, reference)
        assert float(pairs.amax(-1).min()) > 0.4
