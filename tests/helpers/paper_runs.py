"""Small runs of the paper's models by the families' descriptions: pictures, what stands behind the noise, DDIM and PLMS."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import paper_models as paper
import pytest
import torch
from PIL import Image
from torch import Tensor

SIDE = 128  # pixels of the small runs; the families' own sizes take minutes here
STEPS = 10
SIZES = paper.Sizes(
    width=32, context=48, clip_width=128, clip_layers=2, clip_heads=2, clip_mlp=256, patch=14, picture=56, mapper_layers=2,
    vae_width=32,
)  # fmt: skip
FAMILIES = ["paint-by-example", "dci-vton", "stableviton", "custom"]
SOME_SELDOM = [pytest.param(name, marks=pytest.mark.slow) if name == "paint-by-example" else name for name in FAMILIES]
"""For tests that take long; DCI-VTON does all that Paint-by-Example does, and more."""
SCALE = 0.18215
Encode = Callable[[Tensor], Tensor]
"""Pictures (B, H, W, 3) in 0-1 to a VAE's latents."""


def picture(seed: int, side: int = SIDE) -> Tensor:
    """(1, side, side, 3) in 0-1."""
    return torch.rand(1, side, side, 3, generator=torch.Generator().manual_seed(seed))


def hole() -> Tensor:
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, 37:90, 30:99] = 1
    return mask


def given_to(family: str) -> dict[str, Tensor]:
    """The pictures that a family needs."""
    if family == "custom":
        return {"agnostic": picture(4), "densepose": picture(5)}
    if family == "stableviton":
        return {"person": picture(4), "agnostic": picture(6), "densepose": picture(5), "inpaint_mask": hole()}
    return {"person": picture(4), "inpaint_mask": hole(), **({"warped": picture(5)} if family == "dci-vton" else {})}


def channels_of(family: str, vae: Encode, given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """What stands behind the noisy latents, and the latents that the sampler starts from, by the families' own descriptions."""

    def encode(shown: Tensor) -> Tensor:
        with torch.inference_mode():
            return vae(shown) * SCALE

    if family == "custom":
        return torch.cat([encode(given["agnostic"]), encode(given["densepose"])], 1), torch.zeros(1, 4, 16, 16)
    # bilinear at an eighth: the mean of the two middle rows and columns of a cell
    cells = (1 - hole()).reshape(1, 16, 8, 16, 8)[:, :, 3:5, :, 3:5].mean((2, 4))
    if family == "stableviton":
        return torch.cat([encode(given["agnostic"]), cells[:, None], encode(given["densepose"])], 1), encode(given["person"])
    mask = given["inpaint_mask"][..., None]
    filling = given["warped"] if family == "dci-vton" else torch.full_like(given["person"], 0.5)
    latents = encode(given["person"] * (1 - mask) + filling * mask)
    return torch.cat([latents, cells[:, None]], 1), latents if family == "dci-vton" else torch.zeros(1, 4, 16, 16)


def resized(family: str, shown: Tensor, side: int = SIDE) -> Tensor:
    """A picture (1, h, w, 3) of 8 bits at another size, as the family's authors resize it."""
    if shown.shape[1:3] == (side, side):
        return shown
    if family == "dci-vton":
        pixels = Image.fromarray((shown[0] * 255).round().byte().numpy()).resize((side, side), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(pixels))[None] / 255
    if family == "stableviton":  # OpenCV's linear: the four nearest pixels, in 8 bits
        grown = torch.nn.functional.interpolate(shown.movedim(-1, 1), (side, side), mode="bilinear")
        return (grown * 255).round().movedim(1, -1) / 255
    return shown


def seen(family: str, shown: Tensor) -> Tensor:
    """What the image encoder sees of a reference (1, 56, 56, 3) without a mask: (1, 3, 56, 56)."""
    if family in ("paint-by-example", "custom"):  # at its own size already
        return shown.movedim(-1, 1)
    at_size = resized(family, shown).movedim(-1, 1)
    return torch.nn.functional.interpolate(at_size, (SIZES.picture, SIZES.picture), mode="bilinear")


def on_vae(vae: Encode, shown: Tensor) -> Tensor:
    """StableVITON's garment, of another size, as scaled latents."""
    with torch.inference_mode():
        return vae(resized("stableviton", shown)) * SCALE


def predicted(state: dict[str, Tensor], x: Tensor, t: int, context: Tensor, garment: Tensor | None) -> Tensor:
    """The noise that the model sees, in float64."""
    time = torch.tensor([t])
    hints = None if garment is None else paper.control(state, x, garment, time, context)
    return paper.unet(state, x, time, context, hints).double()


def ddim(
    state: dict[str, Tensor],
    known: Tensor,
    start: Tensor,
    noise: Tensor,
    contexts: list[Tensor],
    cfg: float,
    garment: Tensor | None,
    first: int | None = None,
    last: float = 1.0,
    plms: bool = False,
) -> Tensor:
    """DDIM with eta 0 over timesteps 901, 801, … 1, from the start noised to ``first`` and to ``last`` as the end's ᾱ.

    With ``plms`` the step goes along a mix of the noise of up to four steps, and the first one along the mean of the noise
    here and where it would lead.
    """
    alphas = state["alphas_cumprod"].double()
    steps = list(range(1, 1000, 1000 // STEPS))[::-1]
    begin = alphas[steps[0] if first is None else first]
    z = begin.sqrt() * start + (1 - begin).sqrt() * noise

    def guided(z: Tensor, t: int) -> Tensor:
        model = [predicted(state, torch.cat([z.float(), known], 1), t, c, garment) for c in contexts]
        return model[1] + cfg * (model[0] - model[1])

    past: list[Tensor] = []
    for i, t in enumerate(steps):
        eps = used = guided(z, t)
        a, after = alphas[t], alphas[steps[i + 1]] if i + 1 < len(steps) else torch.tensor(last)

        def moved(eps: Tensor, z: Tensor = z, a: Tensor = a, after: Tensor = after) -> Tensor:
            return after.sqrt() * (z - (1 - a).sqrt() * eps) / a.sqrt() + (1 - after).sqrt() * eps

        if plms and len(past) == 0:
            used = (eps + guided(moved(eps), steps[i + 1])) / 2
        elif plms and len(past) == 1:
            used = (3 * eps - past[-1]) / 2
        elif plms and len(past) == 2:
            used = (23 * eps - 16 * past[-1] + 5 * past[-2]) / 12
        elif plms:
            used = (55 * eps - 59 * past[-1] + 37 * past[-2] - 9 * past[-3]) / 24
        past.append(eps)
        z = moved(used)
    return z
