"""Run folders as `i2am evaluate` leaves them, with values that a test chooses."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image

from i2am.evaluation.facts import Mean, OfKind, OfSet, Row, Run, Summary
from i2am.evaluation.run_folder import RunFolder

RUN = Run(
    model="weights.safetensors", family="demo", sha256="0" * 64, data="VITON-HD (drawn)", split="test", seed=0,
    sampler="ddim", steps=4, cfg=5.0, presets=("default", "paper"),
)  # fmt: skip
ByThreshold = Mapping[str, Mapping[str, tuple[float, float]]]


def row(name: str, kind: str = "paired", by_threshold: ByThreshold | None = None, **values: float) -> Row:
    """A row; "imacs_g" is the value "imacs_g.default"."""
    named = {f"{key}.default" if key.startswith(("imacs_", "auc_")) else key: value for key, value in values.items()}
    return Row(name=name, kind=kind, person=name, garment=name, values=named, by_threshold=dict(by_threshold or {}))


def write_run(
    folder: Path,
    rows: Sequence[Row],
    sets: Mapping[str, Mapping[str, OfSet]] | None = None,
    *,
    finished: bool = True,
    pictures: bool = False,
    **facts: object,
) -> Path:
    """A run folder: its facts, its rows, its figures (the sets by kind and name), and small pictures and maps.

    Its weights are of their own, unless their sha256 is among the facts.
    """
    out = RunFolder(folder)
    out.write_run(RUN.model_copy(update={"sha256": hashlib.sha256(folder.name.encode()).hexdigest(), **facts}))
    writer = out.writer()
    for number, one in enumerate(rows):
        writer.add(one)
        if pictures:
            path = out.sample(one.key)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (24, 32), (number * 40 % 256, 90, 160)).save(path)
            ramp = torch.linspace(0, 1, 12)
            out.write_maps(one.key, {"R2G": ramp.view(4, 3), "G2R": ramp.flip(0).view(4, 3)})
    if finished:
        out.write_summary(_summary(rows, sets or {}))
    return folder


def _summary(rows: Sequence[Row], sets: Mapping[str, Mapping[str, OfSet]]) -> Summary:
    kinds = {}
    for kind in {one.kind for one in rows}:
        own = [one for one in rows if one.kind == kind]
        names = {name for one in own for name in one.values}
        lists = {name: [one.values[name] for one in own if name in one.values] for name in names}
        means = {name: Mean(mean=sum(x) / len(x), n=len(x)) for name, x in lists.items()}
        kinds[kind] = OfKind(images=len(own), values=means, sets=dict(sets.get(kind, {})))
    return Summary(kinds=kinds)
