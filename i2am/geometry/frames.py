"""Videos whose latent frames hold several frames each: which decoded frames belong to which image of a run.

The first frame of such a latent holds one frame of the video, each further one the next four (Wan 2.1). A run of several
videos has the latent frames of the first one, then those of the second, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ..errors import I2AMError

T = TypeVar("T")

EACH = 4
"""Frames of the video in a latent frame, but for the first."""


def decoded(frames: int) -> int:
    """How many frames a video of so many latent frames has.

    >>> decoded(1), decoded(21)
    (1, 81)
    """
    return EACH * (frames - 1) + 1


def latent_frame(frame: int) -> int:
    """The latent frame that holds a frame of the video, both counted from 0.

    >>> [latent_frame(i) for i in range(6)]
    [0, 1, 1, 1, 1, 2]
    """
    return -(-frame // EACH)


def last_of(image: int, frames: int) -> int:
    """The last frame, among all that were decoded, of an image of the run.

    >>> [last_of(image, 3) for image in range(6)]
    [0, 4, 8, 9, 13, 17]
    """
    video, own = divmod(image, frames)
    return video * decoded(frames) + EACH * own


def image_of(frame: int, frames: int) -> int:
    """The image of the run that a frame, counted among all that were decoded, belongs to.

    >>> [image_of(frame, 3) for frame in range(11)]
    [0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 4]
    """
    video, own = divmod(frame, decoded(frames))
    return video * frames + latent_frame(own)


def packed_frames(latent: int, images: int, pictures: int | None) -> int:
    """Latent frames of each video, if they hold several frames each, as far as the number of pictures tells it; else 1.

    Args:
        latent: frames of each latent.
        images: of all latents together.
        pictures: that were given; None: none.

    >>> packed_frames(3, 3, 9), packed_frames(3, 3, 3), packed_frames(37, 37, 124)
    (3, 3, 1)
    """
    return latent if pictures in (None, 1, images, images // latent * decoded(latent)) else 1


def name_of(image: int, frames: int, images: int) -> str:
    """What an image of a run is called.

    >>> name_of(4, 3, 6), name_of(2, 3, 3), name_of(2, 1, 3)
    ('video 1, latent frame 1', 'latent frame 2', 'image 2')
    """
    if frames == 1:
        return f"image {image}"
    video, own = divmod(image, frames)
    return f"latent frame {own}" if images <= frames else f"video {video}, latent frame {own}"


def per_image(pictures: Sequence[T], images: int, frames: int) -> list[T]:
    """A picture for each image of a run, where the whole decoded video was given: the last frame that each image holds.

    One picture for all, or one for each image already, stay as they are; and so does everything of a run of pictures.

    Args:
        pictures: given.
        images: of the run.
        frames: latent frames of each video; 1: the images are pictures.

    Raises:
        I2AMError: the number of pictures is none of these; says what they must be.

    >>> per_image("abcdefghi", 3, 3)
    ['a', 'e', 'i']
    """
    if frames == 1 or len(pictures) in (1, images):
        return list(pictures)
    whole = images // frames * decoded(frames)
    if len(pictures) != whole:
        raise I2AMError(
            f"{len(pictures)} pictures were given, but the run had {images} latent frames, which decode to {whole} frames; "
            f"connect the IMAGE of VAE Decode before any node that adds or drops frames, one picture for each latent frame, "
            f"or one for all"
        )
    return [pictures[last_of(image, frames)] for image in range(images)]
