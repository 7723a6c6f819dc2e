"""The same details on two pictures, as a classical matcher finds them: OpenCV's SIFT."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...pictures.colours import opencv
from ...scores.pointing import Match

RATIO = 0.8
"""A match's distance must be below this part of the second best one's (Lowe 2004)."""

Picture = NDArray[np.uint8]


def keypoint_matches(
    generated: Picture, reference: Picture, inpaint_mask: Tensor | None = None, reference_mask: Tensor | None = None
) -> list[Match]:
    """Details that SIFT finds on both pictures, each the other's best match and clearly better than the second best.

    Args:
        generated: (H, W, 3) RGB.
        reference: the same, of any size.
        inpaint_mask: (H, W), of the generated picture; details outside of it are left out. None: all count.
        reference_mask: the same, of the reference.
    """
    cv2 = opencv()
    sift = cv2.SIFT_create()
    (points, described), (others, other) = (
        sift.detectAndCompute(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), None) for picture in (generated, reference)
    )
    if min(len(points), len(others)) < 2:
        return []
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    back = {match.queryIdx: match.trainIdx for match in matcher.match(other, described)}
    found = []
    for best, second in matcher.knnMatch(described, other, k=2):
        if best.distance < RATIO * second.distance and back.get(best.trainIdx) == best.queryIdx:
            a, b = points[best.queryIdx].pt, others[best.trainIdx].pt
            if _on(a, inpaint_mask, generated) and _on(b, reference_mask, reference):
                found.append(Match(a, b))
    return found


def _on(point: tuple[float, float], mask: Tensor | None, picture: Picture) -> bool:
    """Whether a point (x, y) lies in the picture, and on its mask, if there is one."""
    x, y = int(point[0]), int(point[1])
    if min(point) < 0 or x >= picture.shape[1] or y >= picture.shape[0]:
        return False
    return mask is None or float(mask[y, x]) >= 0.5
