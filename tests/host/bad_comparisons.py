"""What goes wrong where two runs are compared, see `bad_inputs`."""

from __future__ import annotations

from typing import Any

from host_tests.bad_case import Case, Said
from host_tests.graph_bench import Bench, Prompt
from host_tests.maps_case import GENERATED, library, picture
from torch import zeros

PIN = '[{"name": "logo", "x": 20, "y": 60}]'
NODE = "I2AM_Explorer"


def _compared(b: Bench, maps: Any = None, image: Any = None, pins: str = "", **more: Any) -> Prompt:
    given = {"maps_2": maps, "image_2": picture(GENERATED) if image is None else image}
    return b.alone(NODE, image=picture(GENERATED), pins=pins, **{k: v for k, v in {**given, **more}.items() if v is not None})


def _other(b: Bench, rows: int = 10, references: int = 1, reference: tuple[int, int] = (5, 4)) -> Any:
    """A run with this many rows of generated patches and references of these."""
    layout = library(b.pack, "geometry.layout")
    grid = layout.TokenGrid(*reference)
    given = tuple(layout.Reference(grid, i * grid.tokens, f"reference {i + 1}") for i in range(references))
    recorder = library(b.pack, "recording.recorder").Recorder(
        layout.Layout(given), steps=1, groups=1, generated_size=(8 * rows, 64), pairwise="mean"
    )
    keys = references * grid.tokens
    recorder.observe("input.1", (rows, 8), 0, "cond", zeros(1, 1, rows * 8, 4), zeros(1, 1, keys, 4), None, scale=1.0)
    recorder.end_step(0)
    return b.link(recorder.finish())


COMPARISONS: dict[str, Case] = {
    "second maps without a picture": Case(
        "connected maps_2 of Explorer and forgot image_2",
        NODE, r"maps_2 is connected, but image_2 is not.*connect image_2, or neither",
        lambda b: b.alone(NODE, image=picture(GENERATED), maps_2=b.maps()),
    ),
    "second picture without maps": Case(
        "connected image_2 of Explorer and forgot maps_2",
        NODE, r"image_2 is connected, but maps_2 is not.*connect maps_2, or neither",
        _compared,
    ),
    "second maps of another pack": Case(
        "connected text to maps_2, through a node that accepts anything",
        NODE, r"maps_2 got a str.*connect the maps of I²AM Collect, Look or Load Maps",
        lambda b: _compared(b, b.link("maps")),
    ),
    "other size of the second run": Case(
        "compared runs of two sizes",
        NODE, r"generated picture has 10 x 8 patches.*in the first and 9 x 8 in the second.*Nothing is resampled.*same size",
        lambda b: _compared(b, _other(b, rows=9), picture((72, 64))),
    ),
    "other number of references": Case(
        "compared a run with one reference with a run with two",
        NODE, r"the first has 1 reference\(s\).*the second 2.*record both with the same references in the same order",
        lambda b: _compared(b, _other(b, references=2)),
    ),
    "other patches of a reference": Case(
        "compared two image encoders, whose references have other patches",
        NODE, r"reference 1 has 5 x 4 patches.*in the first and 3 x 3 in the second.*reference pictures of one size",
        lambda b: _compared(b, _other(b, reference=(3, 3))),
    ),
    "second picture of another size": Case(
        "gave Explorer a landscape as image_2, where the second run was a portrait",
        NODE, r"picture of the second run is 128 x 32 pixels, but the second run's recorded image is 64 x 80: another shape",
        lambda b: _compared(b, b.maps(), picture((32, 128))),
    ),
    "second picture broken by its VAE": Case(
        "compared with a picture that a half-precision VAE broke",
        NODE, r"this IMAGE holds NaN or infinity, which shows as black.*--fp32-vae",
        lambda b: _compared(b, b.maps(), picture(GENERATED) * float("nan")),
    ),
    "image that the second run lacks": Case(
        "compared image 1 of a batch with a run of one image",
        NODE, r"image 1 is compared, but the second run had 1 image\(s\).*choose one that both runs had",
        lambda b: _compared(b, b.maps(images=1), batch_index=1),
    ),
}  # fmt: skip
SAID: dict[str, Said] = {
    "the same run twice": Said(
        "connected the same recording to maps and to maps_2 of Explorer",
        NODE, 8, r"both recordings are the same, so every difference is 0",
        lambda b: _compared(b, b.maps(), pins=PIN),
    ),
    "a second run without patch maps": Said(
        "pinned a place, where the second run was recorded without pairwise detail",
        NODE, 8, r"logo in the second run: none of the chosen layers has pairwise maps",
        lambda b: _compared(b, b.maps(pairwise=None), pins=PIN),
    ),
}  # fmt: skip
