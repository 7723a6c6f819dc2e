"""`i2am demo`: a real try-on with the bundled model, recorded, and everything that the paper shows about it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ..drawn.scene import DemoCase, Patch, telling_patches
from ..drawn.spec import PICTURE
from ..errors import I2AMError
from ..geometry.cells import place_of
from ..levels.grids import common_grid, picture_size, reference_grid
from ..levels.heat import Heat
from ..levels.marginal import LEVELS, level_of, tlam, ulam
from ..levels.mirror import mirror_of_object
from ..levels.patch import sram
from ..levels.presets import PRESETS
from ..maps.value import AttributionMaps
from ..models.demo.tryon import DemoModel, try_on
from ..models.edit.family import STEPS as EDIT_STEPS
from ..models.edit.family import WEIGHTS as EDIT_WEIGHTS
from ..models.edit.model import FILE as EDIT_FILE
from ..outputs.report import write_report
from ..pictures.film import animation, frames
from ..pictures.marks import enlarge, marked, marker
from ..pictures.overlay import overlay
from ..pictures.panels import panels
from ..pictures.sheet import sheet
from ..scores.imacs import Score, imacs_pair, map_on_generated
from ..scores.table import score_table
from .edit_model import EditTryOn
from .edit_run import run_edit
from .evaluate.causal import CausalResult, causal_check, summary, usable_blocks
from .evaluate.correspondence import correspondence_of
from .letters import draw_look
from .page import write_page
from .pictures import picture_of
from .recording import recording_of

log = logging.getLogger("i2am")

MOST_SEED = 2**31 - 1
GROUPS, FRAMES = 5, 10
"""Time groups of the panels and of the animation, where there are as many steps."""
SHOWN = {"R2G": False, "R2G-balanced": False, "mass": True, "G2R": False}
"""The maps that are drawn, and whether over placed tokens only."""


def _thumbnail(tensor: Tensor) -> Tensor:
    return torch.from_numpy(np.asarray(picture_of(tensor)).copy())


def run_demo(
    out: Path,
    *,
    seed: int = 7,
    steps: int = 50,
    cfg: float = 5.0,
    blocks: int = 12,
    edit_steps: int = EDIT_STEPS,
    progress: bool = True,
) -> dict[str, Any]:
    """Generate, record, aggregate, draw and score an edit with two references and a try-on with one.

    Returns what ``scores.json`` holds; the edit's part is left out where its model's weights are not installed.

    Args:
        out: folder to write to.
        seed: which persons, garments and starting noise.
        steps: DDIM steps of the try-on.
        cfg: scale of classifier-free guidance.
        blocks: garment blocks to recolour for the causal check; 0 skips it.
        edit_steps: Euler steps of the edit.
        progress: whether to show progress bars.

    Raises:
        I2AMError: an argument is out of range.
    """
    in_range = 0 <= seed <= MOST_SEED and 1 <= steps <= 1000 and 1 <= edit_steps <= 1000
    if not in_range or not 0 < cfg < float("inf") or blocks < 0:
        raise I2AMError(
            f"the demo takes a seed from 0 to {MOST_SEED}, 1 to 1000 steps, cfg > 0 and blocks >= 0, got seed {seed}, "
            f"{steps} and {edit_steps} steps, cfg {cfg:g}, {blocks} blocks"
        )
    began = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    edited = _edit(out, seed, edit_steps, progress)
    model = DemoModel.load()
    case = DemoCase.draw(seed)
    maps, generated, seconds = _generate(model, case, steps, cfg, progress)
    paired = _try_on(model, case, case.own.reference, steps, cfg)
    maps.save(out / "maps.safetensors")
    pictures = _inputs(case, generated, paired)
    for name, picture in pictures.items():
        picture.save(out / f"{name}.png")

    scores: dict[str, Any] = {
        "seed": seed,
        "steps": steps,
        "cfg": cfg,
        "recording_bytes": maps.nbytes,
        "imacs": _imacs(maps, case),
        "correspondence": correspondence_of(maps, case.worn).as_dict(),
        **edited,
    }
    _draw_levels(out, maps, pictures["generated"], pictures["reference"])
    patches = telling_patches(case, common_grid(maps, "generated"))
    _draw_patches(out, maps, pictures["generated"], pictures["reference"], patches)
    _draw_panels(out, maps, pictures, case.worn.reference_mask[0])
    scores["letters"] = draw_look(out, maps, case, pictures["generated"], pictures["reference"])
    blocks = min(blocks, len(usable_blocks(case.worn)))
    if blocks:
        result = _causal(model, case, maps, generated, steps, cfg, blocks, progress)
        scores["causal"] = result.as_dict()
        _draw_causal(out, result)
    pasted = generated * case.own.inpaint_mask[0] + case.own.person[0] * (1 - case.own.inpaint_mask[0])
    picture_of(pasted).save(out / "generated_pasted.png")
    scores["seconds"] = {"generate": seconds, "all": time.perf_counter() - began}
    write_report(
        out / "tryon.html",
        maps,
        pictures["generated"],
        [pictures["reference"]],
        scores={name: part for name, part in scores.items() if name not in edited},
        title=f"I²AM demo: a try-on with one reference, seed {seed}",
        truth=case.worn.truth[0].masked_fill(case.worn.visible[0] < 0.5, float("nan")),
        reference_mask=case.worn.reference_mask[0, 0],
        images={
            k: pictures[k] for k in ("person", "agnostic", "densepose", "inpaint_mask", "reference_mask", "truth", "paired")
        },
    )
    write_page(out, scores)
    (out / "scores.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    _tell(out, maps, case, scores)
    return scores


def _edit(out: Path, seed: int, steps: int, progress: bool) -> dict[str, Any]:
    """The edit's scores under their name; nothing, with a line that says so, where its model is not installed."""
    if not (EDIT_WEIGHTS / EDIT_FILE).is_file():
        log.warning("no edit with two references: %s is missing; install the pack anew to see it", EDIT_WEIGHTS / EDIT_FILE)
        return {}
    return {"edit": run_edit(out, EditTryOn.load(EDIT_WEIGHTS), seed=seed, steps=steps, progress=progress)}


def _try_on(
    model: DemoModel,
    case: DemoCase,
    reference: Tensor,
    steps: int,
    cfg: float,
    on_step: Callable[[int], Any] | None = None,
) -> Tensor:
    """The case's person in the garment of a reference picture, (3, 128, 96)."""
    known = {"agnostic": case.own.agnostic, "densepose": case.own.densepose}
    return try_on(model, reference=reference, seeds=[case.seed], steps=steps, cfg=cfg, on_step=on_step, **known)[0]


def _generate(
    model: DemoModel, case: DemoCase, steps: int, cfg: float, progress: bool
) -> tuple[AttributionMaps, Tensor, float]:
    recording = recording_of(
        model,
        images=1,
        steps=steps,
        cfg=cfg,
        inpaint_mask=case.own.inpaint_mask[0, 0],
        pairwise="heads",
        info={"seed": case.seed},
    )
    began = time.perf_counter()
    with tqdm(total=steps, desc="generating", unit="step", disable=not progress) as bar, recording:
        generated = _try_on(model, case, case.worn.reference, steps, cfg, lambda _n: bar.update())
    seconds = time.perf_counter() - began
    maps = recording.maps.with_thumbnails({"generated": _thumbnail(generated), "reference": _thumbnail(case.worn.reference[0])})
    return maps, generated, seconds


def _inputs(case: DemoCase, generated: Tensor, paired: Tensor) -> dict[str, Image.Image]:
    return {
        "generated": picture_of(generated),
        "reference": picture_of(case.worn.reference[0]),
        "person": picture_of(case.own.person[0]),
        "agnostic": picture_of(case.own.agnostic[0]),
        "densepose": picture_of(case.own.densepose[0]),
        "inpaint_mask": picture_of(case.own.inpaint_mask[0]),
        "reference_mask": picture_of(case.worn.reference_mask[0]),
        "truth": picture_of(case.worn.person[0]),
        "paired": picture_of(paired),
        "paired_reference": picture_of(case.own.reference[0]),
    }


def _imacs(maps: AttributionMaps, case: DemoCase) -> dict[str, dict[str, Any]]:
    """By preset both scores; and IMACS_g of two more maps, with which IMACS_r has nothing to do."""
    inside, garment = case.own.inpaint_mask[0, 0], case.worn.reference_mask[0, 0]
    pairs = {name: imacs_pair(maps, inside, garment, preset=name) for name in PRESETS}
    for name, side in (("balanced", "R2G-balanced"), ("mirror", "mirror")):
        pairs[name] = {"g": map_on_generated(maps, inside, garment, side=side).score()}
    return {name: {side: score.as_dict() for side, score in pair.items()} for name, pair in pairs.items()}


def _draw_levels(out: Path, maps: AttributionMaps, generated: Image.Image, reference: Image.Image) -> None:
    """One file a level and side, and the animation over time."""
    for side, placed_only in SHOWN.items():
        below = reference if side == "G2R" else generated
        for level in LEVELS:
            heat = level_of(maps, level, side, groups=min(GROUPS, maps.run.steps), placed_only=placed_only)
            path = out / f"{level}_{side}.png".lower().replace("-", "_")
            picture = overlay(below, heat) if len(heat.values) == 1 else panels(below, heat)
            picture.save(path)
    for side, below in (("R2G-balanced", generated), ("G2R", reference)):
        heat = tlam(maps, side, groups=min(FRAMES, maps.run.steps))
        animation(frames(below, heat), out / f"tlam_{side}.gif".lower().replace("-", "_"))


def _draw_patches(
    out: Path, maps: AttributionMaps, generated: Image.Image, reference: Image.Image, patches: list[Patch]
) -> None:
    """For each telling patch: where it lies, its SRAM, and the mirror of the SRAM's peak."""
    grid, size = common_grid(maps, "generated"), (generated.height, generated.width)
    there = reference_grid(maps, 0)
    rows: list[tuple[Image.Image, str]] = []
    for patch in patches:
        heat = sram(maps, patch.cell)
        peak = _peak_cell(heat)
        mirror = sram(maps, peak, "generated")
        items = [
            (marked(generated, grid, patch.cell), f"{patch.name}: patch {place_of(grid, *patch.cell, size)}"),
            (overlay(reference, heat), "its SRAM on the reference"),
            (overlay(generated, mirror), f"mirror: where {place_of(there, *peak, picture_size(there))} went"),
        ]
        sheet(items, columns=3, title=f"SRAM of a patch: {patch.name}").save(out / f"sram_{patch.name.replace(' ', '_')}.png")
        rows += items[:2]
    sheet(rows, columns=4, title="Which part of the garment did each patch look at?").save(out / "sram.png")


def _large(picture: Image.Image) -> Image.Image:
    """At the size that overlays are drawn at."""
    return enlarge(picture)[0]


def _peak_cell(heat: Heat) -> tuple[int, int]:
    columns = heat.values.shape[2]
    index = int(heat.values[0].argmax())
    return index // columns, index % columns


def _draw_panels(out: Path, maps: AttributionMaps, pictures: dict[str, Image.Image], reference_mask: Tensor) -> None:
    """One sheet with the inputs, the result and both sides."""
    below, reference = pictures["generated"], pictures["reference"]
    items = [
        (_large(pictures["agnostic"]), "agnostic person"),
        (_large(below), "generated"),
        (_large(pictures["truth"]), "truth (drawn)"),
        (_large(reference), "reference"),
        (overlay(below, mirror_of_object(maps, reference_mask), caption=False), "mirror: where the garment went"),
        (overlay(below, ulam(maps, "R2G-balanced"), caption=False), "R2G-balanced: where all of the reference went"),
        (overlay(below, ulam(maps, "R2G"), caption=False), "R2G, as in the paper (comparative, not causal)"),
        (overlay(reference, ulam(maps, "G2R"), caption=False), "G2R: what of the reference was used"),
    ]
    sheet(items, columns=4, title="I²AM: one try-on, both sides").save(out / "overview.png")


def _causal(
    model: DemoModel,
    case: DemoCase,
    maps: AttributionMaps,
    generated: Tensor,
    steps: int,
    cfg: float,
    blocks: int,
    progress: bool,
) -> CausalResult:
    with tqdm(total=blocks, desc="recolouring blocks", unit="block", disable=not progress) as bar:
        return causal_check(
            model,
            case.worn,
            maps,
            generated,
            agnostic=case.own.agnostic,
            densepose=case.own.densepose,
            seed=case.seed,
            steps=steps,
            cfg=cfg,
            blocks=blocks,
            on_progress=lambda n: bar.update(n - bar.n),
        )


def _draw_causal(out: Path, result: CausalResult) -> None:
    """The intervention: a recoloured block, what it changed in the picture, and what the maps alone foretold."""
    k = result.shown
    original, changed = picture_of(result.original), picture_of(result.pictures[k])
    left, top, right, bottom = result.blocks[k].box
    recoloured = picture_of(result.recoloured[k])
    recoloured = marker(recoloured, (left + right) / 2, (top + bottom) / 2, box=(left, top, right, bottom))
    attention = result.attention["all_layers"][k]
    figures = summary([result.evidence()])
    items = [
        (recoloured, "the reference with one block recoloured"),
        (_large(original), "generated from the untouched reference"),
        (_large(changed), "generated from the recoloured one, same noise"),
        (overlay(original, _map_heat(result.change[k], "change"), caption=False), "what changed"),
        (overlay(original, _map_heat(attention, "attention"), caption=False), "foretold by the maps alone"),
    ]
    title = (
        f"An intervention: {len(result.blocks)} blocks recoloured, one at a time; the maps alone find "
        f"{figures['retrieval']:.0%} of them (chance {figures['chance']:.0%})"
    )
    sheet(items, columns=5, title=title).save(out / "causal.png")


def _map_heat(values: Tensor, label: str) -> Heat:
    return Heat(values[None].float(), label, "generated", "SRAM", (label,), PICTURE)


def _tell(out: Path, maps: AttributionMaps, case: DemoCase, scores: dict[str, Any]) -> None:
    """The last lines on the screen: scores and where everything is."""
    masks = (case.own.inpaint_mask[0, 0], case.worn.reference_mask[0, 0])
    pairs: dict[str, dict[str, Score]] = {name: imacs_pair(maps, *masks, preset=name) for name in PRESETS}
    for line in score_table(pairs):
        log.info("%s", line)
    if "edit" in scores:
        edit = scores["edit"]
        log.info(
            "edit with two references: which one a patch took from, area under the ROC curve %.3f (baseline %.3f)",
            edit["share_roc"],
            edit["baselines"]["share_roc"],
        )
    points = scores["correspondence"]
    log.info(
        "SRAM points home within 1 reference patch: %.0f %% (chance %.0f %%, same place %.0f %%)",
        *(100 * points[k] for k in ("within_1", "chance", "same_place")),
    )
    for letter, verdict in scores["letters"].items():
        log.info("%s: %s", letter, verdict)
    if "causal" in scores:
        causal = scores["causal"]
        log.info(
            "recoloured block found by the maps alone: %.0f %%, correlation %.2f",
            100 * causal["retrieval"],
            causal["correlation"],
        )
    log.info("recording: %.1f MB; generated in %.0f s, all in %.0f s", maps.nbytes / 1e6, *scores["seconds"].values())
    log.info("pictures, maps.safetensors and scores.json are in %s; open %s", out, out / "report.html")
