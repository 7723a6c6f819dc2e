"""Inputs that several nodes have in common, and loops that the host's progress bar follows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from comfy_api.latest import io

from ..i2am.geometry.layout import Layout, TokenGrid
from ..i2am.geometry.parts import EXAMPLE
from ..i2am.levels.presets import PRESETS
from ..i2am.pictures.colours import COLOURS
from ..i2am.pictures.look import OPACITY, Look
from .base import field

T = TypeVar("T")
AUTO = "auto"
BY_HAND = "rows x columns"


def filters() -> list[Any]:
    """Which layers, heads, steps, branch, reference and image of the batch: `choice_of` reads them."""
    return [
        field(
            io.String,
            "layers",
            default="",
            tooltip="Layer names or globs, separated by spaces or commas, such as output.* or output.4.1.0 middle.*. "
            "Empty: all layers of the preset; of the Demo Edit Model its late ones. An unknown name is answered with the names "
            "that were recorded.",
        ),
        field(io.String, "heads", default="", tooltip="Head numbers such as 0,2,5, counted from 0. Empty: all heads."),
        field(
            io.String,
            "steps",
            default="",
            tooltip="Steps first:stop such as 0:10, half-open: step 10 is not included. 0 is the noisiest. Empty: all steps.",
        ),
        branch(),
        reference(),
        batch_index(-1, "-1 takes all images of the batch, one after another."),
    ]


def branch() -> Any:
    """Which half of classifier-free guidance."""
    return field(
        io.Combo,
        "branch",
        options=["cond", "uncond"],
        default="cond",
        advanced=True,
        tooltip="Half of classifier-free guidance: cond saw the reference, uncond did not (where it was recorded at all).",
    )


def reference() -> Any:
    """Which reference image of the run."""
    return field(
        io.Int,
        "reference",
        default=0,
        min=0,
        max=63,
        advanced=True,
        tooltip="Which reference to look at, by its number, counted from 0: not its picture. Most runs have one, number 0.",
    )


def further_references(first: str) -> list[Any]:
    """Pictures of the second and the third reference of a run; ``first`` is the input of the first one's."""
    return [
        field(
            io.Image,
            f"reference_{number}",
            optional=True,
            tooltip=f"Picture of reference {number}, in the order of the conditioning. Empty, like {first}: drawn from the "
            "reference's latent where the model has one; so are the fourth and further ones.",
        )
        for number in (2, 3)
    ]


def batch_index(default: int, rest: str) -> Any:
    """Which image of the batch; ``rest`` says what the lowest value means."""
    return field(
        io.Int,
        "batch_index",
        default=default,
        min=min(default, 0),
        max=4095,
        advanced=True,
        tooltip=f"Which image of the batch, counted from 0. {rest}",
    )


def tokens_by_hand() -> list[Any]:
    """What a reference's tokens are, where the conditioning does not say it: `layout_by_hand` reads them."""
    return [
        field(
            io.Combo,
            "reference_tokens",
            options=[AUTO, BY_HAND],
            tooltip="'auto' takes what conditioning and IPAdapters carry; else set rows, columns and leading tokens.",
            advanced=True,
        ),
        field(
            io.Int,
            "rows",
            default=16,
            min=1,
            max=256,
            tooltip="Rows of the reference's token grid; 16 for CLIP ViT-L/14.",
            advanced=True,
        ),
        field(
            io.Int,
            "columns",
            default=16,
            min=1,
            max=256,
            tooltip="Columns of the reference's token grid; likewise 16.",
            advanced=True,
        ),
        field(
            io.Int,
            "leading_tokens",
            default=1,
            min=0,
            max=64,
            tooltip="Tokens before the grid that have no place; 1 for CLS.",
            advanced=True,
        ),
    ]


def layout_by_hand(reference_tokens: str, rows: int, columns: int, leading_tokens: int) -> Layout | None:
    """The layout of the widgets of `tokens_by_hand`; None: what the conditioning carries."""
    return None if reference_tokens == AUTO else Layout.of(TokenGrid(rows, columns, leading_tokens))


def reference_parts() -> Any:
    """Where several pictures are stitched into one reference: `parts_of` reads it."""
    return field(
        io.String,
        "reference_parts",
        default="",
        optional=True,
        tooltip="Where several pictures are stitched into one reference: [left, top, right, bottom] of each as "
        f"fractions, such as {EXAMPLE}; empty: each reference is one picture. Where reference and result lie on one "
        f"canvas: the reference's rectangle.",
        advanced=True,
    )


def preset() -> Any:
    """How layers are scaled and pictures are shown."""
    return field(
        io.Combo,
        "preset",
        options=list(PRESETS),
        default="default",
        tooltip="default: layers scaled by their token counts, all layers. paper: raw mean, without the middle block. "
        "official: the authors' released code (R2G inverted, G2R times the reference mask where given, jet).",
    )


def placed_only() -> Any:
    """Whether reference tokens without a place are left out."""
    return field(
        io.Boolean,
        "placed_only",
        default=False,
        advanced=True,
        tooltip="R2G, R2G-balanced and mass over the reference's placed tokens only, without leading ones such as CLS. "
        "The mass needs it where the reference's tokens are all the keys of the call.",
    )


def looks() -> list[Any]:
    """How a heat is drawn: `look_of` reads them."""
    return [
        field(
            io.Combo,
            "colours",
            options=[AUTO, *COLOURS],
            default=AUTO,
            tooltip="Colour map. auto: inferno; for the official preset the authors' own blend, picture × 0.7 + jet × 0.5.",
        ),
        field(
            io.Float,
            "opacity",
            default=OPACITY,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="Opacity of the highest value, 0 to 1; lower values are more transparent.",
        ),
        field(
            io.Float,
            "contour",
            default=0.0,
            min=0.0,
            max=0.99,
            step=0.05,
            tooltip="Draw a line at this value of the min-maxed map, such as 0.4; 0 draws none.",
        ),
        field(
            io.Combo,
            "scale",
            options=[AUTO, "each", "shared"],
            default=AUTO,
            tooltip="each: every panel is stretched to its own range. shared: one range for all, to compare panels. "
            "auto: what I²AM Threshold says, else shared.",
        ),
    ]


def look_of(heat: Any, colours: str, opacity: float, contour: float, scale: str) -> Look:
    """How to draw a heat, from the widgets of `looks`."""
    return Look(
        colours=None if colours == AUTO else colours,
        opacity=opacity,
        contour=contour or False,
        official=colours == AUTO and heat.colours == "jet",  # only the official preset draws in jet by itself
        scale=None if scale == AUTO else scale,
    )


def progress(items: Iterable[T]) -> Iterator[T]:
    """The items, one after another, while the host's progress bar moves on."""
    listed = list(items)
    tick = ticker(len(listed))
    for item in listed:
        yield item
        tick()


def ticker(total: int) -> Callable[[], None]:
    """What moves the host's progress bar on by one of ``total`` at each call."""
    from comfy.utils import ProgressBar

    bar = ProgressBar(total)
    return lambda: bar.update(1)
