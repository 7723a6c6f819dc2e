"""The figures of an evaluation of the edit model, from the results of its units."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ....models.edit.family import LATE, TAUGHT
from ....models.edit.model import FILE
from ..figures import rounded
from .changes import change_figures
from .pictures import quality_figures
from .pointing import pointing_figures
from .share import choice_figures, mean_garment, share_figures
from .work import Plan, load, truth_of

NOTES = (
    "patches are 16x12; those of garment (more than half of it shown on the garment's picture) and those that stay (more than "
    "half of it equal to the person's picture) count, the rest is left out",
    "share: the garment's part of what a patch spends on both references, mean over steps, heads and blocks; roc, iou and "
    "right over all patches of all pictures together, roc_by_picture the mean of the pictures' own; iou and right at one half",
    "mean_garment: how often a patch is garment on the other pairs, the same map for every picture; "
    "where_mean_garment_errs: only the patches that it puts on the wrong side of one half",
    "choice: on other pairs, in fewer steps; best is the number of last blocks with the greatest roc",
    "sram: the peak of a patch's map on one reference, within 1 or 2 patches of the true one; on the person's picture the true "
    "one is the patch's own place, so that the baseline of the same place is right there by definition",
    "picture: psnr in dB and ssim, means over pictures; kept is where both of the person's garments leave the picture as it "
    "is, revealed what neither reference shows; untouched is the given picture of the person taken for the answer",
    "changes: fewer pairs and steps, unchanged at the same noise; change is the mean absolute difference from it in 0-1, roc "
    "its area under the curve for the true garment among patches; a cut takes keys out of the softmax of some queries in all "
    "blocks",
)


def figures(plan: Plan, folder: Path) -> dict[str, Any]:
    """Every section that the plan has pairs for; see `NOTES`.

    Raises:
        FileNotFoundError: a unit has not been measured.
    """
    out: dict[str, Any] = {}
    chosen, paired, changed = (load(plan, kind, folder) for kind in ("choice", "paired", "changed"))
    guess = None
    if chosen:
        out["choice"] = choice_figures(chosen["shares"], truth_of(chosen))
        guess = mean_garment(truth_of(chosen))
    if paired:
        truth = truth_of(paired)
        guess = mean_garment(truth) if guess is None else guess
        out["share"] = share_figures(paired["shares"], truth, guess)
        out["sram"] = pointing_figures(paired["peaks"], truth)
        kinds = [name for name in paired if name.startswith("quality_")]
        out["picture"] = {name.removeprefix("quality_"): quality_figures(paired[name]) for name in kinds}
    if changed:
        out["changes"] = change_figures(changed["quality"], changed["effect"], changed["unchanged"])
    return rounded(out)  # type: ignore[no-any-return]


def setup(plan: Plan, about: dict[str, Any], weights: str, seconds: float) -> dict[str, Any]:
    """What was measured, of which weights and how."""
    return {
        "sha256": weights,
        "samples": about.get("samples", 0),
        "about": about,
        **asdict(plan),
        "cfg": 1.0,
        "blocks": {"default": [*LATE], "taught": [*TAUGHT]},
        "first_groups": {kind: plan.seeds(kind).start for kind in ("choice", "paired", "changed")},
        "notes": [*NOTES],
        "seconds": round(seconds, 1),
    }


def hash_of(folder: Path) -> str:
    """The SHA-256 of a folder's weights."""
    return hashlib.sha256((folder / FILE).read_bytes()).hexdigest()
