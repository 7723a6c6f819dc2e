"""What an evaluation asks of a model, whatever kind it is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from PIL import Image
from torch import Tensor

from ...geometry.resample import Size
from ...maps.value import AttributionMaps

RECORDED = 10
"""Steps of a run that are recorded, about, unless another number is asked for: maps of neighbouring steps are much alike."""


@dataclass(frozen=True)
class Sampling:
    """How pictures are sampled; of `steps`, `cfg` and `sampler` None is what the model's authors do.

    Attributes:
        steps: of the sampler.
        cfg: scale of classifier-free guidance; 1 is without.
        sampler: its name.
        pasted: whether the picture that counts has the person's own pixels outside of the inpainting mask.
        recorded: whether maps are recorded.
        budget: bytes for the maps of one image.
        every: one step of every so many is recorded; 1: all; None: as many steps as `RECORDED`.
    """

    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    pasted: bool = False
    recorded: bool = True
    budget: int = 300_000_000
    every: int | None = None


@dataclass(frozen=True)
class Sample:
    """One generated picture and what was recorded of it.

    Attributes:
        picture: (3, H, W) in 0-1.
        maps: of the batch that it was made in; None: there are none.
        image: which image of that batch it is.
        failed: why there are no maps; "": there are, or none were asked for.
        seconds: that "sample" (the sampling alone) and "record" took, of the processor or the device.
        reference: which of the maps' references the pair's "reference" is.
    """

    picture: Tensor
    maps: AttributionMaps | None
    image: int
    failed: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    reference: int = 0


class Sampler(Protocol):
    """A model with the way that it is sampled in.

    A kind of model with several references is one more class with this protocol; its maps then have several `references`.

    Attributes:
        family: its name.
        how: how it samples, with nothing left open.
        dtype: of its network, such as "float32".
        needs: names of the pictures of `data.pairs.PICTURES` that it cannot do without, but for those that `inpaints` says.
        takes: names of those that it can also use.
        inpaints: whether it repaints a masked area, and so needs "agnostic", or "person" and "inpaint_mask".
        parts: names of what its attention is shared between, "generated" last, where all of it is in one sequence.
        size: (H, W) of the pictures that it generates.
    """

    family: str
    how: Sampling
    dtype: str
    needs: tuple[str, ...]
    takes: tuple[str, ...]
    inpaints: bool
    parts: tuple[str, ...]
    size: Size

    def sample(self, batch: Sequence[Mapping[str, Image.Image]], seeds: Sequence[int]) -> list[Sample]:
        """A picture per pair. A picture depends on its own pair and seed alone (but for rounding, on the batch's size).

        Args:
            batch: per pair its pictures by name; masks: white = 1.
            seeds: of each picture's noise.

        Raises:
            I2AMError: a picture is missing or does not fit.
        """

    def true(self, picture: Image.Image) -> Tensor:
        """A photo as a generated picture should ideally look: (3, H, W) in 0-1 of `size`, brought there in the same way."""
