"""What goes wrong with pins, see `bad_inputs`."""

from __future__ import annotations

from host_tests.bad_case import Case
from host_tests.graph_bench import Bench, Prompt
from host_tests.maps_case import GENERATED, picture


def _explorer(b: Bench, pins: str, **maps: str | None) -> Prompt:
    given = {"maps": b.maps(**maps)} if maps else {}
    return b.alone("I2AM_Explorer", image=picture(GENERATED), pins=pins, **given)


PINS: dict[str, Case] = {
    "pins that are no JSON": Case(
        "typed a name as the pins of Explorer",
        "I2AM_Explorer", r"pins are written as JSON, such as \[\{\"name\": \"logo\".*but this is none",
        lambda b: _explorer(b, "logo"),
    ),
    "pin without a place": Case(
        "typed a pin without its y",
        "I2AM_Explorer", r"pin 1 \('logo'\) needs a number of pixels as its y, but has none",
        lambda b: _explorer(b, '[{"name": "logo", "x": 20}]'),
    ),
    "pin on a reference that there is not": Case(
        "kept a pin on reference 2, where the run now has one",
        "I2AM_Explorer", r"pin 'sleeve' lies on reference 2, but the run had 1 reference\(s\); remove it, or put it on one",
        lambda b: _explorer(b, '[{"name": "sleeve", "on": "reference 2", "x": 20, "y": 20}]'),
    ),
    "pin outside": Case(
        "kept a pin of a larger picture",
        "I2AM_Explorer", r"pin 'logo' on the generated picture: pixel \(200, 60\) lies outside.*choose x from 0 to below 64",
        lambda b: _explorer(b, '[{"name": "logo", "x": 200, "y": 60}]'),
    ),
    "pin without pairwise maps": Case(
        "pinned a place, where Record's detail was marginals",
        "I2AM_Explorer", r"pin 'logo' cannot be looked up: none of the chosen layers has pairwise maps.*set detail to pairwise",
        lambda b: _explorer(b, '[{"name": "logo", "x": 20, "y": 60}]', pairwise=None),
    ),
    "pins on the other picture": Case(
        "connected pins on the reference to Patch Map with direction SRAM",
        "I2AM_PatchMap", r"none of the pins lies on the generated picture \('sleeve' on reference 1\); choose the other",
        lambda b: b.alone("I2AM_PatchMap", pins='[{"name": "sleeve", "on": "reference 1", "x": 20, "y": 20}]'),
    ),
}  # fmt: skip
