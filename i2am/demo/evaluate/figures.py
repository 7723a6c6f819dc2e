"""`python -m i2am.demo.evaluate`: measures the demo model on held-out pairs and writes the figures as JSON.

Three sections: ``picture`` (is the right garment drawn?), ``sram`` (do the maps point home, and which of them tells
where the garment went?) and ``causal`` (does the picture follow the maps?). The file is written anew after every run,
so that an evaluation that is stopped keeps what it has measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ...drawn.draw import draw_pairs
from ...drawn.seeds import HELD_OUT
from ...drawn.spec import draw_pair
from ...maps.value import AttributionMaps
from ...models.demo.family import WEIGHTS
from ...models.demo.tryon import PARTS, DemoModel, try_on
from ...options import MOST_AT_ONCE, number, whole
from ..recording import recording_of
from .cases import OTHER, Case, case_of, check_held_out
from .causal import CausalResult, causal_check, causal_figures
from .correspondence import FAMILIES, Pointing, PointingTally, baselines, guesses, peaks, sram_rows, true_tokens
from .quality import PictureTally
from .reader import Reader
from .where import WhereTally

log = logging.getLogger("i2am")

SECTIONS = ("picture", "sram", "causal")
WHERE = ("paired", "unpaired")
"""The kinds of runs in which the maps are asked where the garment went."""
NOTES = (
    "unpaired and wrong_reference are the same pictures (a person, another pair's reference), read against the "
    "reference's garment and against the person's own",
    "null_reference runs without guidance, which has no effect when both halves hold the null tokens",
    "pictures are judged before the known area is pasted back; ssim and psnr over visible garment",
    "textures_swapped: the reference keeps cut and place and takes another print; unmoved = peaks within 1 or 2 tokens "
    "of where they were with the own print",
    "where: area under the ROC curve of each map's cells (32x24) against the garment that ought to be seen, mean over "
    "pictures; inpaint_mask is the mask itself taken for a map",
    "within_1 and within_2 are shares of the cells (32x24) that garment covers more than half, all pairs together",
)


@dataclass(frozen=True)
class Plan:
    """How much is measured; a count of 0 leaves a run out."""

    pairs: int = 200
    unpaired_pairs: int = 50
    null_pairs: int = 50
    blank_pairs: int = 50
    swap_pairs: int = 50
    untrained_pairs: int = 25
    causal_pairs: int = 16
    blocks: int = 12
    steps: int = 50
    cfg: float = 5.0
    batch: int = 8
    first_seed: int = HELD_OUT


class Evaluation:
    """One evaluation: what has been measured lies in ``figures`` and, after every run, in the file."""

    def __init__(
        self,
        model: DemoModel,
        plan: Plan,
        *,
        reader: Reader | None = None,
        file: Path | None = None,
        name: str = "",
        facts: dict[str, Any] | None = None,
    ) -> None:
        counts = [value for key, value in asdict(plan).items() if key == "pairs" or key.endswith("_pairs")]
        seeds = range(plan.first_seed, plan.first_seed + max(counts))
        check_held_out([*seeds, *(s + OTHER for s in seeds)], int(model.about.get("shards", 0)))
        self.model, self.plan, self.file = model, plan, file
        self.reader = reader or Reader.load()
        self.peaks: dict[str, dict[int, Tensor]] = {family: {} for family in FAMILIES}
        self.start = time.monotonic()
        self.figures: dict[str, Any] = {
            "setup": {
                "name": name,
                **(facts or {}),
                "samples": model.about.get("samples", 0),
                "about": model.about,
                **asdict(plan),
                "notes": list(NOTES),
                "seconds": 0.0,
                "seconds_by_run": {},
                "complete": False,
            }
        }

    def run(self, only: Sequence[str] = SECTIONS) -> dict[str, Any]:
        """Measure the sections asked for; returns the figures."""
        picture, pointing = "picture" in only, "sram" in only
        if picture or pointing:
            self._do("paired", self.plan.pairs, picture, pointing)
            self._do("unpaired", self.plan.unpaired_pairs, picture, pointing)
        if picture:
            self._do("null_reference", self.plan.null_pairs, picture, False)
        if "causal" in only and self.plan.causal_pairs:
            self._causal()
        if pointing:
            self._do("uv_blanked", self.plan.blank_pairs, picture, pointing)
            self._do("textures_swapped", self.plan.swap_pairs, picture, pointing)
            self._do("untrained", self.plan.untrained_pairs, False, pointing)
        self.figures["setup"]["complete"] = True
        self._write()
        return self.figures

    def _write(self, run: str = "", seconds: float = 0.0) -> None:
        setup = self.figures["setup"]
        setup["seconds"] = time.monotonic() - self.start
        if run:
            setup["seconds_by_run"][run] = seconds
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            draft = self.file.with_name(self.file.name + ".part")
            draft.write_text(json.dumps(rounded(self.figures), indent=2) + "\n", encoding="utf-8")
            draft.replace(self.file)

    def _do(self, kind: str, count: int, picture: bool, pointing: bool) -> None:
        """Sample one kind of run over the first ``count`` pairs and file what it shows."""
        if not count:
            return
        began, tally, where = time.monotonic(), PointingTally(), WhereTally()
        tallies: dict[str, PictureTally] = {}
        model = moved(DemoModel.untrained(), self.model.unet.device) if kind == "untrained" else self.model
        with tqdm(total=count * self.plan.steps, desc=kind, unit="picture step", mininterval=1) as bar:
            for first in range(0, count, self.plan.batch):
                lowest = self.plan.first_seed + first
                case = case_of(kind, range(lowest, lowest + min(self.plan.batch, count - first)))
                pictures, maps = self._sample(model, case, pointing, bar)
                if picture:
                    self._judge(kind, case, pictures, tallies)
                if maps is not None:
                    self._point(kind, case, maps, tally)
                    if kind in WHERE:
                        where.add(maps, case)
        for name, judged in tallies.items():
            self.figures.setdefault("picture", {})[name] = judged.figures()
        if pointing:
            self._file_pointing(kind, tally)
        if where.areas:
            self.figures.setdefault("where", {})[kind] = where.figures()
        self._write(kind, time.monotonic() - began)

    def _sample(self, model: DemoModel, case: Case, recorded: bool, bar: tqdm) -> tuple[Tensor, AttributionMaps | None]:
        n, cfg = len(case.seeds), 1.0 if case.reference is None else self.plan.cfg

        def count(_: int) -> None:
            bar.update(n)

        def generate() -> Tensor:
            return try_on(
                model,
                agnostic=case.shown.agnostic,
                densepose=case.densepose,
                reference=case.reference,
                seeds=case.seeds,
                steps=self.plan.steps,
                cfg=cfg,
                on_step=count,
            )

        if not recorded:
            return generate(), None
        recording = recording_of(model, images=n, steps=self.plan.steps, cfg=cfg, groups=1)
        with recording:
            pictures = generate()
        return pictures, recording.maps

    def _judge(self, kind: str, case: Case, pictures: Tensor, tallies: dict[str, PictureTally]) -> None:
        judged = {kind: (pictures, case.wanted, case.truth)}
        if kind == "unpaired":
            judged["wrong_reference"] = pictures, case.own, case.shown
        if kind == "paired":
            judged["drawn"] = case.truth.person, case.wanted, case.truth
            with torch.inference_mode():
                latent = self.model.encode(case.truth.person.to(self.model.unet.device))
                judged["autoencoder"] = self.model.decode(latent).cpu(), case.wanted, case.truth
        for name, (shown, specs, truth) in judged.items():
            tallies.setdefault(name, PictureTally()).add(self.reader, shown, specs, truth)

    def _point(self, kind: str, case: Case, maps: AttributionMaps, tally: PointingTally) -> None:
        tokens, covered = true_tokens(case.truth)
        found = {family: peaks(sram_rows(maps, layers)) for family, layers in FAMILIES.items()}
        for family, at in found.items():
            tally.add(f"by/{family}", Pointing.of(at, tokens, covered))
        if kind == "paired":
            for layer in maps.layers:
                name = layer.name.partition(".transformer_blocks")[0]
                tally.add(f"layer/{name}", Pointing.of(peaks(sram_rows(maps, layer.name)), tokens, covered))
            guessed = guesses(case.truth)
            for name, pointing in baselines(case.truth, guessed).items():
                tally.add(f"baseline/{name}", pointing)
            for name, guess in guessed.items():
                missed = covered & ((guess - tokens).abs().amax(-1) > 1)
                for family, at in found.items():
                    tally.add(f"missed/{name}/{family}", Pointing.of(at, tokens, missed))
            for family, at in found.items():
                self.peaks[family].update(zip(case.seeds, at, strict=True))
        if kind == "textures_swapped":
            for family, at in found.items():
                before = [self.peaks[family].get(seed) for seed in case.seeds]
                if all(b is not None for b in before):
                    tally.add(f"unmoved/{family}", Pointing.of(at, torch.stack(before), covered))  # type: ignore[arg-type]

    def _file_pointing(self, kind: str, tally: PointingTally) -> None:
        section = self.figures.setdefault("sram", {})
        families = tally.figures("by/")
        if kind == "untrained":
            section.setdefault("baselines", {})["untrained"] = families
        elif kind == "paired":
            section.update(families)
            section["by_layer"] = tally.figures("layer/")
            section["baselines"] = tally.figures("baseline/")
            for name in ("same_place", "best_affine"):
                section[f"where_{name}_misses"] = tally.figures(f"missed/{name}/")
        else:
            section[kind] = families
            if kind == "textures_swapped":
                section[kind]["unmoved"] = tally.figures("unmoved/")  # type: ignore[assignment]

    def _causal(self) -> None:
        plan, began = self.plan, time.monotonic()
        results: list[CausalResult] = []
        runs = plan.blocks + 1
        with tqdm(total=plan.causal_pairs * runs, desc="causal", unit="picture", mininterval=1) as bar:

            def progress(done: int) -> None:
                bar.update(len(results) * runs + done - bar.n)

            for seed in range(plan.first_seed, plan.first_seed + plan.causal_pairs):
                results.append(
                    causal_check(
                        self.model,
                        draw_pairs([draw_pair(seed)]),
                        seed=seed,
                        steps=plan.steps,
                        cfg=plan.cfg,
                        blocks=plan.blocks,
                        batch=plan.batch,
                        on_progress=progress,
                    )
                )
                self.figures["causal"] = causal_figures(results)
                self._write("causal", time.monotonic() - began)


def moved(model: DemoModel, device: torch.device | str) -> DemoModel:
    """The model with its parts on a device."""
    for part in (model.unet, model.vae, model.encoder):
        part.to(device)
    return model


def hashes(folder: Path) -> dict[str, str]:
    """By part, the SHA-256 of a folder's weights: which weights a file of figures belongs to."""
    return {part: hashlib.sha256((folder / f"{part}.safetensors").read_bytes()).hexdigest() for part in PARTS}


def rounded(value: Any) -> Any:
    """Floats to five significant digits, all the way down; None for what is not a number."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: rounded(v) for name, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, (list, tuple)) else value


def _parser() -> argparse.ArgumentParser:
    plan = Plan()
    parser = argparse.ArgumentParser(prog="python -m i2am.demo.evaluate", description=__doc__)
    parser.add_argument("--pairs", type=whole(), default=plan.pairs, help="paired runs, for picture and sram (default 200)")
    for name, what in (
        ("unpaired", "another pair's garment"),
        ("null", "no reference"),
        ("blank", "u, v blanked"),
        ("swap", "another print"),
    ):
        parser.add_argument(
            f"--{name}-pairs", type=whole(), default=None, help=f"runs with {what} (default: a quarter of --pairs)"
        )
    parser.add_argument(
        "--untrained-pairs", type=whole(), default=None, help="runs of random weights (default: an eighth of --pairs)"
    )
    parser.add_argument(
        "--causal-pairs", type=whole(), default=plan.causal_pairs, help="pairs with every block recoloured (default 16)"
    )
    parser.add_argument("--blocks", type=whole(), default=plan.blocks, help="blocks recoloured a pair (default 12)")
    parser.add_argument("--steps", type=whole(1), default=plan.steps, help="DDIM steps (default 50)")
    parser.add_argument("--cfg", type=number(), default=plan.cfg, help="scale of classifier-free guidance (default 5)")
    parser.add_argument("--batch", type=whole(1), default=plan.batch, help="pictures at a time (default 8)")
    parser.add_argument("--seed0", type=whole(), default=plan.first_seed, help=f"first pair (default {plan.first_seed})")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, by commas: picture,sram,causal (default all)")
    parser.add_argument(
        "--weights", type=Path, default=WEIGHTS, help="folder of unet, vae and encoder (default: those that ship)"
    )
    parser.add_argument(
        "--json", type=Path, default=Path("out/evaluation.json"), help="file to write (default out/evaluation.json)"
    )
    parser.add_argument("--name", default="", help="what the figures are called (default: the folder's name)")
    parser.add_argument("--threads", type=whole(1, MOST_AT_ONCE), default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Evaluate from the command line; returns the exit status."""
    parser = _parser()
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    only = [name.strip() for name in args.only.split(",") if name.strip()]
    if not only or not set(only) <= set(SECTIONS):
        parser.error(f"--only takes {', '.join(SECTIONS)}, got {args.only!r}")
    if min(args.pairs, args.steps, args.batch, args.threads) < 1:
        parser.error("--pairs, --steps, --batch and --threads are at least 1")
    counts = {}
    for name, part in (("unpaired", 4), ("null", 4), ("blank", 4), ("swap", 4), ("untrained", 8)):
        given = getattr(args, f"{name}_pairs")
        counts[f"{name}_pairs"] = max(1, args.pairs // part) if given is None else given
    if min(args.causal_pairs, *counts.values()) < 0 or args.blocks < 2:
        parser.error("counts of pairs are at least 0 and --blocks at least 2")
    plan = Plan(
        pairs=args.pairs,
        causal_pairs=args.causal_pairs,
        blocks=args.blocks,
        steps=args.steps,
        cfg=args.cfg,
        batch=args.batch,
        first_seed=args.seed0,
        **counts,
    )
    try:
        model = moved(DemoModel.load(args.weights), args.device)
        name = args.name or args.weights.resolve().name
        figures = Evaluation(model, plan, file=args.json, name=name, facts={"sha256": hashes(args.weights)}).run(only)
    except (ValueError, FileNotFoundError) as error:
        log.error("%s", error)
        return 2
    log.info("wrote %s after %.0f s", args.json, figures["setup"]["seconds"])
    return 0
