"""`i2am run`: one of the paper's models on given pictures, without ComfyUI."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..data.pictures import open_picture

log = logging.getLogger("i2am")

PICTURES = {
    "reference": "the garment or object to take from",
    "person": "the picture to change; with --mask it also gives the agnostic picture",
    "agnostic": "the person with the garment's area grey, where you have one",
    "mask": "white = to repaint; for {inpaint_mask}",
    "densepose": "the body's part map; for {densepose}",
    "warped": "the garment already laid on the body, on grey; for {warped}",
    "reference-mask": "white = the object; adds IMACS_r, and for {cropped} the reference is cut to it",
}
"""What each picture is for; the families that need it are filled in."""
NAMES = {"mask": "inpaint_mask", "reference-mask": "reference_mask"}
"""What the library calls a picture, where the command line has another name."""
DTYPES = ("float32", "float16", "bfloat16")


def add_run(commands: Any) -> None:
    """Add `run` to the command line."""
    from ..models.families import FAMILIES, titles

    parser = commands.add_parser(
        "run",
        help=f"run {titles(FAMILIES.values(), 'or')} on your pictures, recorded",
        description="Samples one try-on with DDIM and records it: the picture, its maps, a first look, one HTML page and, "
        "with masks, the scores. Steps and guidance default to what the model's authors use.",
    )
    parser.add_argument(
        "--model", type=Path, required=True, metavar="FILE_OR_FOLDER",
        help="the authors' checkpoint, .safetensors or .ckpt, or a folder in diffusers' layout (Paint-by-Example)",
    )  # fmt: skip
    parser.add_argument("--family", default="auto", choices=("auto", *FAMILIES), help="default: told from the weights")
    families = FAMILIES.values()
    takers = {name: titles(f for f in families if name in f.needs) for name in ("inpaint_mask", "densepose", "warped")}
    takers["cropped"] = titles(f for f in families if f.crops_reference)
    for name, told in PICTURES.items():
        also = ("--image",) if name == "person" else ()
        required = name == "reference"
        parser.add_argument(f"--{name}", *also, type=Path, metavar="PICTURE", required=required, help=told.format(**takers))
    parser.add_argument("--out", type=Path, default=Path("out/run"), help="folder to write to (default out/run)")
    parser.add_argument("--steps", type=int, help="DDIM steps")
    parser.add_argument("--cfg", type=float, help="scale of classifier-free guidance; 1 runs without")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default 0)")
    parser.add_argument("--device", help="such as cuda, mps or cpu (default: cuda where there is one)")
    parser.add_argument("--dtype", choices=DTYPES, help="of the U-Net (default: float16 on cuda, else float32)")
    parser.add_argument(
        "--detail", choices=("pairwise", "marginals"), default="pairwise", help="pairwise also answers for single patches"
    )
    parser.add_argument("--budget", type=float, default=300.0, metavar="MB", help="memory for the maps (default 300)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    import torch

    from ..hosts.diffusers.tryon import run_tryon
    from ..models.tryon.model import TryOnModel
    from ..outputs.run_folder import write_run

    given = {NAMES.get(name, name): getattr(args, name.replace("-", "_")) for name in PICTURES}
    pictures = {name: open_picture(path) for name, path in given.items() if path is not None}
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = getattr(torch, args.dtype or ("float16" if device.startswith("cuda") else "float32"))
    log.info("loading %s", args.model)
    model = TryOnModel.load(args.model, args.family, device=device, dtype=dtype)
    log.info("it is %s; running on %s", model.encoder.name, device)
    began = time.perf_counter()
    with _progress() as step:
        made, maps = run_tryon(
            model,
            pictures,
            steps=args.steps,
            cfg=args.cfg,
            seed=args.seed,
            on_step=step,
            pairwise="mean" if args.detail == "pairwise" else None,
            budget=int(args.budget * 1e6),
        )
    scores = write_run(args.out, made, maps, pictures, time.perf_counter() - began)
    for note in maps.notes:
        log.info("note: %s", note)
    for side, score in scores["imacs"].items():
        if score["score"] is None:
            continue
        log.info("IMACS_%s %.3f (inside %.3f, outside %.3f)", side, score["score"], score["inside"], score["outside"])
    log.info("recording: %.1f MB; %.0f s; open %s", maps.nbytes / 1e6, scores["seconds"], args.out / "report.html")
    return 0


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
