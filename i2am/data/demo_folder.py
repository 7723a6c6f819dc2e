"""The demo's drawn persons and garments as a VITON-HD folder, so that training can be tried without any data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ..drawn.draw import draw_pairs
from ..drawn.seeds import HELD_OUT
from ..drawn.spec import draw_pair

AT_ONCE = 8


def write_demo_folder(folder: Path, pairs: int, test_pairs: int = 0, first: int = 0) -> Path:
    """Draw ``pairs`` training pairs (seeds ``first`` and up) and ``test_pairs`` held-out ones; files that exist stay.

    Persons are 96 x 128 pixels, garments 112 x 160, in the folders and under the names of VITON-HD (`viton_hd.FOLDERS`).

    Raises:
        ValueError: the training seeds would reach into the held-out ones.
    """
    if first + pairs > HELD_OUT:
        raise ValueError(f"seeds {first} to {first + pairs - 1} reach into the held-out ones, which begin at {HELD_OUT}")
    for split, start, count in (("train", first, pairs), ("test", HELD_OUT, test_pairs)):
        names = {seed: f"{seed:08d}_00" for seed in range(start, start + count)}
        missing = [seed for seed, name in names.items() if not (folder / split / "image" / f"{name}.jpg").is_file()]
        for i in tqdm(range(0, len(missing), AT_ONCE), desc=f"drawing {split} pairs", disable=not missing):
            _write_pairs(folder / split, missing[i : i + AT_ONCE], names)
        if count:
            lines = "".join(f"{name}.jpg {name}.jpg\n" for name in names.values())
            (folder / f"{split}_pairs.txt").write_text(lines, encoding="utf-8")
    return folder


def _write_pairs(root: Path, seeds: list[int], names: dict[int, str]) -> None:
    drawn = draw_pairs([draw_pair(seed) for seed in seeds])
    for i, seed in enumerate(seeds):
        pictures = {  # the person last, whose file says that the pair is whole
            f"cloth/{names[seed]}.jpg": drawn.reference,
            f"cloth-mask/{names[seed]}.jpg": drawn.reference_mask,
            f"agnostic-v3.2/{names[seed]}.jpg": drawn.agnostic,
            f"agnostic-mask/{names[seed]}_mask.png": drawn.inpaint_mask,
            f"image-densepose/{names[seed]}.jpg": drawn.densepose,
            f"image/{names[seed]}.jpg": drawn.person,
        }
        for title, batch in pictures.items():
            path = root / title
            path.parent.mkdir(parents=True, exist_ok=True)
            _picture(batch[i]).save(path, quality=95)


def _picture(picture: Tensor) -> Image.Image:
    """(3 or 1, H, W) in 0-1."""
    pixels = (picture.clamp(0, 1) * 255).round().byte().movedim(0, -1).numpy()
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))
