"""`i2am score`: IMACS of a maps file against its masks."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from ..maps.value import AttributionMaps
from ..options import number
from ..scores.imacs import SCORED, imacs_pair
from ..scores.table import score_table
from .choosing import Commands, add_choice, add_placed_only, choice_from, read_mask

log = logging.getLogger("i2am")


def add_score(commands: Commands) -> None:
    """Add `score` to the command line."""
    parser = commands.add_parser(
        "score",
        help="IMACS of a maps file against its masks",
        description="IMACS (eq. 18) of the map on the generated picture against the inpainting mask, and of the map "
        "on the reference picture against the object's mask, with what stands behind them and two baselines.",
    )
    parser.add_argument("maps", type=Path, metavar="MAPS", help="a .safetensors file written by I2AM")
    parser.add_argument("--inpaint-mask", type=Path, required=True, help="white = repainted")
    parser.add_argument("--reference-mask", type=Path, required=True, help="white = the object")
    parser.add_argument("--side", default="R2G", choices=SCORED, help="map of IMACS_g (default R2G)")
    add_placed_only(parser)
    parser.add_argument("--lambda", dest="weight", type=number(), default=3.0, help="weight of what lies outside (default 3)")
    parser.add_argument("--threshold", type=number(), default=0.4, help="default 0.4")
    parser.add_argument("--json", type=Path, help="also write the scores here")
    add_choice(parser)
    parser.set_defaults(run=_score)


def _score(args: argparse.Namespace) -> int:
    maps = AttributionMaps.load(args.maps)
    pair = imacs_pair(
        maps,
        read_mask(args.inpaint_mask),
        read_mask(args.reference_mask),
        choice_from(args),
        preset=args.preset,
        side=args.side,
        placed_only=args.placed_only,
        weight=args.weight,
        threshold=args.threshold,
    )
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({letter: s.as_dict() for letter, s in pair.items()}, indent=2) + "\n", encoding="utf-8")
    for line in score_table({args.preset: pair}):
        log.info("%s", line)
    return 0
