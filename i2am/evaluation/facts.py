"""The descriptions in a run folder: what was evaluated, a row per image, and the figures of the data set."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

KINDS = ("paired", "unpaired")
FORMAT = 1

Key = tuple[str, str]
"""An image's kind and name."""
_Kind = Annotated[str, Field(pattern=f"^({'|'.join(KINDS)})$")]
_Name = Annotated[str, Field(min_length=1, max_length=255)]


class Part(BaseModel):
    """Data of a run folder: finite numbers, and names that are known. What a later version adds is passed over."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Row(Part):
    """All that is known of one image.

    Attributes:
        name: of the pair, unique within its kind.
        kind: "paired" or "unpaired".
        person: the person's name in the data set.
        garment: the garment's.
        files: the first digits of the sha256 of the data set's files that it was made and scored of, by the picture's name;
            none: an earlier version wrote the row.
        seconds: what "sample" (the sampling alone), "record" and "score" took: of the processor where the model ran on the CPU,
            else of the device.
        values: by name, such as "ssim" or "imacs_g.default"; see `metrics.names`.
        unavailable: why a value is missing, by its name.
        by_threshold: by the name of an IMACS value and by threshold ("0.4"), the means of the map that is kept above it, inside
            and outside of its mask: any lambda's score is inside - lambda * outside.
    """

    name: _Name
    kind: _Kind
    person: str
    garment: str
    files: dict[str, str] = {}
    seconds: dict[str, FiniteFloat] = {}
    values: dict[str, FiniteFloat] = {}
    unavailable: dict[str, str] = {}
    by_threshold: dict[str, dict[str, tuple[FiniteFloat, FiniteFloat]]] = {}

    @property
    def key(self) -> Key:
        """Its kind and name."""
        return self.kind, self.name


class Run(Part):
    """What was evaluated, and how.

    Attributes:
        model: name of the weights' file or folder.
        family: of models, such as "demo" or "stableviton".
        sha256: of the weights.
        data: the data set's title.
        split: of the data set, "train" or "test".
        pair_list: the name of the list that its pairs are out of; empty: the data set's own.
        seed: that every image's noise comes from, together with its name.
        sampler: such as "ddim".
        steps: of the sampler.
        cfg: scale of classifier-free guidance; 1 is without.
        dtype: of the U-Net.
        pasted: whether the pictures that count have the person's own pixels outside of the inpainting mask.
        every: one step of every so many was recorded; 1: all.
        presets: of IMACS; none: nothing was recorded.
        weight: lambda, of the IMACS values.
        threshold: of the IMACS values.
        kinds: of pairs, all that were ever asked for.
        metrics: names of the values that were asked for, per image and per data set.
        networks: that pictures were compared through, by the names in `metrics.names.NETWORKS`: a file's name and the first
            digits of its sha256; those that were never there are left out.
        versions: of the packages that the newest start ran with.
        format: of the folder.
    """

    model: str
    family: str
    sha256: str
    data: str
    split: str
    pair_list: str = ""
    seed: int
    sampler: str
    steps: int
    cfg: FiniteFloat
    dtype: str = "float32"
    pasted: bool = False
    every: int = 1
    presets: tuple[str, ...] = ()
    weight: FiniteFloat = 3.0
    threshold: FiniteFloat = 0.4
    kinds: tuple[_Kind, ...] = KINDS
    metrics: tuple[str, ...] = ()
    networks: dict[str, str] = {}
    versions: dict[str, str] = {}
    format: int = FORMAT


FREE = ("model", "kinds", "metrics", "networks", "versions")
"""What may change in a run's facts when it goes on; a network may be added, and none may give way to another."""


class Mean(Part):
    """The mean of one value over the images that have it, and their number."""

    mean: FiniteFloat
    n: int


class OfSet(Part):
    """One figure of a whole data set, such as FID.

    Attributes:
        value: the figure.
        n: generated pictures that it is made from.
        spread: its standard deviation over subsets, if it is made from some.
        network: what made the features: a file's name and the first digits of its sha256.
    """

    value: FiniteFloat
    n: int
    spread: FiniteFloat | None = None
    network: str = ""


class Lacking(Part):
    """Why a figure is missing, and the file that would bring it, if one would."""

    reason: str
    file: str = ""


class OfKind(Part):
    """The figures of the paired or the unpaired images.

    Attributes:
        images: rows of this kind.
        values: means of the rows' values, by name.
        sets: figures of the whole set, by name: "fid", "kid".
        unavailable: what is missing for all images, by name.
        seconds: means of the rows' seconds, by name.
    """

    images: int
    values: dict[str, Mean] = {}
    sets: dict[str, OfSet] = {}
    unavailable: dict[str, Lacking] = {}
    seconds: dict[str, Mean] = {}


class Summary(Part):
    """The figures of a run, by kind."""

    kinds: dict[_Kind, OfKind]


def first_error(error: Exception) -> str:
    """The first thing that is wrong."""
    if not isinstance(error, ValidationError):
        return str(error)
    one = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in one['loc']) or 'the whole'}: {one['msg']}"
