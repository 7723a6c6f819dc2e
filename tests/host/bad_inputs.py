"""What goes wrong in people's graphs: each case as a person would tell it, its graph, and what the message must say."""

from __future__ import annotations

from host_tests import tiny
from host_tests.bad_case import Case, Said
from host_tests.bad_comparisons import COMPARISONS, SAID
from host_tests.bad_edits import EDITS
from host_tests.bad_effects import EFFECTS
from host_tests.bad_files import FILES
from host_tests.bad_graphs import GRAPHS
from host_tests.bad_interventions import INTERVENTIONS
from host_tests.bad_joint_inputs import JOINT
from host_tests.bad_maps import MAPS
from host_tests.bad_pins import PINS
from host_tests.bad_redux import REDUX
from host_tests.bad_try_ons import TRY_ONS
from host_tests.bad_wan import WAN
from host_tests.bad_words import NO_NAMES, WORDS
from host_tests.maps_case import GENERATED, box

LEFT = box(GENERATED, 0, 0, 1, 0.5)
CASES: dict[str, Case] = {
    **GRAPHS,
    **JOINT,
    **REDUX,
    **WAN,
    **INTERVENTIONS,
    **EFFECTS,
    **MAPS,
    **WORDS,
    **PINS,
    **COMPARISONS,
    **TRY_ONS,
    **EDITS,
    **FILES,
}
NO_ERRORS: dict[str, Said] = {
    "a budget of 1 MB": Said(
        "recorded 16 images with a memory budget of 1 MB",
        "I2AM_Map", 0, r"the memory budget of 1 MB was short: marginal maps are kept as their mean over heads",
        lambda b: b.behind(b.sampled({"budget_mb": 1}, images=16), "I2AM_Map", maps=["collect", 1], side="R2G"),
    ),
    "one mask of two": Said(
        "gave IMACS only the inpainting mask",
        "I2AM_IMACS", 2, r"IMACS_r: no reference mask was given IMACS_r is output as NaN \(not a number\)",
        lambda b: b.alone("I2AM_IMACS", inpaint_mask=LEFT, batch_index=0, side="mass"),
    ),
    "several references at once": Said(
        "gave the sampler two conditionings with reference tokens",
        "I2AM_Map", 0, r"cond has several conditionings with reference tokens; the first is recorded",
        lambda b: b.behind(
            b.sampled(positive=[*tiny.positive(), *tiny.positive(seed=12)]), "I2AM_Map", maps=["collect", 1], side="R2G"
        ),
    ),
    **SAID,
    **NO_NAMES,
}  # fmt: skip
