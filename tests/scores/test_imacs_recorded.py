"""IMACS of recordings: eq. 17 against its plain statement, and the pair of both sides."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest
import statement
import torch
from torch import Tensor
from torch.nn import functional as F

from i2am.errors import MaskError, UnavailableError
from i2am.geometry.layout import Layout, Reference, TokenGrid
from i2am.geometry.resample import area
from i2am.levels.choice import Choice
from i2am.levels.heat import Heat, normalise
from i2am.levels.marginal import level_of, ulam
from i2am.levels.masked import masked_g2r
from i2am.levels.mirror import mirror_of_object
from i2am.maps.value import AttributionMaps
from i2am.recording.recorder import Recorder
from i2am.scores.imacs import Score, imacs, imacs_pair, map_on_generated, map_on_reference

SHIRT = Reference(TokenGrid(5, 3, 1, picture=(40, 24)), 1, "shirt")
SHOES = Reference(TokenGrid(2, 4, picture=(16, 32)), 18, "shoes")
LAYOUT = Layout((SHIRT, SHOES), keys=26)
GRIDS = {"down": ((12, 8), 2), "mid": ((3, 2), 3), "up": ((6, 4), 4)}
STEPS = 5


def patch(height: int, width: int, box: tuple[int, int, int, int]) -> Tensor:
    mask = torch.zeros(height, width)
    mask[box[0] : box[1], box[2] : box[3]] = 1
    return mask


MASK = patch(12, 8, (1, 8, 2, 7))  # cuts cells of the coarser layers
OTHER = patch(12, 8, (6, 12, 0, 3))
GARMENT = patch(40, 24, (4, 30, 6, 20))


def heat_of(values: Tensor, size: tuple[int, int]) -> Heat:
    return Heat(values.float()[None], "R2G", "generated", "ULAM", ("",), size)


def call(step: int, name: str) -> tuple[Tensor, Tensor]:
    (rows, columns), heads = GRIDS[name]
    generator = torch.Generator().manual_seed(10 * step + list(GRIDS).index(name))
    q = torch.randn(2, heads, rows * columns, 4, generator=generator) * 3
    return q, torch.randn(2, heads, LAYOUT.key_count, 4, generator=generator)


@cache
def recorded(pairwise: str | None = "heads", masked: bool = True, groups: int = 2, seen: int = STEPS) -> AttributionMaps:
    recorder = Recorder(
        LAYOUT,
        steps=STEPS,
        images=2,
        pairwise=pairwise,
        groups=groups,
        inpaint_mask=torch.stack([MASK, OTHER]) if masked else None,
        generated_size=(96, 64),
    )
    for step in range(seen):
        for name, (grid, _) in GRIDS.items():
            recorder.observe(name, grid, step, "cond", *call(step, name), None, scale=0.5, middle=name == "mid")
        recorder.end_step(step)
    return recorder.finish()


def stated(
    mask: Tensor,
    image: int = 0,
    reference: int = 0,
    names: tuple[str, ...] = tuple(GRIDS),
    steps: range = range(STEPS),
    heads: tuple[int, ...] | None = None,
    scaled: bool = True,
) -> Tensor:
    """Eq. 17 in words: rows of A^r weighted by the mask's area in their cell, then the mean over steps, heads, layers."""
    place = LAYOUT.references[reference]
    grid = (place.grid.rows, place.grid.columns)
    panels = []
    for name in names:
        (rows, columns), count = GRIDS[name]
        weights = torch.zeros(rows, columns, dtype=torch.float64)
        fine = mask.double().repeat_interleave(rows, 0).repeat_interleave(columns, 1)  # every cell a whole number of pixels
        for a in range(rows):
            for b in range(columns):
                h, w = fine.shape[0] // rows, fine.shape[1] // columns
                weights[a, b] = fine[a * h : (a + 1) * h, b * w : (b + 1) * w].mean()
        found = [
            statement.call_maps(
                *call(step, name),
                None,
                (place.start, place.grid.leading, place.grid.placed),
                scale=0.5,
                weights=weights.flatten()[None],
            )["g2r_masked"][image]
            for step in steps
        ]
        mean = torch.stack(found)
        if heads is not None:
            mean = mean[:, [h for h in heads if h < count]]
        panels.append(statement.on_reference(mean, place.grid.leading, grid, grid, scaled)[0])
    return statement.mean_of(panels).view(grid)


def close(seen: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(seen.double(), expected.double(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("image", "reference"), [(0, 0), (1, 0), (0, 1)])
@pytest.mark.parametrize("pairwise", ["mean", "heads"])
def test_eq_17_is_exact_and_both_routes_agree(pairwise: str, image: int, reference: int) -> None:
    mask = (MASK, OTHER)[image]
    where = Choice(image=image, reference=reference)
    exact, layers = masked_g2r(recorded(pairwise), choice=where)
    routed, also = masked_g2r(recorded(pairwise, masked=False), mask, where)
    assert layers == also == tuple(GRIDS)
    close(exact.values[0], stated(mask, image, reference))
    close(routed.values[0], stated(mask, image, reference))
    plain = ulam(recorded(pairwise), "G2R", where)
    assert not torch.allclose(plain.values, exact.values, rtol=1e-2)
    assert (exact.picture, exact.size) == ("reference", plain.size)


@pytest.mark.parametrize("masked", [True, False])
def test_eq_17_says_how_much_went_to_tokens_without_a_place(masked: bool) -> None:
    heat, _ = masked_g2r(recorded(masked=masked), None if masked else MASK)
    rows = recorded().pairwise  # (images, groups, heads, N, S), groups of 2 and 3 steps
    shares = []
    for name, ((rows_, columns), _) in GRIDS.items():
        weights = area(MASK[None], (rows_, columns)).flatten()
        leading = torch.einsum("ghn,n->gh", rows(name)[0][..., 0], weights / weights.sum())
        shares.append((leading * torch.tensor([[2.0], [3.0]])).sum(0) / STEPS)
    assert heat.unplaced == (pytest.approx(float(torch.cat(shares).mean()), rel=1e-5),)
    assert heat.unplaced != ulam(recorded(), "G2R").unplaced


@pytest.mark.parametrize("preset", ["default", "paper"])
@pytest.mark.parametrize("masked", [True, False])
def test_a_mask_of_everything_gives_g2r_also_where_layers_see_unequal_reference_grids(preset: str, masked: bool) -> None:
    layouts = {"a": Layout.of(TokenGrid(5, 3, 1)), "b": Layout.of(TokenGrid(2, 4)), "c": Layout.of(TokenGrid(1, 1))}
    everything = torch.ones(4, 4)
    recorder = Recorder(layouts.__getitem__, steps=2, pairwise="heads", inpaint_mask=everything if masked else None)
    generator = torch.Generator().manual_seed(0)
    for step in range(2):
        for name, heads in (("a", 2), ("b", 4), ("c", 3)):
            q = torch.randn(1, heads, 16, 4, generator=generator)
            k = torch.randn(1, heads, layouts[name].key_count, 4, generator=generator)
            recorder.observe(name, (4, 4), step, "cond", q, k, None, scale=1.0)
        recorder.end_step(step)
    maps = recorder.finish()
    everywhere = 1 - 1e-3 * torch.eye(4)  # a whole mask would be refused
    heat, layers = masked_g2r(maps, None if masked else everywhere, preset=preset)
    assert layers == ("a", "b")  # one key alone says nothing of places
    plain = ulam(maps, "G2R", preset=preset)
    torch.testing.assert_close(heat.values, plain.values, rtol=1e-3, atol=1e-6)
    assert heat.unplaced == (pytest.approx(plain.unplaced[0], rel=1e-3),)


def test_eq_17_without_pairwise_maps_needs_the_mask_at_recording() -> None:
    exact, layers = masked_g2r(recorded(None))
    assert layers == tuple(GRIDS)
    close(exact.values[0], stated(MASK))
    with pytest.raises(UnavailableError, match="pairwise"):
        masked_g2r(recorded(None), OTHER)
    with pytest.raises(UnavailableError, match="mask"):
        masked_g2r(recorded(masked=False))


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(
    ("choice", "preset", "words"),
    [
        (Choice(layers=["down", "up"]), "default", {"names": ("down", "up")}),
        (Choice(heads=[0, 3]), "default", {"heads": (0, 3)}),
        (Choice(heads=[2]), "default", {"heads": (2,), "names": ("mid", "up")}),
        (Choice(steps=(0, 2)), "default", {"steps": range(2)}),
        (
            Choice(steps=(2, 5), heads=[1], layers="up"),
            "default",
            {"steps": range(2, 5), "heads": (1,), "names": ("up",)},
        ),
        (Choice(), "paper", {"names": ("down", "up"), "scaled": False}),
    ],
)
def test_eq_17_of_a_choice(masked: bool, choice: Choice, preset: str, words: dict) -> None:
    heat, layers = masked_g2r(recorded(masked=masked), None if masked else MASK, choice, preset=preset)
    close(heat.values[0], stated(MASK, **words))
    assert layers == words.get("names", tuple(GRIDS))


def test_eq_17_of_a_run_that_stopped_early() -> None:
    for masked in (True, False):
        heat, _ = masked_g2r(recorded(masked=masked, seen=3), None if masked else MASK)
        close(heat.values[0], stated(MASK, steps=range(3)))


@pytest.mark.parametrize("masked", [True, False])
def test_choices_that_eq_17_cannot_make_are_refused(masked: bool) -> None:
    mask = None if masked else MASK
    with pytest.raises(UnavailableError, match="heads"):
        masked_g2r(recorded("mean", masked=False), MASK, Choice(heads=[0]))
    with pytest.raises(UnavailableError):
        masked_g2r(recorded(masked=masked), mask, Choice(steps=(0, 9)))
    if not masked:
        with pytest.raises(UnavailableError, match="union"):
            masked_g2r(recorded(masked=masked), mask, Choice(steps=(0, 3)))


def test_the_pair_scores_r2g_and_eq_17() -> None:
    maps = recorded()
    mask = MASK.repeat_interleave(8, 0).repeat_interleave(8, 1)  # at the picture's own size
    pair = imacs_pair(maps, mask, GARMENT)
    assert set(pair) == {"g", "r"}
    assert pair["g"] == imacs(ulam(maps, "R2G"), mask, layers=tuple(GRIDS))
    assert pair["r"] == imacs(masked_g2r(maps)[0], GARMENT, layers=tuple(GRIDS))
    assert pair["g"].notes == pair["r"].notes == ()
    for score in pair.values():
        assert score.score == pytest.approx(score.inside - 3 * score.outside)
    other = imacs_pair(maps, mask, GARMENT, side="R2G-balanced", weight=1.0, threshold=0.2)
    assert other["g"] == imacs(ulam(maps, "R2G-balanced"), mask, weight=1.0, threshold=0.2, layers=tuple(GRIDS))
    assert other["r"].weight == 1.0
    assert other["r"].score != pair["r"].score


def test_the_mirror_of_the_reference_mask_can_be_scored() -> None:
    maps = recorded()
    pair = imacs_pair(maps, MASK, GARMENT, Choice(image=1), side="mirror")
    assert pair["g"] == imacs(mirror_of_object(maps, GARMENT, Choice(image=1)), MASK, layers=tuple(GRIDS))
    assert pair["r"] == imacs_pair(maps, MASK, GARMENT, Choice(image=1))["r"]
    with pytest.raises(MaskError, match="reference mask is empty"):
        imacs_pair(maps, MASK, torch.zeros(40, 24), side="mirror")
    with pytest.raises(UnavailableError, match="needs the reference mask"):
        map_on_generated(maps, MASK, side="mirror")
    with pytest.raises(UnavailableError, match="pairwise"):
        imacs_pair(recorded(None), MASK, GARMENT, side="mirror")


def test_the_pair_uses_the_mask_of_its_own_image() -> None:
    maps = recorded()
    for image, mask in enumerate([MASK, OTHER]):
        pair = imacs_pair(maps, mask, GARMENT, Choice(image=image))
        assert pair["r"] == imacs(masked_g2r(maps, choice=Choice(image=image))[0], GARMENT, layers=tuple(GRIDS))


def recorded_once(grid: tuple[int, int], spread: float, inpaint_mask: Tensor | None = None) -> AttributionMaps:
    """One step of one layer of 2 heads, looking at 8 x 8 tokens; a spread of 0 looks everywhere alike."""
    generator, size = torch.Generator().manual_seed(0), (8 * grid[0], 8 * grid[1])
    recorder = Recorder(
        Layout.of(TokenGrid(8, 8, picture=(64, 64))), steps=1, groups=1, inpaint_mask=inpaint_mask, generated_size=size
    )
    q = torch.randn(1, 2, grid[0] * grid[1], 4, generator=generator) * spread
    recorder.observe("layer", grid, 0, "cond", q, torch.randn(1, 2, 64, 4, generator=generator), None, scale=1.0)
    recorder.end_step(0)
    return recorder.finish()


def test_two_small_masks_are_not_taken_for_one() -> None:
    one, two = patch(512, 384, (20, 29, 20, 30)), patch(512, 384, (400, 409, 300, 310))
    maps, garment = recorded_once((64, 48), 3.0, one), patch(64, 64, (0, 32, 0, 64))
    heats = [map_on_reference(maps, garment, mask).heat.values for mask in (one, two)]
    for heat, mask in zip(heats, (one, two), strict=True):
        torch.testing.assert_close(heat, masked_g2r(maps, mask)[0].values, rtol=1e-4, atol=1e-7)
    assert not torch.allclose(*heats, rtol=0.1)


def test_a_flat_map_times_the_mask_is_not_the_mask() -> None:
    maps = recorded_once((8, 8), 0.0)
    garment, inside = patch(64, 64, (16, 48, 16, 48)), patch(64, 64, (0, 32, 0, 64))
    for preset in ("default", "paper", "official"):
        score = map_on_reference(maps, garment, inside, preset=preset).score()
        assert score.flat, preset
        assert score.score is None
    shown = level_of(maps, "ULAM", "G2R", preset="official", reference_mask=garment)
    assert normalise(shown).flat == (True,)


def test_the_layers_of_a_score_are_those_that_its_map_is_made_of() -> None:
    layouts = {
        "output.3.1.0": Layout.of(TokenGrid(1, 1)),
        "warp.4": replace(Layout.of(TokenGrid(4, 4)), beside=True, official="always"),
    }
    generator = torch.Generator().manual_seed(0)
    recorder = Recorder(layouts.__getitem__, steps=1, groups=1, generated_size=(32, 32))
    for name, layout in layouts.items():
        q, k = torch.randn(1, 2, 16, 4, generator=generator), torch.randn(1, 2, layout.key_count, 4, generator=generator)
        recorder.observe(name, (4, 4), 0, "cond", q, k, None, scale=1.0)
    recorder.end_step(0)
    maps, inside = recorder.finish(), patch(32, 32, (0, 16, 0, 32))
    garment = patch(32, 32, (8, 24, 8, 24))
    for side in ("R2G-balanced", "mirror"):
        assert map_on_generated(maps, inside, garment, side=side).score().layers == ("warp.4",)
    assert map_on_generated(maps, inside, garment, side="R2G").score().layers == ("output.3.1.0", "warp.4")
    for preset in ("default", "official"):
        assert map_on_reference(maps, garment, inside, preset=preset).score().layers == ("warp.4",)
    assert not any("output.3.1.0" in note for note in mirror_of_object(maps, garment).notes)


def test_another_mask_than_the_recorded_one_goes_through_the_pairwise_layers() -> None:
    pair = imacs_pair(recorded(), OTHER, GARMENT)
    assert pair["r"] == imacs(masked_g2r(recorded(masked=False), OTHER)[0], GARMENT, layers=tuple(GRIDS))
    assert pair["r"] != imacs_pair(recorded(), MASK, GARMENT)["r"]
    with pytest.raises(UnavailableError, match="pairwise"):
        imacs_pair(recorded(None), OTHER, GARMENT)


def test_a_choice_holds_for_both_scores() -> None:
    maps, choice = recorded(), Choice(steps=(2, 5), heads=[1], layers=["mid", "up"], image=1)
    pair = imacs_pair(maps, OTHER, GARMENT, choice)
    assert pair["g"] == imacs(ulam(maps, "R2G", choice), OTHER, layers=("mid", "up"))
    heat = imacs_pair(maps, OTHER, GARMENT, Choice(image=1))["r"]
    assert pair["r"].layers == ("mid", "up")
    assert pair["r"].score != heat.score
    values = stated(OTHER, 1, names=("mid", "up"), heads=(1,), steps=range(2, 5))
    expected = imacs(heat_of(values, size=(40, 24)), GARMENT)
    assert pair["r"].score == pytest.approx(expected.score, abs=1e-4)
    assert pair["r"].auc == pytest.approx(expected.auc, abs=1e-3)


def test_the_paper_preset_leaves_out_the_middle_and_says_what_it_is_not() -> None:
    maps = recorded()
    pair = imacs_pair(maps, MASK, GARMENT, preset="paper")
    for side, score in pair.items():
        assert score.layers == ("down", "up"), side
        assert "not comparable" in score.notes[0]
    heat = heat_of(stated(MASK, names=("down", "up"), scaled=False), size=(40, 24))
    assert pair["r"].score == pytest.approx(imacs(replace(heat, order="min-max"), GARMENT).score, abs=1e-4)


def test_the_official_preset_inverts_r2g_and_masks_g2r() -> None:
    maps = recorded()
    pair = imacs_pair(maps, MASK, GARMENT, preset="official")
    r2g = ulam(maps, "R2G", preset="paper").values[0]
    low, high = r2g.min(), r2g.max()
    inverted = 1 - (r2g - low) / (high - low)
    kept = torch.where(inverted > 0.4, inverted, 0.0)
    assert pair["g"].inside == pytest.approx(float((kept * MASK).sum() / MASK.sum()), rel=1e-4)
    assert pair["g"].outside == pytest.approx(float((kept * (1 - MASK)).sum() / (1 - MASK).sum()), rel=1e-4)
    cells = F.interpolate(GARMENT[None, None], (5, 3), mode="bicubic", align_corners=False)[0, 0]  # unclamped, as theirs
    g2r = ulam(maps, "G2R", preset="official").values[0] * cells
    expected = imacs(replace(heat_of(g2r, size=(40, 24)), order="both", clamped=False), GARMENT)
    assert (pair["r"].score, pair["r"].auc) == (pytest.approx(expected.score, abs=1e-5), pytest.approx(expected.auc, abs=1e-5))


def test_the_pair_refuses_bad_masks_by_name() -> None:
    maps = recorded()
    with pytest.raises(MaskError, match="inpainting mask is empty"):
        imacs_pair(maps, torch.zeros(12, 8), GARMENT)
    with pytest.raises(MaskError, match="inpainting mask covers the whole"):
        imacs_pair(maps, torch.ones(12, 8), GARMENT)
    with pytest.raises(MaskError, match="reference mask is empty"):
        imacs_pair(maps, MASK, torch.zeros(40, 24))
    with pytest.raises(MaskError, match="reference mask covers the whole"):
        imacs_pair(maps, MASK, torch.ones(40, 24))
    with pytest.raises(UnavailableError, match="G2R"):
        imacs_pair(maps, MASK, GARMENT, side="G2R")


def test_scores_are_plain_values() -> None:
    score = imacs_pair(recorded(), MASK, GARMENT)["g"]
    assert isinstance(score, Score)
    for name in ("score", "inside", "outside", "auc", "mass_ratio", "shifted", "random"):
        assert isinstance(getattr(score, name), float)
        assert math.isfinite(getattr(score, name))
    with pytest.raises(AttributeError):
        score.score = 1.0  # type: ignore[misc]
