"""Which decoded frames belong to which latent frame, of one video and of several."""

from __future__ import annotations

import pytest

from i2am.errors import I2AMError
from i2am.geometry.frames import EACH, decoded, image_of, last_of, latent_frame, name_of, per_image


@pytest.mark.parametrize("frames", [1, 2, 5, 21])
@pytest.mark.parametrize("videos", [1, 3])
def test_each_decoded_frame_belongs_to_one_image(frames: int, videos: int) -> None:
    owners = [image_of(i, frames) for i in range(videos * decoded(frames))]
    assert owners == sorted(owners)
    for image in range(videos * frames):
        own = [i for i, owner in enumerate(owners) if owner == image]
        assert len(own) == (1 if image % frames == 0 else EACH)
        assert own[-1] == last_of(image, frames)
    assert [latent_frame(i) for i in range(decoded(frames))] == owners[: decoded(frames)]


def test_a_picture_for_each_image() -> None:
    assert per_image(range(18), 6, 3) == [0, 4, 8, 9, 13, 17]
    assert per_image([7], 6, 3) == [7]
    assert per_image(range(6), 6, 3) == [*range(6)]
    assert per_image(range(4), 2, 1) == [*range(4)], "of pictures, nothing is changed and nothing refused here"
    for count in (0, 2, 8, 10):
        with pytest.raises(I2AMError, match=rf"{count} pictures.*3 latent frames, which decode to 9 frames; connect"):
            per_image(range(count), 3, 3)


def test_names() -> None:
    assert [name_of(i, 2, 4) for i in range(4)] == [f"video {v}, latent frame {f}" for v in (0, 1) for f in (0, 1)]
