"""The commands that read a maps file: `show` draws a level of it, `score` gives its IMACS."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from .animate import animation, frames, panels
from .errors import I2AMError
from .heat import Heat
from .imacs import Score, imacs_pair
from .layout import TokenGrid
from .levels import SIDES, common_grid, hlam, llam, tlam, ulam
from .maps import AttributionMaps
from .patches import sram
from .presets import PRESETS
from .render import COLOURS, OPACITY, cell_box, marker, overlay

log = logging.getLogger("i2am")

Commands = Any  # argparse's own type of sub-commands is private
LEVELS = ("ulam", "tlam", "hlam", "llam", "sram", "mirror")
ANIMATED = (".gif", ".webp")


def _pair_of(name: str, separator: str) -> Callable[[str], tuple[int, int]]:
    def parse(text: str) -> tuple[int, int]:
        try:
            a, b = (int(part) for part in text.split(separator))
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {name}, such as 3{separator}12, got {text!r}") from None
        return a, b

    return parse


def _heads(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected head numbers such as 0,2,5, got {text!r}") from None


def _add_choice(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to take", "default: everything, of the conditional branch")
    group.add_argument("--layers", nargs="+", metavar="GLOB", help="layer names or globs, such as 'up_blocks.*'")
    group.add_argument("--heads", type=_heads, metavar="0,1", help="head numbers")
    group.add_argument(
        "--steps", type=_pair_of("FIRST:STOP", ":"), metavar="0:10", help="step range, half-open; 0 is the noisiest"
    )
    group.add_argument("--branch", default="cond", choices=("cond", "uncond"))
    group.add_argument("--reference", type=int, default=0, metavar="N", help="which reference, from 0")
    group.add_argument("--batch-index", type=int, default=0, metavar="N", help="which image of the batch, from 0")
    group.add_argument("--preset", default="default", choices=tuple(PRESETS), help="how layers are scaled and shown")


def _choice(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "layers": args.layers,
        "heads": args.heads,
        "steps": args.steps,
        "branch": args.branch,
        "reference": args.reference,
        "image": args.batch_index,
        "preset": args.preset,
    }


def add_show(commands: Commands) -> None:
    """Add `show` to the command line."""
    parser = commands.add_parser(
        "show",
        help="draw one level of a maps file over its picture",
        description="Draws a level of a run. Panels (tlam, hlam, llam) go on one sheet; with a .gif or .webp name they "
        "become an animation.",
    )
    parser.add_argument("maps", type=Path, metavar="MAPS", help="a .safetensors file written by I2AM")
    parser.add_argument("--level", required=True, choices=LEVELS)
    parser.add_argument("--side", default="R2G", choices=SIDES, help="which map (not for sram and mirror); default R2G")
    parser.add_argument("--groups", type=int, default=5, help="time groups of tlam (default 5)")
    parser.add_argument("--placed-only", action="store_true", help="leave out reference tokens that have no place")
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--at", type=_pair_of("ROW,COLUMN", ","), metavar="ROW,COLUMN", help="the patch of sram or mirror, as a cell"
    )
    place.add_argument("--pixel", type=_pair_of("X,Y", ","), metavar="X,Y", help="the same, as a pixel of the picture")
    _add_choice(parser)
    look = parser.add_argument_group("how to draw it")
    look.add_argument("--image", type=Path, help="the picture below (default: the one kept in the maps file)")
    look.add_argument("--threshold", type=float, help="keep values strictly above, such as 0.4")
    look.add_argument("--colours", choices=tuple(COLOURS), help="colour map (default: the preset's)")
    look.add_argument("--opacity", type=float, default=OPACITY, help=f"0 to 1 (default {OPACITY})")
    look.add_argument("--contour", type=float, metavar="LEVEL", help="draw a line at this level of the min-maxed map")
    look.add_argument("--scale", default="shared", choices=("shared", "each"), help="panels share one scale, or each its own")
    parser.add_argument("--out", type=Path, required=True, help="picture to write: .png, .jpg, .gif or .webp")
    parser.set_defaults(run=_show)


def _show(args: argparse.Namespace) -> int:
    maps = AttributionMaps.load(args.maps)
    heat = _heat(maps, args)
    picture = _picture(maps, heat, args.image, args.reference)
    look: dict[str, Any] = {"threshold": args.threshold, "colours": args.colours, "opacity": args.opacity}
    look["official"] = args.preset == "official"
    if args.contour is not None:
        look["contour"] = args.contour
    if args.out.suffix.lower() in ANIMATED:
        animation(frames(picture, heat, scale=args.scale, **look), args.out)
    elif len(heat.values) > 1:
        panels(picture, heat, scale=args.scale, **look).save(args.out)
    else:
        overlay(picture, heat, **look).save(args.out)
    log.info("%s: %s", args.out, "; ".join((heat.level, *heat.labels[:1], *heat.notes)))
    return 0


def _heat(maps: AttributionMaps, args: argparse.Namespace) -> Heat:
    if args.level in ("sram", "mirror"):
        direction = "reference" if args.level == "sram" else "generated"
        asked_on = "generated" if args.level == "sram" else "reference"
        grid = common_grid(maps, asked_on, args.layers, args.reference)
        if args.pixel:
            cell = grid.cell_of(*args.pixel)
        elif args.at:
            cell = args.at
        else:
            raise I2AMError(f"{args.level} shows one patch of the {asked_on} picture: give --at ROW,COLUMN or --pixel X,Y")
        return sram(maps, cell, direction, **_choice(args))
    level: dict[str, Callable[..., Heat]] = {"ulam": ulam, "tlam": tlam, "hlam": hlam, "llam": llam}
    extra = {"groups": args.groups} if args.level == "tlam" else {}
    return level[args.level](maps, args.side, placed_only=args.placed_only, **extra, **_choice(args))


def open_picture(path: Path) -> Image.Image:
    """A picture as RGB.

    Raises:
        I2AMError: the file is missing or is no picture.
    """
    try:
        return Image.open(path).convert("RGB")
    except FileNotFoundError:
        raise I2AMError(f"there is no file {path}") from None
    except UnidentifiedImageError:
        raise I2AMError(f"{path} is not a picture that can be read; give a PNG or JPEG") from None


def _picture(maps: AttributionMaps, heat: Heat, given: Path | None, reference: int) -> Image.Image:
    if given is not None:
        return open_picture(given)
    name = "generated" if heat.picture == "generated" else "reference" if reference == 0 else f"reference {reference + 1}"
    kept = maps.thumbnails.get(name)
    if kept is not None:
        return Image.fromarray(kept.numpy())
    return Image.new("RGB", (heat.size[1], heat.size[0]), (96, 96, 96))


def marked(picture: Image.Image, grid: TokenGrid, cell: tuple[int, int]) -> Image.Image:
    """The picture with a token's cell marked."""
    box = cell_box(grid, *cell, (picture.height, picture.width))
    return marker(picture, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box=box)


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
    parser.add_argument("--side", default="R2G", choices=[s for s in SIDES if s != "G2R"], help="map of IMACS_g (default R2G)")
    parser.add_argument("--lambda", dest="weight", type=float, default=3.0, help="weight of what lies outside (default 3)")
    parser.add_argument("--threshold", type=float, default=0.4, help="default 0.4")
    parser.add_argument("--json", type=Path, help="also write the scores here")
    _add_choice(parser)
    parser.set_defaults(run=_score)


def _mask(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.asarray(open_picture(path).convert("L"), dtype=np.float32) / 255)


def _score(args: argparse.Namespace) -> int:
    maps = AttributionMaps.load(args.maps)
    pair = imacs_pair(
        maps,
        _mask(args.inpaint_mask),
        _mask(args.reference_mask),
        side=args.side,
        weight=args.weight,
        level=args.threshold,
        **_choice(args),
    )
    if args.json is not None:
        args.json.write_text(json.dumps({k: s.as_dict() for k, s in pair.items()}, indent=2) + "\n", encoding="utf-8")
    for line in score_table({args.preset: pair}):
        log.info("%s", line)
    return 0


def score_table(scores: dict[str, dict[str, Score]]) -> list[str]:
    """Scores as lines of text: preset -> g/r -> score."""
    rows: list[tuple[str, ...]] = [("", "score", "inside", "outside", "AUC", "mass ratio", "shifted", "random")]
    notes: list[str] = []
    for preset, pair in scores.items():
        for side, s in pair.items():
            values = (s.score, s.inside, s.outside, s.auc, s.mass_ratio, s.shifted, s.random)
            rows.append((f"IMACS_{side} {preset}", *("-" if v is None else f"{v:.3f}" for v in values)))
            notes += [f"IMACS_{side} {preset}: {note}" for note in s.notes if note not in notes]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths))) for row in rows]
    return lines + list(dict.fromkeys(notes))
