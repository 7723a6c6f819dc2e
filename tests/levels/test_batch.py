"""Batches of pictures and masks meet batches of maps; what cannot be meant is refused with both numbers or sizes."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from levels_run import run

from i2am.errors import I2AMError
from i2am.geometry.masks import mask_of
from i2am.geometry.shapes import check_shape
from i2am.levels.batch import images_of, join, over_frames
from i2am.levels.choice import Choice
from i2am.levels.heat import Heat, shown
from i2am.levels.marginal import LEVELS, level_of, llam, tlam, ulam
from i2am.levels.patch import sram
from i2am.maps.value import AttributionMaps
from i2am.pictures.matching import meet


def test_levels_by_name_are_the_levels() -> None:
    maps = run().maps
    assert set(LEVELS) == {"ULAM", "TLAM", "HLAM", "LLAM"}
    assert torch.equal(
        level_of(maps, "TLAM", "mass", Choice(image=1), groups=3).values, tlam(maps, "mass", Choice(image=1), groups=3).values
    )
    assert level_of(maps, "LLAM", groups=99).labels == llam(maps).labels
    with pytest.raises(I2AMError, match="no level 'XLAM'; there are ULAM"):
        level_of(maps, "XLAM")


def test_joined_heats_keep_every_panel_and_say_whose_it_is() -> None:
    maps = run().maps
    both = [tlam(maps, "G2R", Choice(image=i), groups=3) for i in (0, 1)]
    heat = join(both, [0, 1])
    assert heat.images == (0, 0, 0, 1, 1, 1)
    assert torch.equal(heat.values, torch.cat([h.values for h in both]))
    assert heat.unplaced == both[0].unplaced + both[1].unplaced
    assert heat.labels == tuple(f"image {i} · {label}" for i in (0, 1) for label in both[0].labels)
    last = heat.panel(5)
    assert (last.images, last.unplaced) == ((1,), (both[1].unplaced[2],))
    assert heat.panels([3, 0]).images == (1, 0)


def test_notes_that_not_all_images_share_go_to_their_labels() -> None:
    maps = run().maps
    both = [sram(maps, (3, 2), choice=Choice(image=i)) for i in (0, 1)]
    own = [next(note for note in h.notes if note.startswith(("peak", "diffuse"))) for h in both]
    assert own[0] != own[1]
    heat = join(both, [0, 1])
    assert [note in label for note, label in zip(own, heat.labels)] == [True, True]
    assert not set(own) & set(heat.notes)


def test_heats_of_different_kinds_are_not_joined() -> None:
    maps = run().maps
    with pytest.raises(I2AMError, match="one kind and size"):
        join([ulam(maps, "R2G"), ulam(maps, "G2R")], [0, 1])


def panels_of(images: tuple[int, ...]) -> Heat:
    values = torch.arange(len(images) * 12.0).reshape(len(images), 3, 4)
    return Heat(values, "R2G", "generated", "TLAM", tuple(map(str, range(len(images)))), size=(30, 40), images=images)


def test_pictures_for_all_for_an_image_for_a_panel() -> None:
    heat = panels_of((0, 0, 4, 4))
    assert meet(heat, ["a"])[1] == ["a"] * 4
    assert meet(heat, ["a", "b"])[1] == ["a", "a", "b", "b"]
    assert meet(heat, list("abcd"))[1] == list("abcd")
    repeated, pictures = meet(panels_of((0,)), list("abc"))
    assert pictures == list("abc")
    assert len(repeated.values) == len(repeated.labels) == 3
    assert torch.equal(repeated.values[2], repeated.values[0])


@pytest.mark.parametrize(("images", "count"), [((0, 0, 4, 4), 3), ((0, 0, 0), 2), ((0, 1), 4), ((0,), 0)])
def test_other_numbers_of_pictures_are_refused(images: tuple[int, ...], count: int) -> None:
    with pytest.raises(
        I2AMError, match=rf"^{count} pictures do not fit .* of {len(set(images))} image\(s\) with {len(images)} "
    ):
        meet(panels_of(images), ["x"] * count)


def test_images_by_index() -> None:
    maps = run().maps
    assert images_of(maps, -1) == [0, 1]
    assert images_of(maps, 1) == [1]
    for wrong in (2, -2):
        with pytest.raises(I2AMError, match=f"image {wrong} does not exist; the run had 2"):
            images_of(maps, wrong)


def test_masks_of_a_batch() -> None:
    masks = torch.stack([torch.zeros(4, 5), torch.ones(4, 5)])
    assert torch.equal(mask_of(masks, 1, 2, "mask"), torch.ones(4, 5))
    assert torch.equal(mask_of(masks[1], 1, 2, "mask"), torch.ones(4, 5))
    assert torch.equal(mask_of(masks[:, None].half(), 0, 2, "mask"), torch.zeros(4, 5))
    with pytest.raises(I2AMError, match=r"the mask holds 2 masks, but the run had 3 image\(s\)"):
        mask_of(masks, 0, 3, "mask")
    with pytest.raises(I2AMError, match=r"got \(2, 3, 4, 5\)"):
        mask_of(torch.zeros(2, 3, 4, 5), 0, 2, "mask")
    with pytest.raises(I2AMError, match=r"the region is a str, expected a Pillow picture, an array or a tensor; Image\.open"):
        mask_of("mask.png", 0, 2, "region")  # type: ignore[arg-type]


def test_a_squashed_picture_passes_and_a_turned_one_does_not() -> None:
    check_shape("picture", (512, 384), (512, 512), "image")
    check_shape("picture", (64, 48), (512, 384), "image")
    check_shape("picture", (10, 99), (0, 0), "image")  # unknown
    with pytest.raises(I2AMError, match="the picture is 512 x 384 pixels, but the image is 384 x 512"):
        check_shape("picture", (384, 512), (512, 384), "image")


def test_what_a_heat_shows_follows_its_threshold_and_scale() -> None:
    heat = panels_of((0, 0))
    each, shared = shown(heat), shown(replace(heat, scale="shared"))
    assert float(each[0].max()) == float(each[1].max()) == 1.0
    assert float(shared[0].max()) < 0.6
    cut = shown(replace(heat, threshold=0.5))
    assert torch.equal(cut, torch.where(each > 0.5, each, torch.zeros_like(each)))
    for wrong in ({"threshold": 1.0}, {"threshold": -0.1}, {"scale": "both"}, {"images": (0,)}):
        with pytest.raises(I2AMError):
            replace(heat, **wrong)  # type: ignore[arg-type]


def video(maps: AttributionMaps, said: object) -> AttributionMaps:
    """The same maps, of a run that says this of its frames."""
    out = copy.copy(maps)
    object.__setattr__(out, "run", replace(maps.run, extra={"latent_frames": said}))
    return out


@pytest.mark.parametrize(
    ("said", "frames"), [(2, 2), (1, 1), (3, 1), (0, 1), (-2, 1), (True, 1), ("2", 1), (2.0, 1), (None, 1), (4, 1)]
)
def test_how_many_images_are_one_videos(said: object, frames: int) -> None:
    """What a file says is believed only where it can be."""
    maps = run().maps
    assert maps.images == 2
    assert maps.frames == 1
    assert video(maps, said).frames == frames


def test_a_map_of_a_video_is_the_mean_over_its_frames() -> None:
    maps = run().maps
    own = [ulam(maps, "G2R", Choice(image=i)) for i in (0, 1)]
    assert over_frames(maps, own.__getitem__) is own[0]
    mean = over_frames(video(maps, 2), own.__getitem__)
    torch.testing.assert_close(mean.values, (own[0].values + own[1].values) / 2)
    assert mean.unplaced == pytest.approx([(own[0].unplaced[0] + own[1].unplaced[0]) / 2])
