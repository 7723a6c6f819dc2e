"""Images to look at: those of the best and the worst IMACS, and those in which it and quality differ most."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...data.pairs import DataSet, Pair
from ...errors import I2AMError
from ...levels.heat import Heat
from ...pictures.marks import draw_outline
from ...pictures.overlay import overlay
from ..facts import Key, Row
from ..pair_lists import pairs_by_kind
from .evaluated import Evaluated, picture_of
from .measures import QUALITY, Measure, of_maps

log = logging.getLogger("i2am")

HEIGHT = 240
"""Of a picture, in pixels."""
COUNT = 3
BEST, WORST, APART = "best", "worst", "apart"
Open = Callable[[Row, str], Image.Image | None]
"""The picture of a row's pair by its name, if it is there."""


@dataclass(frozen=True)
class Example:
    """One image of a run.

    Attributes:
        run: its label.
        why: "best" or "worst" by IMACS, or "apart": IMACS and quality rank it most differently.
        measure: name of the IMACS.
        figure: of quality; empty: images have none.
        row: the image's.
        pictures: to show, by caption.
    """

    run: str
    why: str
    measure: str
    figure: str
    row: Row
    pictures: Mapping[str, Image.Image] = field(default_factory=dict)


def examples_of(
    run: Evaluated, data: DataSet | None = None, count: int = COUNT, pair_list: Path | None = None
) -> list[Example]:
    """The best, the worst and the most different images of a run, each once; none: no image has an IMACS.

    Args:
        run: the evaluation.
        data: its data set, for the pictures that the run was given.
        count: of each.
        pair_list: that the run's pairs are out of; None: the data set's own.
    """
    chosen = chosen_rows(run, count)
    opened = _opener(run, data, pair_list)
    return [Example(run.label, why, name, figure, row, _pictures(run, row, opened)) for why, name, figure, row in chosen]


def chosen_rows(run: Evaluated, count: int = COUNT) -> list[tuple[str, str, str, Row]]:
    """(why, IMACS, figure of quality, row) of each image to look at; see `Example`."""
    for kind, rows in run.by_kind.items():
        for measure in of_maps(run.names):
            scores = run.values(kind, measure.name)
            if not measure.of_imacs or not scores:
                continue
            figure = next((x for x in _figures() if run.values(kind, x.name)), None)
            named = "" if figure is None else figure.name
            ranked = sorted(scores, key=lambda name, s=scores: (s[name], name))  # type: ignore[misc]
            best = ranked[::-1][:count]
            worst = [name for name in ranked[:count] if name not in best]
            apart: list[str] = []
            if figure is not None:
                quality = {name: figure.better * value for name, value in run.values(kind, named).items() if name in scores}
                apart = [name for name in _apart(scores, quality) if name not in {*best, *worst}][:count]
            picked = [(BEST, best), (WORST, worst), (APART, apart)]
            return [(why, measure.name, named, rows[name]) for why, names in picked for name in names]
    return []


def _figures() -> list[Measure]:
    return sorted((one for one in QUALITY if one.name in ("lpips", "ssim", "psnr")), key=lambda one: one.name != "ssim")


def _apart(scores: Mapping[str, float], quality: Mapping[str, float]) -> list[str]:
    """Images by how far apart their ranks in both are, the farthest first."""
    from scipy.stats import rankdata

    names = sorted(quality)
    if len(names) < 3:
        return []
    first, second = (rankdata([x[name] for name in names]) for x in (scores, quality))
    far = np.abs(first - second)
    return [names[i] for i in np.argsort(-far, kind="stable")]


def _pairs(run: Evaluated, data: DataSet, pair_list: Path | None) -> dict[Key, Pair]:
    """The pairs of a run's kinds, as far as the data set has them."""
    if pair_list is None and run.run.pair_list:
        log.warning(
            "the pairs of %s are out of the list %s; give it by --pair-list to see their pictures", run.label, run.run.pair_list
        )
    pairs: dict[Key, Pair] = {}
    for kind in run.by_kind:
        try:
            found = pairs_by_kind(data, [kind], run.run.split, pair_list)
        except I2AMError as error:
            log.warning("%s pairs of %s cannot be shown: %s", kind, data.folder, error)
        else:
            pairs |= {(kind, pair.name): pair for pair in found[kind]}
    return pairs


def _opener(run: Evaluated, data: DataSet | None, pair_list: Path | None) -> Open:
    pairs = {} if data is None else _pairs(run, data, pair_list)

    def opened(row: Row, name: str) -> Image.Image | None:
        pair = pairs.get(row.key)
        if pair is None or name not in pair.files:
            return None
        try:
            return pair.open([name])[name]
        except I2AMError as error:
            log.warning("%s", error)
            return None

    return opened


def _pictures(run: Evaluated, row: Row, opened: Open) -> dict[str, Image.Image]:
    found: dict[str, Image.Image] = {}
    maps = run.folder.maps(row.key)
    for name, caption in (("person", "person"), ("reference", "reference")):
        if (given := opened(row, name)) is not None:
            found[caption] = _sized(given)
    path = picture_of(run, row)
    generated = None
    if path is not None:
        try:
            with Image.open(path) as file:
                generated = found["generated"] = _sized(file.convert("RGB"))
        except OSError as error:
            log.warning("%s cannot be shown: %s", path, error)
    if "R2G" in maps:
        found["R2G"] = _drawn(maps["R2G"], "R2G", "generated", generated, opened(row, "inpaint_mask"))
    if "G2R" in maps:
        found["G2R"] = _drawn(maps["G2R"], "G2R", "reference", found.get("reference"), opened(row, "reference_mask"))
    return found


def _drawn(values: Tensor, side: str, on: str, picture: Image.Image | None, mask: Image.Image | None) -> Image.Image:
    """A raw map (h, w) over its picture, or over grey, with the mask's edge."""
    rows, columns = values.shape
    base = picture or Image.new("RGB", (max(1, round(HEIGHT * columns / rows)), HEIGHT), (90, 90, 90))
    try:
        heat = Heat(torch.as_tensor(values, dtype=torch.float32)[None], side, on, "ULAM", ("",), (base.height, base.width))
    except I2AMError as error:
        log.warning("%s", error)
        return base
    out = overlay(base, heat, colour_bar=False, caption=False, min_side=1)
    if mask is None:
        return out
    return draw_outline(out, np.asarray(mask.convert("L").resize(out.size, Image.Resampling.BILINEAR)) >= 128)


def _sized(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB").resize(
        (max(1, round(picture.width * HEIGHT / picture.height)), HEIGHT), Image.Resampling.LANCZOS
    )


def embedded(picture: Image.Image) -> str:
    """A picture as a data URL."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=86)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def by_run(
    runs: Sequence[Evaluated], data: DataSet | None, count: int = COUNT, pair_list: Path | None = None
) -> dict[str, list[Example]]:
    """The examples of every run, by its label; see `examples_of`."""
    return {run.label: examples_of(run, data, count, pair_list) for run in runs}
