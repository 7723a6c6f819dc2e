"""`i2am run`: one of the paper's models on given pictures, without ComfyUI."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from ..data.masks import open_hands, open_mask
from ..data.pictures import WHITE, open_picture
from ..errors import I2AMError, shown
from ..options import number, whole
from .folders import check_out

log = logging.getLogger("i2am")

PICTURES = {
    "reference": "the garment or object to take from",
    "person": "the picture to change; with --mask it also gives the agnostic picture",
    "agnostic": "the person with the garment's area grey, where you have one",
    "mask": "white = to repaint; for {inpaint_mask}",
    "densepose": "the body's part map; for {densepose}",
    "warped": "the garment already laid on the body, on grey; for {warped}",
    "hands": "white = the person's hands and arms that lie over the garment; for version 1 of {hands_mask}, with --person",
    "parse": "instead of --hands: VITON-HD's parse map without the garment (image-parse-agnostic-v3.2)",
    "reference-mask": "white = the object; adds IMACS_r, and for {cropped} the reference is cut to it",
}
"""What each picture is for; the families that need it are filled in."""
NAMES = {"mask": "inpaint_mask", "hands": "hands_mask", "parse": "hands_mask", "reference-mask": "reference_mask"}
"""What the library calls a picture, where the command line has another name."""
DTYPES = ("float32", "float16", "bfloat16")


def add_run(commands: Any) -> None:
    """Add `run` to the command line."""
    from ..models.families import FAMILIES, titles
    from ..models.tryon.sampling import SAMPLERS

    parser = commands.add_parser(
        "run",
        help=f"run {titles(FAMILIES.values(), 'or')} on your pictures, recorded",
        description="Samples one try-on and records it: the picture, its maps, a first look, one HTML page and, with masks, "
        "the scores. Sampler, steps and guidance default to what the model's authors use.",
    )
    parser.add_argument(
        "--model", type=Path, required=True, metavar="FILE_OR_FOLDER",
        help="the authors' checkpoint, .safetensors or .ckpt, or a folder in diffusers' layout (Paint-by-Example)",
    )  # fmt: skip
    parser.add_argument("--family", default="auto", choices=("auto", *FAMILIES), help="default: told from the weights")
    families = FAMILIES.values()
    takers = {name: titles(f for f in families if name in f.needs) for name in ("inpaint_mask", "densepose", "warped")}
    takers["cropped"] = titles(f for f in families if f.crops_reference)
    takers["hands_mask"] = titles(f for f in families if "hands_mask" in f.takes)
    for name, told in PICTURES.items():
        also = ("--image",) if name == "person" else ()
        required = name == "reference"
        parser.add_argument(f"--{name}", *also, type=Path, metavar="PICTURE", required=required, help=told.format(**takers))
    parser.add_argument("--out", type=Path, default=Path("out/run"), help="folder to write to (default out/run)")
    parser.add_argument(
        "--background", default=WHITE, metavar="COLOUR", help="what lies below transparent pictures (default white)"
    )
    parser.add_argument("--sampler", choices=SAMPLERS, help="default: the authors'")
    parser.add_argument("--steps", type=whole(), help="sampler steps; a number that does not divide 1000 gives a few more")
    parser.add_argument("--cfg", type=number(), help="scale of classifier-free guidance; 1 runs without")
    parser.add_argument("--seed", type=whole(), default=0, help="of the noise (default 0)")
    parser.add_argument("--device", help="such as cuda, mps or cpu (default: cuda where there is one)")
    parser.add_argument("--dtype", choices=DTYPES, help="of the U-Net (default: float16 on cuda, else float32)")
    parser.add_argument(
        "--detail", choices=("pairwise", "marginals"), default="pairwise", help="pairwise also answers for single patches"
    )
    parser.add_argument("--budget", type=number(), default=300.0, metavar="MB", help="memory for the maps (default 300)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    import torch

    from ..hosts.diffusers.tryon import make_tryon
    from ..models.tryon.model import TryOnModel
    from ..models.tryon.sampling import steps_told
    from ..outputs.run_folder import write_run
    from ..pictures.colours import opencv

    pictures = _pictures(args)
    check_out(args.out)
    if args.budget <= 0:
        raise I2AMError(f"--budget is {args.budget:g} MB; expected more than 0")
    opencv()  # what draws the first look must not be missed after the sampling
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    check_device(device)
    dtype = getattr(torch, args.dtype or ("float16" if device.startswith("cuda") else "float32"))
    log.info("loading %s", args.model)
    model = TryOnModel.load(args.model, args.family, device=device, dtype=dtype)
    log.info("it is %s; running on %s", model.encoder.family.name, device)
    told = steps_told(model.encoder.family.steps if args.steps is None else args.steps)
    if told:
        log.info("%s", told)
    began = time.perf_counter()
    with _progress() as step:
        made = make_tryon(
            model,
            pictures,
            steps=args.steps,
            cfg=args.cfg,
            sampler=args.sampler,
            seed=args.seed,
            on_step=step,
            pairwise="mean" if args.detail == "pairwise" else None,
            budget=int(args.budget * 1e6),
        )
    seconds = time.perf_counter() - began
    scores = write_run(args.out, made.picture, made.maps, pictures, seconds, pasted=made.pasted, failed=made.failed)
    if made.maps is not None:
        _tell(made.maps.notes, scores["imacs"])
        log.info("recording: %.1f MB", made.maps.nbytes / 1e6)
    log.info("%.0f s; open %s", seconds, args.out / "report.html")
    missing = [name for name in scores["failed"] if not name.startswith("IMACS")]
    for name in missing:
        log.warning("there is no %s: %s", name, scores["failed"][name])
    return 1 if missing else 0


def _pictures(args: argparse.Namespace) -> dict[str, Image.Image]:
    """The pictures and masks that were given, by the library's names."""
    if args.hands is not None and args.parse is not None:
        raise I2AMError("--hands and --parse both say where the hands are; give one of them")
    pictures = {}
    for name in PICTURES:
        path = getattr(args, name.replace("-", "_"))
        if path is None:
            continue
        if name == "parse":
            pictures[NAMES[name]] = open_hands(path)
        elif name in NAMES:
            pictures[NAMES[name]] = open_mask(path, f"--{name}")
        else:
            pictures[name] = open_picture(path, args.background)
    return pictures


def check_device(name: str) -> None:
    """Refuse a device that cannot compute, before the model is read."""
    import torch

    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:  # the latter where PyTorch was built without CUDA
        raise I2AMError(
            f"--device is {name!r}, which cannot be used here ({shown(error, 100)}); give cpu, or leave it out"
        ) from error


def _tell(notes: Iterable[str], imacs: dict[str, Any]) -> None:
    for note in notes:
        log.info("note: %s", note)
    for letter, score in imacs.items():
        if score["score"] is not None:
            log.info("IMACS_%s %.3f (inside %.3f, outside %.3f)", letter, score["score"], score["inside"], score["outside"])


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """What is called after each step; the bar appears at the first one, once the pictures were found to fit."""
    from tqdm import tqdm

    bars: list[Any] = []

    def step(done: int, steps: int) -> None:
        if not bars:
            bars.append(tqdm(total=steps, unit="step", desc="generating"))
        bars[0].update(done - bars[0].n)

    try:
        yield step
    finally:
        for bar in bars:
            bar.close()
