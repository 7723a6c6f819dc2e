"""A data set's paired pairs as training samples: every person with the garment that they wear."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import DatasetError, I2AMError
from ..geometry.resample import Size
from ..models.pictures import mask_to_size, to_size
from .inspection import find_missing
from .kinds import AUTO, open_data_set
from .masks import mask_tensor
from .pairs import Pair
from .pictures import colours

PICTURES = ("person", "agnostic", "densepose", "reference")
SIDE = 64
"""Picture sides divide by it: 8 by the autoencoder, then 8 by the U-Net."""
WHITE = 128
"""Where a mask's white begins, of 255."""


class TrainingPairs(Dataset[dict[str, Tensor]]):
    """One split of a data set of any kind in `kinds.KINDS`.

    A sample is, float32 in 0-1: "person", "agnostic", "densepose" (3, H, W), "cloth" (3, R, R) squashed as the image
    encoder takes it, and "index" (); with `masks` also "inpaint_mask" (1, H, W), 1 = repaint, and "cloth_mask"
    (1, H, W), 1 = the garment, which is all ones where the data set has none.

    Training is paired: of VITON-HD's list, whose second names matter to unpaired tests alone, the persons count.

    Args:
        folder: the data set's, such as VITON-HD's, which holds ``train_pairs.txt`` and ``train/``.
        size: (H, W) of the person's pictures, sides in multiples of 64.
        cloth_side: R, in pixels.
        masks: read masks too; then the data set must have the inpainting masks.
        split: "train" or "test".
        kind: a name in `kinds.KINDS`, or "auto".
        pair_list: a list of pairs, of persons in their own garments, to take instead of the data set's own.

    Raises:
        DatasetError: the list of pairs, a folder or pictures are missing, or a size does not fit; when a sample is read,
            also a picture that is none, or a mask without an inside or an outside.
    """

    def __init__(
        self,
        folder: Path,
        size: Size,
        cloth_side: int = 224,
        masks: bool = False,
        split: str = "train",
        kind: str = AUTO,
        pair_list: Path | None = None,
    ) -> None:
        if min(size) < SIDE or size[0] % SIDE or size[1] % SIDE:
            nearest = " ".join(str(max(SIDE, round(side / SIDE) * SIDE)) for side in size)
            raise DatasetError(f"the picture size {size[0]} x {size[1]} does not divide by {SIDE}; take for example {nearest}")
        self.folder, self.size, self.cloth_side, self.masks = folder, size, cloth_side, masks
        self.pairs = open_data_set(folder, kind).pairs("paired" if pair_list is None else pair_list, split)
        others = [pair.name for pair in self.pairs if pair_list is not None and not pair.paired]
        if others:
            raise DatasetError(
                f"{pair_list} gives {len(others)} of {len(self.pairs)} persons another's garment, first {others[0]}; training "
                f"takes persons in their own garments: leave these lines out"
            )
        find_missing(self.pairs, PICTURES).keep(self.pairs)
        if masks:
            self._check_masks()

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        pair = self.pairs[index]
        pictures = {name: colours(picture) for name, picture in _opened(pair, PICTURES).items()}
        out = {name: to_size(pictures[name], self.size)[0] for name in ("person", "agnostic", "densepose")}
        out["cloth"] = to_size(pictures["reference"], (self.cloth_side, self.cloth_side))[0]
        out["index"] = torch.tensor(index)
        if self.masks:
            out["inpaint_mask"] = self._mask(pair, "inpaint_mask", outside=True)
            whole = torch.ones(1, *self.size)
            has_mask = "reference_mask" in pair.files
            out["cloth_mask"] = self._mask(pair, "reference_mask", outside=False) if has_mask else whole
        return out

    def _mask(self, pair: Pair, name: str, *, outside: bool) -> Tensor:
        """(1, H, W), white from `WHITE` on before it is resized."""
        mask = (mask_tensor(_opened(pair, (name,))[name]) >= WHITE / 255).float()
        fitted = mask_to_size(mask, self.size)[0]
        _check_sides(fitted, pair.path(name), outside=outside)
        return fitted

    def _check_masks(self) -> None:
        needs = ["inpaint_mask"]
        if any("reference_mask" in pair.files for pair in self.pairs):
            needs.append("reference_mask")
        try:
            find_missing(self.pairs, needs).keep(self.pairs)
        except DatasetError as error:
            raise DatasetError(f"{error}; the attention losses need the masks") from None


def _opened(pair: Pair, names: tuple[str, ...]) -> dict[str, Image.Image]:
    try:
        return pair.open(names)
    except I2AMError as error:
        raise DatasetError(f"the pair {pair.name}: {error}") from error


def _check_sides(mask: Tensor, path: Path, *, outside: bool) -> None:
    if float(mask.amax()) <= 0:
        raise DatasetError(f"the mask {path} is all black; expected white where the garment is: mend it or drop its pair")
    if outside and float(mask.amin()) >= 1:
        raise DatasetError(f"the mask {path} is all white; expected black where the picture stays: mend it or drop its pair")
