"""Images of an evaluation: sampled, recorded, scored, and kept so that a row comes after its picture and its maps."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from ..bench.modes import Clock
from .facts import Key, Lacking
from .image import Picture, eight_bits, row_of
from .metrics.names import FEATURES, LPIPS
from .metrics.networks import FeatureNetwork, Lpips
from .rows import RowWriter
from .run_folder import RunFolder, write_whole
from .same_data import digests_of
from .samplers.sampler import Sampler
from .work import Item, seed_of

Given = tuple[Item, Mapping[str, Image.Image]]
"""A pair and its pictures by name."""


@dataclass(frozen=True)
class Looks:
    """The networks that pictures are compared through, or why there are none."""

    lpips: Lpips | Lacking
    features: FeatureNetwork | Lacking

    @property
    def names(self) -> dict[str, str]:
        """The names of those that are there; see `facts.Run.networks`."""
        both = {LPIPS: self.lpips, FEATURES: self.features}
        return {name: network.name for name, network in both.items() if not isinstance(network, Lacking)}


@dataclass(frozen=True)
class Maker:
    """Makes images and keeps them.

    Attributes:
        sampler: the model.
        looks: what pictures are compared through.
        folder: the run's.
        seed: of all noise, together with the images' names.
    """

    sampler: Sampler
    looks: Looks
    folder: RunFolder
    seed: int

    def make(self, batch: Sequence[Given], missing: Set[Key], writer: RowWriter) -> int:
        """Make a batch as a whole, and keep those of its images that are missing; returns their number."""
        samples = self.sampler.sample(
            [pictures for _, pictures in batch], [seed_of(self.seed, item.pair.name) for item, _ in batch]
        )
        clock, count = Clock(torch.device("cpu")), 0
        for (item, pictures), sample in zip(batch, samples, strict=True):
            if item.key not in missing:
                continue
            row, maps = clock.timed(row_of)(item, sample, pictures, self.sampler, self.looks.lpips)
            clock.timed(self._keep)(item.key, eight_bits(sample.picture), maps)
            seconds = {**sample.seconds, "score": clock.take()}
            files = digests_of(item.pair, (*pictures, "truth"))
            writer.add(row.model_copy(update={"seconds": seconds, "files": files}))
            count += 1
        return count

    def _keep(self, key: Key, picture: Picture, maps: Mapping[str, Tensor]) -> None:
        png = io.BytesIO()
        Image.fromarray(picture).save(png, "PNG")
        write_whole(self.folder.sample(key), png.getvalue())
        if maps:
            self.folder.write_maps(key, maps)
