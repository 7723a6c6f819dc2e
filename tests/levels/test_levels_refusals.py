"""What levels and patches refuse, and what they leave out and say so."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from levels_run import (
    COARSE,
    FINE,
    LATENT,
    WIDE,
    Run,
    averaged,
    close,
    run,
)

from i2am.errors import I2AMError, UnavailableError
from i2am.geometry.layout import Layout, TokenGrid
from i2am.levels.choice import Choice
from i2am.levels.marginal import hlam, llam, tlam, ulam
from i2am.levels.mirror import mirror_of_object
from i2am.levels.patch import sram
from i2am.levels.share import share
from i2am.maps.value import AttributionMaps
from i2am.scores.run import score_image


def single() -> AttributionMaps:
    one = Layout.of(TokenGrid(1, 1))
    return Run(network=(COARSE, FINE), layout={COARSE.name: one, FINE.name: one}, steps=3, images=1).maps


def test_single_token_references_have_r2g_alone() -> None:
    maps = single()
    heat = ulam(maps, "R2G")
    assert any("single-token reference: these weights cannot affect the picture" in note for note in heat.notes)
    assert heat.values.std() > 0
    for side in ("G2R", "R2G-balanced", "mass"):
        for level in (ulam, tlam, hlam, llam):
            options = {"groups": 3} if level is tlam else {}
            with pytest.raises(UnavailableError, match="single token"):
                level(maps, side, **options)
    for direction in ("reference", "generated"):
        with pytest.raises(UnavailableError, match="single token"):
            sram(maps, (0, 0), direction)


def test_layers_with_single_tokens_are_left_out_of_the_others_and_it_says_so() -> None:
    one = Layout.of(TokenGrid(1, 1))
    mixed = Run(network=(COARSE, FINE), layout={COARSE.name: one}, steps=3, images=1)
    for side in ("R2G-balanced", "G2R", "mass"):
        heat = ulam(mixed.maps, side)
        close(heat.values, mixed.panels(side, FINE).mean(0))
        assert any("single-token" in note for note in heat.notes)
    close(sram(mixed.maps, (3, 3)).values, mixed.specific((FINE,))[0][3 * 8 + 3])


def test_heads_of_single_token_layers_alone_are_refused() -> None:
    one = Layout.of(TokenGrid(1, 1))
    mixed = Run(network=(COARSE, WIDE), layout={WIDE.name: one}, steps=2, groups=1, images=1)
    assert len(hlam(mixed.maps, "G2R").values) == 2
    assert len(hlam(mixed.maps, "R2G").values) == 4
    with pytest.raises(UnavailableError):
        hlam(mixed.maps, "G2R", Choice(heads=[0, 3]))


def test_the_mass_of_a_reference_that_is_all_keys_is_refused() -> None:
    whole = Run(network=(COARSE,), layout={COARSE.name: Layout.of(TokenGrid(3, 5, 1))}, steps=2, groups=1, images=1)
    with pytest.raises(UnavailableError, match="mass"):
        ulam(whole.maps, "mass")
    placed = ulam(whole.maps, "mass", placed_only=True)
    expected = whole.stated("pairwise", COARSE)[..., 1:].sum(-1).mean((0, 1))
    close(placed.values, expected)


def test_an_uncond_branch_of_null_tokens_has_no_places() -> None:
    for call in (
        lambda: ulam(run().maps, "G2R", Choice(branch="uncond")),
        lambda: sram(run().maps, (0, 0), choice=Choice(branch="uncond")),
    ):
        with pytest.raises(UnavailableError, match="uncond"):
            call()
    real = Run(network=(COARSE,), steps=2, groups=1, images=1, null_branches=())
    close(ulam(real.maps, "G2R", Choice(branch="uncond")).values, real.panels("G2R", COARSE, branch="uncond").mean(0))


@pytest.mark.parametrize(
    ("choice", "preset", "text"),
    [
        (Choice(layers="down.*"), "default", "input.4.1"),
        (Choice(layers=["output.*", "nothing"]), "default", "nothing"),
        (Choice(layers=[]), "default", "layers"),
        (Choice(heads=[]), "default", "heads"),
        (Choice(heads=[4]), "default", "heads"),
        (Choice(heads=[-1]), "default", "heads"),
        (Choice(steps=(3, 3)), "default", "steps"),
        (Choice(steps=(0, 8)), "default", "steps"),
        (Choice(steps=(-1, 2)), "default", "steps"),
        (Choice(branch="both"), "default", "cond"),
        (Choice(reference=2), "default", "reference"),
        (Choice(reference=-1), "default", "reference"),
        (Choice(image=2), "default", "image"),
        (Choice(), "ours", "preset"),
    ],
)
def test_choices_that_do_not_exist_are_refused(choice: Choice, preset: str, text: str) -> None:
    for level in (ulam, tlam, hlam, llam):
        with pytest.raises(UnavailableError, match=text):
            level(run().maps, "R2G", choice, preset=preset)
    with pytest.raises(UnavailableError, match=text):
        sram(run().maps, (0, 0), choice=choice, preset=preset)


def test_sides_groups_and_patches_that_do_not_exist_are_refused() -> None:
    maps = run().maps
    with pytest.raises(UnavailableError, match="R2G-balanced"):
        ulam(maps, "r2g")
    for groups in (0, -1):
        with pytest.raises(UnavailableError, match=r"time groups.*1 or more"):
            tlam(maps, "R2G", groups=groups)
    with pytest.raises(UnavailableError, match="direction"):
        sram(maps, (0, 0), "both")
    for at in ((12, 0), (0, 8), (-1, 0), [(0, 0), (3, 9)]):
        with pytest.raises(UnavailableError, match="12 rows and 8 columns"):
            sram(maps, at)
    with pytest.raises(UnavailableError, match="3 rows and 5 columns"):
        sram(maps, (3, 0), "generated")
    for nothing in ([], torch.zeros(LATENT, dtype=torch.bool)):
        with pytest.raises(UnavailableError, match="no patch"):
            sram(maps, nothing)
    with pytest.raises(UnavailableError, match="12 x 8"):
        sram(maps, torch.ones(6, 4, dtype=torch.bool))


def test_pairwise_steps_must_be_unions_of_the_recorded_groups() -> None:
    assert run().maps.groups == ((0, 2), (2, 4), (4, 7))
    for steps in ((0, 1), (1, 4), (2, 5), (6, 7)):
        with pytest.raises(UnavailableError, match="union"):
            sram(run().maps, (0, 0), choice=Choice(steps=steps))
        ulam(run().maps, "G2R", Choice(steps=steps))  # marginals are kept per step
    for steps in ((0, 2), (2, 7), (0, 7)):
        close(sram(run().maps, (0, 0), choice=Choice(steps=steps)).values, run().specific(steps=steps)[0][0])


def test_heads_of_a_head_mean_are_refused() -> None:
    with pytest.raises(UnavailableError, match="heads"):
        sram(averaged().maps, (0, 0), choice=Choice(heads=[0]))
    close(sram(run().maps, (4, 4), choice=Choice(heads=[1])).values, run().specific(heads=(1,))[0][36])


def test_patches_need_pairwise_maps() -> None:
    without = Run(network=(COARSE,), steps=2, groups=1, images=1, heads=None)  # type: ignore[arg-type]
    with pytest.raises(UnavailableError, match="pairwise"):
        sram(without.maps, (0, 0))


@pytest.mark.parametrize("at", [3, (1.5, 2), [(1, 2, 3)], [(0, 0.5)], "12"])
def test_what_is_no_patch_is_refused(at: object) -> None:
    with pytest.raises(UnavailableError, match=r"a patch is \(row, column\) in whole numbers"):
        sram(run().maps, at)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [1, "cond", None, {"reference": 1}])
def test_what_is_no_choice_is_refused_in_words(given: Any) -> None:
    maps = run().maps
    mask = torch.ones(1, 9, 15)
    for call in (
        lambda: ulam(maps, "R2G", given),
        lambda: sram(maps, (0, 0), choice=given),
        lambda: mirror_of_object(maps, mask, given),
        lambda: share(maps, given),
        lambda: score_image(maps, mask, mask, given),
    ):
        with pytest.raises(I2AMError, match=rf"is a Choice, such as Choice\(reference=1\), got {re.escape(repr(given))}"):
            call()


def test_a_choice_in_the_place_of_the_direction_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"direction is 'reference' or 'generated', got Choice\(.*choice=Choice"):
        sram(run().maps, (0, 0), Choice(reference=1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("side", "told"),
    [
        ("share", r"share\(maps\) gives it"),
        ("which reference", r"which_reference\(maps\) gives it"),
        ("SRAM", r"sram\(maps, \(row, column\)\) gives it"),
        ("mirror", r"sram\(maps, \(row, column\), 'generated'\) gives it"),
        ("object", r"mirror_of_object\(maps, mask\) gives it"),
        ("r2g", "did you mean 'R2G'"),
        ("which_reference", "did you mean 'which reference'"),
        (None, "there is no side None; there are R2G"),
        (["R2G"], r"there is no side \['R2G'\]"),
    ],
)
def test_maps_that_are_no_levels_say_what_gives_them(side: Any, told: str) -> None:
    for level in (ulam, tlam, hlam, llam):
        with pytest.raises(UnavailableError, match=told):
            level(run().maps, side)


@pytest.mark.parametrize("groups", [1.5, "2", None])
def test_groups_are_whole_numbers(groups: Any) -> None:
    with pytest.raises(UnavailableError, match="time groups are counted in whole numbers, such as 5, got"):
        tlam(run().maps, groups=groups)
