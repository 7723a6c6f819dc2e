"""The demo's drawn persons and garments as a VITON-HD folder, to try training and evaluation without any data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ..drawn.draw import draw_pairs
from ..drawn.seeds import HELD_OUT
from ..drawn.spec import PairSpec, draw_pair
from .pairs import JOINT

AT_ONCE = 8
QUALITY = 95
"""Of JPEGs."""


def write_demo_folder(folder: Path, pairs: int, test_pairs: int = 0, first: int = 0) -> Path:
    """Draw ``pairs`` training pairs (seeds ``first`` and up) and ``test_pairs`` held-out ones; files that exist stay.

    Persons are 96 x 128 pixels, garments 112 x 160, in the folders and under the names of VITON-HD (`viton_hd.PLACES`). As
    there, test_pairs.txt gives every person the next one's garment; how they look in it is drawn too, in test/image-unpaired.

    Raises:
        ValueError: the training seeds would reach into the held-out ones.
    """
    if first + pairs > HELD_OUT:
        raise ValueError(f"seeds {first} to {first + pairs - 1} reach into the held-out ones, which begin at {HELD_OUT}")
    train, test = range(first, first + pairs), range(HELD_OUT + first, HELD_OUT + first + test_pairs)
    for split, seeds in (("train", train), ("test", test)):
        missing = [seed for seed in seeds if not (folder / split / "image" / f"{_name(seed)}.jpg").is_file()]
        for i in tqdm(range(0, len(missing), AT_ONCE), desc=f"drawing {split} pairs", disable=not missing):
            _write_pairs(folder / split, missing[i : i + AT_ONCE])
    others = [*test[1:], *test[:1]]
    for split, lines in (("train", list(zip(train, train, strict=True))), ("test", list(zip(test, others, strict=True)))):
        if lines:
            text = "".join(f"{_name(person)}.jpg {_name(garment)}.jpg\n" for person, garment in lines)
            (folder / f"{split}_pairs.txt").write_text(text, encoding="utf-8")
    if test_pairs > 1:
        _write_truth(folder / "test" / "image-unpaired", list(zip(test, others, strict=True)))
    return folder


def _name(seed: int) -> str:
    return f"{seed:08d}_00"


def _write_pairs(root: Path, seeds: list[int]) -> None:
    drawn = draw_pairs([draw_pair(seed) for seed in seeds])
    for i, name in enumerate(map(_name, seeds)):
        pictures = {  # the person last, whose file says that the pair is whole
            f"cloth/{name}.jpg": drawn.reference,
            f"cloth-mask/{name}.jpg": drawn.reference_mask,
            f"agnostic-v3.2/{name}.jpg": drawn.agnostic,
            f"agnostic-mask/{name}_mask.png": drawn.inpaint_mask,
            f"image-densepose/{name}.jpg": drawn.densepose,
            f"image/{name}.jpg": drawn.person,
        }
        for title, batch in pictures.items():
            _save(batch[i], root / title)


def _write_truth(root: Path, lines: list[tuple[int, int]]) -> None:
    """Persons in the garments of their lines."""
    paths = {line: root / f"{_name(line[0])}{JOINT}{_name(line[1])}.jpg" for line in lines}
    missing = [line for line in lines if not paths[line].is_file()]
    for i in tqdm(range(0, len(missing), AT_ONCE), desc="drawing the unpaired truth", disable=not missing):
        some = missing[i : i + AT_ONCE]
        for line, person in zip(some, draw_pairs([_wearing(*line) for line in some]).person, strict=True):
            _save(person, paths[line])


def _wearing(person: int, garment: int) -> PairSpec:
    other = draw_pair(garment)
    return replace(draw_pair(person).wearing(other.garment), flat=other.flat)


def _save(picture: Tensor, path: Path) -> None:
    """(3 or 1, H, W) in 0-1, to a file that is whole once it has its name."""
    pixels = (picture.clamp(0, 1) * 255).round().byte().movedim(0, -1).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".part{path.suffix}")
    Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)).save(part, quality=QUALITY)
    part.replace(path)
