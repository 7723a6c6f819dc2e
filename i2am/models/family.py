"""What a family of models is: its pictures and sizes, its U-Net's input channels, and how its authors sample it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ..geometry.layout import Layout
from ..geometry.resample import Size
from .resizing import Resize, by_area, smooth

LATENT_CHANNELS = 4
LATENT_SCALE = 0.18215
"""What Stable Diffusion 1's latents are multiplied by after the VAE."""

KEEP_MASK = "keep_mask"
"""The input channel with "inpaint_mask" turned round: 1 = keep."""
REPAINT_MASK = "repaint_mask"
"""The input channel with "inpaint_mask" as it is: 1 = repaint."""
MASKS = (KEEP_MASK, REPAINT_MASK)

Pictures = Mapping[str, Tensor]
"""Pictures (B, 3, H, W) in 0-1, "reference" among them, and masks (B, 1, H, W), by name: "inpaint_mask", 1 = repaint, and
"hands_mask", 1 = the person's hands and arms."""

See = Callable[[Tensor, Tensor | None, Size, Size], Tensor]
"""References (B, 3, H, W) in 0-1, masks of their objects (B, 1, H, W) or None, the sizes of the generated picture and of the
picture that the encoder takes, to that picture, (B, 3, h, w)."""


def see_whole(reference: Tensor, _masks: Tensor | None, _size: Size, seen: Size) -> Tensor:
    """The whole reference, squashed with antialias."""
    return smooth(reference, seen)


@dataclass(frozen=True)
class PartPrefix:
    """How the keys of one part of a checkpoint begin.

    Attributes:
        prefix: in the authors' layout, such as "control_model.".
        part: the part's name here, such as "control".
        cut: what is cut off the keys; None: the whole prefix.
    """

    prefix: str
    part: str
    cut: str | None = None


@dataclass(frozen=True)
class Companion:
    """A network that runs beside the U-Net.

    Attributes:
        network: which one, of `tryon.model.COMPANIONS` and of the ComfyUI loader's table of the same name.
        inputs: pictures whose latents it takes; they stand behind the U-Net's own channels.
        weights: where its parts stand in a checkpoint.
        layers: for latents of (h, w), what the keys of its attention layers are, by layer name in network order.
    """

    network: str
    inputs: tuple[str, ...]
    weights: tuple[PartPrefix, ...]
    layers: Callable[[Size], dict[str, Layout]]


@dataclass(frozen=True)
class Family:
    """The facts of one family of models; `families.FAMILIES` lists those that are read from checkpoints.

    Attributes:
        name: on the command line, in nodes and in maps, such as "dci-vton".
        title: in running text, such as "DCI-VTON" or "the custom model".
        channels: input channels of its U-Net, the noisy latents' four included.
        inputs: what stands behind the noisy latents, in order: pictures, 4 channels of latents each, and `KEEP_MASK` or
            `REPAINT_MASK`, 1 channel.
        size: (H, W) of the generated picture in pixels.
        shown: (H, W) that its authors bring the finished picture to; None: they leave it.
        needs: pictures that must be given beside the reference and "agnostic" (or "person" with "inpaint_mask").
        takes: pictures that it can also use.
        composed: pictures that are made of the given ones, by name.
        start: the picture whose latents the sampler starts from; None: it starts from noise alone.
        cfg: the authors' scale of classifier-free guidance; 1 is without.
        steps: the authors' number of sampler steps.
        sampler: the authors', "ddim" or "plms".
        resize: how pictures come to `size`.
        resize_mask: how masks do; before anything is made of them.
        see: what the reference encoder sees of the reference.
        crops_reference: whether the reference encoder sees the reference cut to its mask, where one is given.
        single_token: whether the U-Net attends to the vision model's class token alone, mapped by transformer blocks;
            otherwise it attends to all of its tokens, each projected by one linear layer.
        companion: the network that runs beside the U-Net; None: there is none.
        leftovers: how the keys begin that only its training needed. They tell its checkpoints from those of a family with
            as many channels.
        factor: pixels of the picture per latent cell, along each side.
        scale: what latents are multiplied by after the VAE.

    Raises:
        ValueError: `channels` is not what `inputs` add up to.
    """

    name: str
    title: str
    channels: int
    inputs: tuple[str, ...]
    size: Size
    needs: tuple[str, ...]
    shown: Size | None = None
    takes: tuple[str, ...] = ()
    composed: Mapping[str, Callable[[Pictures], Tensor]] = field(default_factory=dict)
    start: str | None = None
    cfg: float = 5.0
    steps: int = 50
    sampler: str = "ddim"
    resize: Resize = smooth
    resize_mask: Resize = by_area
    see: See = see_whole
    crops_reference: bool = False
    single_token: bool = True
    companion: Companion | None = None
    leftovers: tuple[str, ...] = ()
    factor: int = 8
    scale: float = LATENT_SCALE

    def __post_init__(self) -> None:
        total = LATENT_CHANNELS + sum(1 if name in MASKS else LATENT_CHANNELS for name in self.inputs)
        if total != self.channels:
            raise ValueError(f"{self.name} says {self.channels} channels, but its inputs and the noisy latents have {total}")

    @property
    def known(self) -> tuple[str, ...]:
        """All that stands behind the noisy latents: the U-Net's inputs, then the companion's."""
        return (*self.inputs, *(self.companion.inputs if self.companion else ()))

    @property
    def marks(self) -> tuple[str, ...]:
        """How keys begin that only this family's checkpoints have."""
        weights = self.companion.weights if self.companion else ()
        return (*self.leftovers, *(place.prefix for place in weights))

    def latent_size(self, size: Size) -> Size:
        """(h, w) of the latents of a picture of ``size``."""
        return size[0] // self.factor, size[1] // self.factor

    def shown_size(self, size: Size) -> Size:
        """(H, W) to show a generated picture of ``size`` at: `shown`, in proportion."""
        height, width = self.shown or self.size
        return round(size[0] * height / self.size[0]), round(size[1] * width / self.size[1])
