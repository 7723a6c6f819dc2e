"""A VITON-HD folder as paired training samples: every person with the garment that they wear."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import DatasetError, I2AMError
from ..geometry.resample import Size
from ..models.pictures import mask_to_size, to_size
from .masks import mask_tensor, open_mask
from .pictures import colours, open_picture

FOLDERS: dict[str, tuple[str, ...]] = {
    "person": ("image",),
    "cloth": ("cloth",),
    "agnostic": ("agnostic-v3.2", "agnostic"),
    "densepose": ("image-densepose",),
    "inpaint_mask": ("agnostic-mask", "agnostic_mask"),
    "cloth_mask": ("cloth-mask", "cloth_mask"),
}
"""What each picture's folder may be called, best name first."""
MASKS = ("inpaint_mask", "cloth_mask")
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
SIDE = 64
"""Picture sides divide by it: 8 by the autoencoder, then 8 by the U-Net."""
WHITE = 128
"""Where a mask's white begins, of 255."""
LISTED = 3
"""How many missing pictures an error names."""


@dataclass(frozen=True)
class Sample:
    """Where one person's pictures lie, by the names of `FOLDERS`."""

    name: str
    paths: dict[str, Path]


class VitonHD(Dataset[dict[str, Tensor]]):
    """One split of a VITON-HD folder, as it unpacks.

    A sample is, float32 in 0-1: "person", "agnostic", "densepose" (3, H, W), "cloth" (3, R, R) squashed as the image
    encoder takes it, and "index" (); with `masks` also "inpaint_mask" (1, H, W), 1 = repaint, and "cloth_mask"
    (1, H, W), 1 = the garment, which is all ones where the folder has none.

    Training is paired: the garment is the person's own, ``cloth/X`` for ``image/X``; the second name of a line in the
    pairs file, which matters to unpaired tests alone, is not read.

    Args:
        folder: holds ``train_pairs.txt`` and ``train/``.
        size: (H, W) of the person's pictures, sides in multiples of 64.
        cloth_side: R, in pixels.
        masks: read masks too; then the folder must have agnostic-mask.
        split: "train" or "test".

    Raises:
        DatasetError: the pairs file, a folder or pictures are missing, or a size does not fit; when a sample is read,
            also a picture that is none, or a mask without an inside or an outside.
    """

    def __init__(self, folder: Path, size: Size, cloth_side: int = 224, masks: bool = False, split: str = "train") -> None:
        if min(size) < SIDE or size[0] % SIDE or size[1] % SIDE:
            nearest = " ".join(str(max(SIDE, round(side / SIDE) * SIDE)) for side in size)
            raise DatasetError(f"the picture size {size[0]} x {size[1]} does not divide by {SIDE}; take for example {nearest}")
        self.folder, self.size, self.cloth_side, self.masks = folder, size, cloth_side, masks
        names = read_pairs(folder, split)
        self.samples = _samples(folder / split, names, masks)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = self.samples[index]
        pictures = {name: _read(path, "L" if name in MASKS else "RGB") for name, path in sample.paths.items()}
        out = {name: to_size(pictures[name], self.size)[0] for name in ("person", "agnostic", "densepose")}
        out["cloth"] = to_size(pictures["cloth"], (self.cloth_side, self.cloth_side))[0]
        out["index"] = torch.tensor(index)
        if self.masks:
            out["inpaint_mask"] = mask_to_size(pictures["inpaint_mask"], self.size)[0]
            _check_mask(out["inpaint_mask"], sample.paths["inpaint_mask"], outside=True)
            if "cloth_mask" in pictures:
                out["cloth_mask"] = mask_to_size(pictures["cloth_mask"], self.size)[0]
                _check_mask(out["cloth_mask"], sample.paths["cloth_mask"], outside=False)
            else:
                out["cloth_mask"] = torch.ones(1, *self.size)
        return out


def read_pairs(folder: Path, split: str = "train") -> list[str]:
    """The persons' names without endings, in the order of ``train_pairs.txt`` ("person.jpg cloth.jpg" a line), each once.

    Raises:
        DatasetError: there is no such file, or it is no list of pairs.
    """
    path = folder / f"{split}_pairs.txt"
    if not path.is_file():
        above = folder.parent / path.name
        hint = f"; it lies in {folder.parent}: give that folder" if above.is_file() else ""
        raise DatasetError(
            f"there is no {path.name} in {folder}; expected a VITON-HD folder as it unpacks, with {path.name} beside "
            f"{split}/image, {split}/cloth and others{hint}"
        )
    names: dict[str, None] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not a text file ({error.reason}); expected lines of two picture names") from error
    for number, line in enumerate(lines, 1):
        words = line.split()
        if len(words) > 2:
            raise DatasetError(
                f"{path}, line {number} holds {len(words)} words ({line.strip()[:60]!r}); expected two names without spaces, "
                f"person and garment"
            )
        if words:
            names[Path(words[0]).stem] = None
    if not names:
        raise DatasetError(f"{path} names no pair; expected lines of two picture names, person and garment")
    return list(names)


def _samples(root: Path, names: list[str], masks: bool) -> list[Sample]:
    needed = [name for name in FOLDERS if masks or name not in MASKS]
    found = {name: _folder(root, name) for name in needed}
    lacking = [name for name, folder in found.items() if folder is None and name != "cloth_mask"]
    if lacking:
        expected = ", ".join(f"{FOLDERS[name][0]} ({name.replace('_', ' ')})" for name in lacking)
        seen = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())) if root.is_dir() else "no such folder"
        why = "; the attention losses need the masks" if set(lacking) <= set(MASKS) else ""
        raise DatasetError(f"{root} has no folder {expected}; it holds: {seen or 'no folders'}{why}; unpack the data set whole")
    indices = {name: _by_stem(folder) for name, folder in found.items() if folder is not None}
    titles = {name: folder.name for name, folder in found.items() if folder is not None}
    samples, missing = [], []
    for name in names:
        paths = {kind: index.get(name) for kind, index in indices.items()}
        missing += [f"{titles[kind]}/{name}" for kind, path in paths.items() if path is None]
        samples.append(Sample(name, {kind: path for kind, path in paths.items() if path is not None}))
    if missing:
        more = f" and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
        raise DatasetError(
            f"{root} lacks {len(missing)} pictures that the pairs file names: {', '.join(missing[:LISTED])}{more} "
            f"({', '.join(ENDINGS)}); unpack the data set whole, or take their lines out of the pairs file"
        )
    return samples


def _folder(root: Path, name: str) -> Path | None:
    return next((root / title for title in FOLDERS[name] if (root / title).is_dir()), None)


def _by_stem(folder: Path) -> dict[str, Path]:
    """A folder's pictures by name without ending; a mask ``X_mask`` also counts as X's."""
    pictures = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in ENDINGS}
    return {stem.removesuffix("_mask"): path for stem, path in pictures.items()} | pictures


def _read(path: Path, mode: str) -> Tensor:
    """A picture as (1, H, W, 3) in 0-1, or a mask as (1, H, W) of 0 and 1, white from 128 on; both upright."""
    try:
        if mode == "L":
            return (mask_tensor(open_mask(path)) >= WHITE / 255).float()
        return colours(open_picture(path))
    except I2AMError as error:
        raise DatasetError(f"{path} cannot be read as a picture ({error}); copy or unpack it again") from error


def _check_mask(mask: Tensor, path: Path, *, outside: bool) -> None:
    if float(mask.amax()) <= 0:
        raise DatasetError(f"the mask {path} is all black; expected white where the garment is: mend it or drop its pair")
    if outside and float(mask.amin()) >= 1:
        raise DatasetError(f"the mask {path} is all white; expected black where the picture stays: mend it or drop its pair")
