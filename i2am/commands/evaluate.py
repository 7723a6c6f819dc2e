"""`i2am evaluate`: a model on a data set, with the scores of its maps beside those of its pictures."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import I2AMError
from ..options import number, whole
from .choosing import Commands
from .folders import check_out
from .run import DTYPES, check_device

if TYPE_CHECKING:
    from ..evaluation.facts import Summary
    from ..evaluation.processes import Processes

log = logging.getLogger("i2am")

DESCRIPTION = """\
Dresses the pairs of a data set, records it, and keeps a row of scores per image and the figures of the whole: SSIM, PSNR,
LPIPS (where the true picture is known), FID, KID (unpaired), IMACS by every preset, where the maps lie, and whether patches
point where SIFT finds the same detail. Stop it at any time; the same command with --resume goes on. On several devices or
machines: accelerate launch ... -m i2am evaluate ...
"""
BOTH = "both"
FAMILY = (
    "default: told from the weights; {demo}: --model is of its layout; {edit}: the edit model, which has the person and the "
    "garment as references and no mask"
)


def add_evaluate(commands: Commands) -> None:
    """Add `evaluate` to the command line."""
    from ..data.kinds import AUTO as TOLD
    from ..data.kinds import KINDS
    from ..evaluation.samplers import AUTO, DEMO, EDIT
    from ..models.families import FAMILIES
    from ..models.tryon.sampling import SAMPLERS

    parser = commands.add_parser(
        "evaluate",
        help="a model on a data set: FID, KID, LPIPS, SSIM and the scores of its maps",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="folder of a data set, such as VITON-HD as it unpacks")
    add("--model", type=Path, metavar="FILE_OR_FOLDER", help=f"weights, as for `i2am run` (default: the bundled {DEMO} model)")
    add(
        "--family",
        choices=(AUTO, DEMO, EDIT, *FAMILIES),
        help=FAMILY.format(demo=DEMO, edit=EDIT),
    )
    add("--out", type=Path, required=True, metavar="DIR", help="run folder to write to")
    add(
        "--pairs",
        default=BOTH,
        choices=("paired", "unpaired", BOTH),
        help="persons in their own garment, in another one, or both (default)",
    )
    add("--split", default="test", choices=("test", "train"), help="of the data set (default test)")
    add(
        "--kind",
        default=TOLD,
        choices=(TOLD, *KINDS),
        help="how DATA lies on disk (default: told by what lies there); web/docs/I2AM_VitonHD.md lists what each kind has",
    )
    add(
        "--pair-list",
        type=Path,
        metavar="FILE",
        help="a list of pairs to take instead of the data set's own: its path, also relative to DATA",
    )
    add("--limit", type=whole(), metavar="N", help="the first N pairs of each kind (default: all)")
    add(
        "--batch", type=whole(), default=1, metavar="N", help="pairs sampled at once (default 1); no pair's noise depends on it"
    )
    add("--seed", type=whole(), default=0, help="of all noise, together with each pair's name (default 0)")
    add("--resume", action="store_true", help="go on with what --out holds")
    add("--skip-broken", action="store_true", help="leave out pairs whose pictures are missing or unreadable, and say which")
    add("--steps", type=whole(), help="sampler steps (default: the authors')")
    add("--cfg", type=number(), help="scale of classifier-free guidance; 1 runs without (default: the authors')")
    add("--sampler", choices=SAMPLERS, help="default: the authors'")
    add("--pasted", action="store_true", help="measure the picture with the person's own pixels outside of the mask")
    add("--without-maps", action="store_true", help="do not record; only pictures are measured")
    add("--every", type=whole(), metavar="N", help="record one step of every N (default: so that ten are; 1 records all)")
    add(
        "--features",
        type=Path,
        metavar="FILE",
        help="network for FID and KID: TorchScript or .pt2, (B, 3, H, W) uint8 to (B, D)",
    )
    add("--lpips", type=Path, metavar="FILE", help="network for LPIPS: TorchScript or .pt2, of two pictures in -1 to 1")
    add("--device", default="", help="such as cuda or cpu (default: cuda where there is one)")
    add("--dtype", choices=DTYPES, help="of the U-Net (default: float16 on cuda, else float32)")
    add("--budget", type=number(), default=300.0, metavar="MB", help="memory for the maps of one image (default 300)")
    parser.set_defaults(run=_evaluate)


class _Once(logging.Filter):
    """Lets each warning through once: what holds for one pair of a data set often holds for all."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        new = record.levelno < logging.WARNING or text not in self._seen
        self._seen.add(text)
        return new


def _evaluate(args: argparse.Namespace) -> int:
    from ..evaluation.errors import check_extras
    from ..evaluation.processes import launched
    from ..evaluation.table import lines_of

    check_extras()
    check_out(args.out)
    if args.out.resolve().is_relative_to(args.data.resolve()):
        raise I2AMError(f"--out is {args.out}, which lies in the data set {args.data}; give a folder outside of it")
    processes = launched(args.device)
    if not processes.first:
        log.setLevel(logging.ERROR)  # one process tells what all of them see
    once = _Once()
    log.addFilter(once)
    try:
        summary = _run(args, processes)
    finally:
        log.removeFilter(once)
        processes.close()
    if summary is not None:
        for line in lines_of(summary):
            log.info("%s", line)
        log.info("rows, samples and summary.json are in %s", args.out)
    return 0


def _run(args: argparse.Namespace, processes: Processes) -> Summary | None:
    import torch

    from ..data.kinds import open_data_set
    from ..evaluation.facts import KINDS
    from ..evaluation.making import Looks
    from ..evaluation.metrics.networks import features_of, lpips_of
    from ..evaluation.pair_lists import pairs_by_kind
    from ..evaluation.runner import Plan, Weights, evaluate
    from ..evaluation.samplers import AUTO, DEMO
    from ..evaluation.samplers.loading import load, weights_of
    from ..evaluation.samplers.sampler import Sampling

    if args.budget <= 0:
        raise I2AMError(f"--budget is {args.budget:g} MB; expected more than 0")
    if args.every is not None and args.every < 1:
        raise I2AMError(f"--every is {args.every}; expected 1, which records all steps, or more")
    plan = Plan(
        args.data,
        args.out,
        kinds=KINDS if args.pairs == BOTH else (args.pairs,),
        split=args.split,
        limit=args.limit,
        batch=args.batch,
        seed=args.seed,
        resume=args.resume,
        skip=args.skip_broken,
        layout=args.kind,
        version=__version__,
        pair_list=args.pair_list,
    )
    pairs_by_kind(open_data_set(args.data, args.kind), plan.kinds, plan.split, plan.pair_list)  # before the model is read
    device = processes.device or args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    check_device(device)
    dtype = getattr(torch, args.dtype or ("float16" if device.startswith("cuda") else "float32"))
    family = args.family or (DEMO if args.model is None else AUTO)
    looks = Looks(lpips_of(args.lpips, device), features_of(args.features, device))
    how = Sampling(
        steps=args.steps,
        cfg=args.cfg,
        sampler=args.sampler,
        pasted=args.pasted,
        recorded=not args.without_maps,
        every=args.every,
        budget=int(args.budget * 1e6),
    )
    log.info("loading %s", args.model or "the bundled model")
    sampler = load(args.model, family, how, device=device, dtype=dtype)
    weights = Weights(args.model.name if args.model else family, tuple(weights_of(args.model, family)))
    log.info("it is %s; running on %s", sampler.family, device)
    return evaluate(plan, sampler, weights, looks, processes)
