"""Pipelines of diffusers with reference pictures are recorded as they are: `record(pipeline)`, no layout, no steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from joint_models import BRANCHES, CASES, Asked, normal
from joint_pipelines import PIPES, SIZE, STEPS, small_references
from torch import Tensor

from i2am.hosts.diffusers.record import record
from i2am.levels.choice import Choice
from i2am.levels.marginal import ulam
from i2am.maps.value import AttributionMaps


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    small_references(monkeypatch)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", PIPES)
def test_a_pipeline_is_recorded_with_all_its_references(name: str, tmp_path: Path) -> None:
    pipe = PIPES[name]
    pipeline = pipe.build()
    plain = pipe.run(pipeline)
    keep = BRANCHES[: 1 + bool(pipe.negative)]
    recording = record(pipeline, keep=keep)
    with recording:
        out = pipe.run(pipeline)
    assert torch.equal(out, plain)
    maps, inputs, case = recording.maps, pipe.inputs, CASES[pipe.case]
    assert (maps.branches, maps.recorded, maps.generated_size) == (keep, tuple(range(STEPS)), SIZE)
    assert maps.run.sigmas == tuple(pipeline.scheduler.sigmas[:-1].tolist())
    assert tuple(layer.name for layer in maps.layers) == case.layers
    names = ["reference"] if len(pipe.grids) == 1 else [f"reference {i}" for i in range(1, len(pipe.grids) + 1)]
    assert [(r.name, (r.grid.rows, r.grid.columns)) for r in maps.references] == list(zip(names, pipe.grids, strict=True))
    assert all(r.grid.picture == (16 * r.grid.rows, 16 * r.grid.columns) for r in maps.references)
    for layer in maps.layers:
        assert [layer.keys_of(0, b) for b in keep] == [case.places(inputs, words).keys for words in inputs.words[: len(keep)]]
    assert ulam(maps, "R2G-balanced").size == SIZE
    last = len(pipe.grids) - 1
    assert ulam(maps, "G2R", Choice(reference=last)).values.shape[-2:] == pipe.grids[last]
    assert AttributionMaps.load(maps.save(tmp_path / "maps.safetensors")) == maps


@pytest.mark.parametrize("name", [name for name in PIPES if name != "ZImageOmniPipeline"])  # which has a file of its own
def test_a_changed_patch_of_a_reference_changes_its_own_key_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = PIPES[name]
    pipeline, places = pipe.build(), CASES[pipe.case].places(pipe.inputs, pipe.words[0])
    asked, encode = Asked(pipeline.transformer, monkeypatch), pipeline._encode_vae_image
    pipe.run(pipeline)
    base = asked.joint(places, 0)[0].k
    for reference, (rows, columns) in enumerate(pipe.grids):
        for r, c in {(0, 1), (rows - 1, 0), (rows // 2, columns - 1)}:
            calls: list[Tensor] = []

            def changed(*given: Any, at: int = reference, r: int = r, c: int = c, calls: Any = calls, **more: Any) -> Tensor:
                latent: Tensor = encode(*given, **more).clone()
                if len(calls) == at:
                    latent[..., r * pipe.cells : (r + 1) * pipe.cells, c * pipe.cells : (c + 1) * pipe.cells] += 1
                calls.append(latent)
                return latent

            monkeypatch.setattr(pipeline, "_encode_vae_image", changed)
            begun = len(asked.evaluations)
            pipe.run(pipeline)
            now = asked.joint(places, begun)[0].k
            moved = (now != base).flatten(3).any(3).any(1)[0].nonzero()[:, 0].tolist()
            assert moved == [places.references[reference][r * columns + c]], (reference, r, c)


@pytest.mark.parametrize("name", ["FluxKontextPipeline", "Flux2KleinPipeline"])
def test_every_step_is_told_in_bfloat16(name: str) -> None:
    """In which a timestep is rounded twice, and positions as well."""
    pipe, steps = PIPES[name], 28
    given = {key: value.bfloat16() for key, value in {**pipe.call, **pipe.negative}.items() if isinstance(value, Tensor)}
    given |= {"prompt_embeds": normal(5, 1, 5, 8).bfloat16(), "num_inference_steps": steps}
    pipeline = pipe.build().to(torch.bfloat16)
    plain = pipe.run(pipeline, **given)
    recording = record(pipeline)
    with recording:
        out = pipe.run(pipeline, **given)
    assert torch.equal(out, plain)
    assert recording.maps.recorded == tuple(range(steps))
    assert set(recording.maps.run.evaluations) == {1}


def test_only_the_first_of_two_runs_is_recorded() -> None:
    pipe = PIPES["Flux2KleinKVPipeline"]
    pipeline = pipe.build()
    recording = record(pipeline)
    with recording:
        pipe.run(pipeline)
    alone = recording.maps
    with recording:
        pipe.run(pipeline)
        pipe.run(pipeline, image=pipe.pictures[0])
    maps = recording.maps
    assert "second run" in maps.notes[-1]
    assert torch.equal(maps.marginal("g2r", maps.layers[0].name), alone.marginal("g2r", alone.layers[0].name))
