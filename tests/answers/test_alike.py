"""Pictures that are others than they are said to be: told by the small ones that the recording kept."""

from __future__ import annotations

import pytest
import torch
from drawing import photo
from edit_run import edit_run
from PIL import Image

from i2am.answers import answer
from i2am.answers.alike import apart, check_pictures, likeness
from i2am.errors import I2AMError
from i2am.maps.value import AttributionMaps


@pytest.fixture(scope="module")
def maps() -> AttributionMaps:
    """A run with two references, whose small pictures were kept."""
    found = edit_run()
    sizes = [reference.grid.picture for reference in found.references]
    return found.with_thumbnails(
        {
            name: torch.frombuffer(bytearray(photo(*size, seed=i).tobytes()), dtype=torch.uint8).view(*size, 3)
            for i, (name, size) in enumerate(zip(("reference", "reference 2"), sizes, strict=True))
        }
    )


def given(maps: AttributionMaps, *seeds: int) -> list[Image.Image]:
    """Pictures of the references' sizes, which are of those seeds."""
    sizes = [reference.grid.picture for reference in maps.references]
    kept = [Image.fromarray(maps.thumbnails[name].numpy()) for name in ("reference", "reference 2")]
    return [
        (kept[seed] if seed < 2 else photo(64, 48, seed)).resize((size[1], size[0]))
        for seed, size in zip(seeds, sizes, strict=True)
    ]


def verdicts(maps: AttributionMaps, references: list[Image.Image | None], generated: Image.Image | None = None) -> list[str]:
    picture = generated or photo(*maps.generated_size, seed=9)
    return [one.verdict for one in answer(maps, picture, references).said if one.topic == "wires"]


def test_pictures_in_their_order_are_left_alone(maps: AttributionMaps) -> None:
    assert verdicts(maps, [*given(maps, 0, 1)]) == []
    assert verdicts(maps, [None, given(maps, 0, 1)[1]]) == []
    faded = [picture.point(lambda value: 60 + value // 2) for picture in given(maps, 0, 1)]  # as previews of latents are
    assert verdicts(maps, [*faded]) == []


def test_swapped_pictures_are_told(maps: AttributionMaps) -> None:
    assert verdicts(maps, [*given(maps, 1, 0)]) == ["order", "order"]
    assert verdicts(maps, [None, given(maps, 1, 0)[1]]) == ["order"]


def test_a_picture_of_something_else_is_told(maps: AttributionMaps) -> None:
    assert verdicts(maps, [*given(maps, 5, 1)]) == ["reference"]
    assert verdicts(maps, [Image.new("RGB", given(maps, 0, 1)[0].size), None]) == []  # plain: nothing to know it by


def test_the_kept_picture_of_a_reference_as_the_generated_one(maps: AttributionMaps) -> None:
    """Also where its picture is not given, or another one is, as with two swapped wires."""
    small = Image.fromarray(maps.thumbnails["reference"].numpy())
    assert verdicts(maps, [None, None], small) == ["image"]
    with pytest.raises(I2AMError, match="image is the picture of reference 1"):
        check_pictures(maps, small, given(maps, 0, 1)[0], 0)


def test_shapes_and_likeness() -> None:
    picture = photo(64, 48)
    assert apart(picture, picture.resize((96, 128))) < 0.02
    assert apart(picture, picture.resize((64, 64))) == 1
    assert (likeness(picture, picture.resize((64, 64))) or 0) > 0.97
    assert abs(likeness(picture, photo(64, 48, 7)) or 0) < 0.4
    assert likeness(picture, Image.new("RGB", (4, 4))) is None
