"""`i2am cause`: cuts references, or a region, out of a model's attention with the same noise, and shows what that changed."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.pictures import WHITE, open_picture
from ..errors import I2AMError
from ..options import number, whole
from .choosing import Commands, read_mask
from .folders import check_out
from .run import DTYPES, check_device

if TYPE_CHECKING:
    from torch import Tensor

    from ..outputs.proven import Proven, Runs

log = logging.getLogger("i2am")

EDIT, TRYON = "edit", "try-on"
QUESTIONS = ("each", "region", "curve", "layers")
DESCRIPTION = """\
Did it matter? Samples the same noise once as it is and once for each cut: without each reference (each), without a region of
one beside random regions of as many tokens (region), with more and more of its cells cut in the order of a map, reversed
and at random (curve), or with one layer after another losing sight of it (layers).
Writes the pictures, a sheet, a chart and the figures as JSON.
"""


def add_cause(commands: Commands) -> None:
    """Add `cause` to the command line."""
    from ..maps.kinds import level_sides

    parser = commands.add_parser(
        "cause",
        help="did a reference matter? cut it at the same noise and see",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--model",
        default=EDIT,
        metavar="MODEL",
        help=f"{EDIT} or {TRYON}, the bundled ones on a drawn pair (default {EDIT}), or a folder of a diffusers pipeline",
    )
    add("--out", type=Path, default=Path("out/cause"), help="folder to write to (default out/cause)")
    add("--question", choices=QUESTIONS, default="each", help="which runs are made (default each)")
    add("--reference", type=whole(), metavar="N", help="of region, curve and layers, counted from 0 (default: the last)")
    add("--region", type=Path, metavar="MASK", help="of that reference, white = cut; asks about the region")
    add("--map", default="G2R", choices=level_sides(), help="whose order the curve follows (default G2R)")
    add("--fractions", default="0.1 0.25 0.5 1", metavar="F", help="of the cells, for the curve (default '0.1 0.25 0.5 1')")
    add(
        "--layers",
        default="",
        metavar="GLOBS",
        help="a run for each name or glob, such as 'double.* single.*' (default: each layer)",
    )
    add("--random-regions", type=whole(1), default=2, metavar="N", help="to compare a region with (default 2)")
    add("--seed", type=whole(), default=7, help="of the noise; of the bundled models also which pair (default 7)")
    add("--steps", type=whole(1, 1000), help="sampler steps (default: 25 and 50 for the bundled models, 28 for a pipeline)")
    group = parser.add_argument_group("for a pipeline's folder")
    add = group.add_argument
    add("--image", type=Path, action="append", default=[], metavar="PICTURE", help="a reference; again for the next one")
    add("--prompt", default="", help="what to make")
    add("--guidance", type=number(0), metavar="G", help="the pipeline's guidance_scale (default: its own)")
    add("--size", type=_size, metavar="WxH", help="of the picture (default: the pipeline's own)")
    add("--picture-region", type=Path, metavar="MASK", help="of the picture, white = where a change is expected")
    add("--background", default=WHITE, metavar="COLOUR", help="what lies below transparent pictures (default white)")
    add("--device", help="such as cuda or cpu (default: cuda where there is one)")
    add("--dtype", choices=DTYPES, help="default: bfloat16 on cuda, else float32")
    parser.set_defaults(run=_cause)


OF_PIPELINES: dict[str, Any] = {
    "image": [],
    "prompt": "",
    "guidance": None,
    "size": None,
    "picture_region": None,
    "background": WHITE,
    "device": None,
    "dtype": None,
}
"""What is said of a pipeline alone, and what it is where it is not said."""


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected WxH, such as 1024x768, got {text!r}") from None
    return width, height


def _cause(args: argparse.Namespace) -> int:
    from ..interventions.cells import fractions_of
    from ..interventions.questions import CURVE, EACH, LAYERS, REGION, Plan
    from ..levels.choice import layers_of
    from ..outputs.proven import prove
    from ..pictures.colours import opencv

    check_out(args.out)
    if args.question == "region" and args.region is None:
        raise I2AMError("--question region is about a region of a reference; give its mask by --region")
    if args.question in ("curve", "layers") and args.region is not None:
        how = "by a map" if args.question == "curve" else "whole references"
        raise I2AMError(f"--region was given, but --question is {args.question}, which cuts {how}; leave out one of them")
    if args.layers and args.question != "layers":
        raise I2AMError("--layers is about the question which layers matter; add --question layers, or leave it out")
    if args.question == "each" and args.region is None and args.reference is not None:
        raise I2AMError("--question each cuts every reference in turn; leave out --reference, or ask about a region or a curve")
    question = REGION if args.region is not None else {"each": EACH, "curve": CURVE, "layers": LAYERS}[args.question]
    region = None if args.region is None else read_mask(args.region)
    fractions = fractions_of(args.fractions)
    opencv()  # what draws the sheet must not be missed after the sampling
    runs, inside, count = _runs(args)
    reference = count - 1 if args.reference is None else args.reference
    plan = Plan(question, reference, region, args.map, fractions, args.random_regions, layers=layers_of(args.layers) or ())
    with _bar() as tell:
        found = prove(plan, runs, lambda picture: picture, None, inside, tell)
    _write(args.out, found, question, reference, args)
    for line in found.table.splitlines():
        log.info("%s", line)
    log.info("pictures, sheet.png, chart.png and effects.json are in %s", args.out)
    return 0


def _runs(args: argparse.Namespace) -> tuple[Runs, Tensor | None, int]:
    """What makes the runs, where a change is expected, and how many references there are."""
    if args.model in (EDIT, TRYON):
        others = [f"--{name.replace('_', '-')}" for name, default in OF_PIPELINES.items() if getattr(args, name) != default]
        if others:
            raise I2AMError(f"--model {args.model} draws its own pictures; leave out {' and '.join(others)}, or give a folder")
        from ..demo.cause import TRYON_STEPS, edit_case, tryon_case
        from ..models.edit.family import STEPS

        case = (
            edit_case(args.seed, args.steps or STEPS)
            if args.model == EDIT
            else tryon_case(args.seed, args.steps or TRYON_STEPS)
        )
        return case.runs, case.truth, len(case.pictures)
    import torch

    from ..hosts.diffusers.proof import PipelineRuns, load_pipeline

    if not args.image:
        raise I2AMError("a pipeline needs its references; give --image once for each, in the pipeline's order")
    pictures = [open_picture(path, args.background) for path in args.image]
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    check_device(device)
    dtype = getattr(torch, args.dtype or ("bfloat16" if device.startswith("cuda") else "float32"))
    inside = None if args.picture_region is None else read_mask(args.picture_region)
    given: dict[str, Any] = {"image": pictures if len(pictures) > 1 else pictures[0], "prompt": args.prompt}
    if args.guidance is not None:
        given["guidance_scale"] = args.guidance
    if args.size is not None:
        given["width"], given["height"] = args.size
    log.info("loading %s", args.model)
    pipeline = load_pipeline(Path(args.model), device, dtype)
    return PipelineRuns(pipeline, given, args.seed, args.steps or 28), inside, len(pictures)


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar over the steps of all runs: what is told how many are done, and of how many."""
    from tqdm import tqdm

    with tqdm(unit="step", desc="runs") as bar:

        def tell(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield tell


def _write(out: Path, found: Proven, question: str, reference: int, args: argparse.Namespace) -> None:
    import numpy as np
    from PIL import Image

    out.mkdir(parents=True, exist_ok=True)
    names = ["uncut", *(run.name for run in found.runs)]
    files = [f"{i:02}_{''.join(c if c.isalnum() else '_' for c in name)}.png" for i, name in enumerate(names)]
    for file, picture in zip(files, found.pictures, strict=True):
        Image.fromarray((picture.clamp(0, 1) * 255).round().numpy().astype(np.uint8)).save(out / file)
    found.sheet.save(out / "sheet.png")
    found.chart.save(out / "chart.png")
    effects = {run.name: {"picture": file, **run.effect.as_dict()} for run, file in zip(found.runs, files[1:], strict=True)}
    curves = {order: {"fractions": c.fractions, "changes": c.changes, "area": c.area} for order, c in found.curves.items()}
    told = {"question": question, "model": str(args.model), "seed": args.seed, "uncut": files[0], "effects": effects}
    told |= {"reference": reference, "layers": found.of_layers} if found.of_layers else {}
    whole = {**told, **({"curves": curves, "map": args.map} if curves else {})}
    (out / "effects.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
