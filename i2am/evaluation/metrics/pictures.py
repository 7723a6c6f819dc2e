"""A generated picture against the true one: SSIM, PSNR and LPIPS, as torchmetrics has them."""

from __future__ import annotations

import math

from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from ..facts import Lacking
from .networks import Lpips

Found = tuple[dict[str, float], dict[str, str]]
"""Values, and why others are missing, by name."""
SAME = "the generated picture is the true one, so its PSNR is infinite"


def of_picture(generated: Tensor, truth: Tensor, lpips: Lpips | Lacking) -> Found:
    """SSIM (Gaussian window of 11, per channel), PSNR in dB and LPIPS.

    Args:
        generated: (3, H, W) in 0-1.
        truth: the same.
        lpips: the network, or why there is none.
    """
    made, true = generated[None], truth[None]
    values = {"ssim": float(structural_similarity_index_measure(made, true, data_range=1.0))}  # type: ignore[arg-type]
    unavailable = {}
    psnr = float(peak_signal_noise_ratio(made, true, data_range=1.0))
    if math.isfinite(psnr):
        values["psnr"] = psnr
    else:
        unavailable["psnr"] = SAME
    if isinstance(lpips, Lacking):
        unavailable["lpips"] = lpips.reason
    else:
        values["lpips"] = lpips(generated, truth)
    return values, unavailable
