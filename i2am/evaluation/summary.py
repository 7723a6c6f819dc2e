"""The figures of a data set out of its rows and pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..data.pictures import open_picture
from .facts import KINDS, Lacking, Mean, OfKind, OfSet, Row, Summary
from .image import Picture, eight_bits
from .metrics.names import OF_SET
from .metrics.networks import FeatureNetwork, Lpips
from .metrics.sets import of_sets
from .run_folder import RunFolder
from .samplers.sampler import Sampler
from .work import Item

AT_ONCE = 16
"""Pictures that a feature network sees at once."""
Tick = Callable[[int], object]
"""Called with a number of pictures that were looked at."""


def summary_of(
    rows: Sequence[Row],
    items: Sequence[Item],
    folder: RunFolder,
    sampler: Sampler,
    lpips: Lpips | Lacking,
    features: FeatureNetwork | Lacking,
    seed: int,
    tick: Tick = lambda _: None,
) -> Summary:
    """The figures of each kind of pair that has rows.

    Args:
        rows: of the run.
        items: the pairs of the rows, at least.
        folder: the run's, where the pictures lie.
        sampler: that made them.
        lpips: LPIPS's network, or why there is none.
        features: the network of FID and KID, or why there is none.
        seed: the run's.
        tick: for progress.
    """
    pairs = {item.key: item for item in items}
    kinds = {}
    for kind in KINDS:
        own = [row for row in rows if row.kind == kind and row.key in pairs]
        if not own:
            continue
        values = means_of(row.values for row in own)
        names = dict.fromkeys(name for row in own for name in row.unavailable if name not in values)
        lacking = _lacking(own, names, lpips)
        sets: dict[str, OfSet] = {}
        if kind == "unpaired":
            sets, missing = _of_sets(own, [pairs[row.key] for row in own], folder, sampler, features, seed, tick)
            lacking |= missing
        seconds = means_of(row.seconds for row in own)
        kinds[kind] = OfKind(images=len(own), values=values, sets=sets, unavailable=lacking, seconds=seconds)
    return Summary(kinds=kinds)


def means_of(rows: Iterable[Mapping[str, float]]) -> dict[str, Mean]:
    """The mean of every value over the rows that have it.

    >>> means_of([{"ssim": 0.5}, {"ssim": 1.0, "psnr": 20.0}])["ssim"]
    Mean(mean=0.75, n=2)
    """
    found: dict[str, list[float]] = {}
    for values in rows:
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    return {name: Mean(mean=float(np.mean(values)), n=len(values)) for name, values in sorted(found.items())}


def pictures_to_see(rows: Iterable[Row], features: FeatureNetwork | Lacking) -> int:
    """How many pictures `summary_of` will show to the feature network."""
    if isinstance(features, Lacking):
        return 0
    unpaired = [row for row in rows if row.kind == "unpaired"]
    return len(unpaired) + len({row.person for row in unpaired})


def _lacking(rows: Sequence[Row], names: Iterable[str], lpips: Lpips | Lacking) -> dict[str, Lacking]:
    """Why no row has these values: the reason that most of them give."""
    out = {}
    for name in names:
        reasons = Counter(row.unavailable[name] for row in rows if name in row.unavailable)
        if reasons:
            reason = reasons.most_common(1)[0][0]
            known = isinstance(lpips, Lacking) and name == "lpips" and reason == lpips.reason
            out[name] = lpips if known and isinstance(lpips, Lacking) else Lacking(reason=reason)
    return out


def _of_sets(
    rows: Sequence[Row],
    items: Sequence[Item],
    folder: RunFolder,
    sampler: Sampler,
    features: FeatureNetwork | Lacking,
    seed: int,
    tick: Tick,
) -> tuple[dict[str, OfSet], dict[str, Lacking]]:
    """FID and KID of the generated pictures against the photos of the same persons."""
    if isinstance(features, Lacking):
        return {}, dict.fromkeys(OF_SET, features)
    persons = {item.pair.person: item for item in items if "person" in item.pair.files}
    real = (eight_bits(sampler.true(item.pair.open(["person"])["person"])) for item in persons.values())
    generated = (np.asarray(open_picture(folder.sample(row.key))) for row in rows)
    sets, missing = of_sets(_features(real, features, tick), _features(generated, features, tick), seed)
    return {name: one.model_copy(update={"network": features.name}) for name, one in sets.items()}, missing


def _features(pictures: Iterator[Picture], network: FeatureNetwork, tick: Tick) -> Tensor:
    """(N, D)."""
    found: list[Tensor] = []
    batch: list[Picture] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == AT_ONCE:
            found.append(_seen(batch, network, tick))
            batch = []
    if batch:
        found.append(_seen(batch, network, tick))
    return torch.cat(found) if found else torch.zeros(0, 1)


def _seen(batch: Sequence[Picture], network: FeatureNetwork, tick: Tick) -> Tensor:
    features: Tensor = network(torch.from_numpy(np.stack(batch)).movedim(-1, 1).contiguous())
    tick(len(batch))
    return features
