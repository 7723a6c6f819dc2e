"""The commands that read a maps file: `show` draws a level of it, `score` gives its IMACS."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from ..errors import I2AMError
from ..levels.batch import check_shape
from ..levels.choice import heads_of, steps_of
from ..levels.heat import Heat
from ..levels.marginal import LEVELS, SIDES, level_of
from ..levels.patch import asked_grid, sram
from ..levels.presets import PRESETS
from ..maps.value import AttributionMaps
from ..pictures.backdrop import backdrop
from ..pictures.film import animation, frames, panels
from ..pictures.marks import marked
from ..pictures.overlay import COLOURS, OPACITY, overlay
from ..pictures.pointed import patch_heat
from ..scores.imacs import SCORED, imacs_pair
from ..scores.run import score_table

log = logging.getLogger("i2am")

__all__ = ["add_score", "add_show", "marked", "open_picture", "score_table"]

T = TypeVar("T")
Commands = Any  # argparse's own type of sub-commands is private
SHOWN = (*(x.lower() for x in LEVELS), "sram", "mirror")
ANIMATED = (".gif", ".webp")
STILL = (".png", ".jpg", ".jpeg")


def _pair_of(name: str, separator: str) -> Callable[[str], tuple[int, int]]:
    def parse(text: str) -> tuple[int, int]:
        try:
            a, b = (int(part) for part in text.split(separator))
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {name}, such as 3{separator}12, got {text!r}") from None
        return a, b

    return parse


def _typed(parse: Callable[[str], T]) -> Callable[[str], T]:
    def parsed(text: str) -> T:
        try:
            return parse(text)
        except I2AMError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def _drawing(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or path.suffix.lower() not in (*STILL, *ANIMATED):
        kind = "a folder" if path.is_dir() else "no such name"
        raise argparse.ArgumentTypeError(f"expected a file name that ends in .png, .jpg, .gif or .webp; {text!r} is {kind}")
    return path


def _add_choice(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to take", "default: everything, of the conditional branch")
    group.add_argument("--layers", nargs="+", metavar="GLOB", help="layer names or globs, such as 'up_blocks.*'")
    group.add_argument("--heads", type=_typed(heads_of), metavar="0,1", help="head numbers")
    group.add_argument("--steps", type=_typed(steps_of), metavar="0:10", help="step range, half-open; 0 is the noisiest")
    group.add_argument("--branch", default="cond", choices=("cond", "uncond"))
    group.add_argument("--reference", type=int, default=0, metavar="N", help="which reference, from 0")
    group.add_argument("--batch-index", type=int, default=0, metavar="N", help="which image of the batch, from 0")
    group.add_argument("--preset", default="default", choices=tuple(PRESETS), help="how layers are scaled and shown")


def _add_placed_only(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--placed-only", action="store_true", help="leave out reference tokens that have no place")


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
    parser.add_argument("--level", required=True, choices=SHOWN)
    parser.add_argument("--side", default="R2G", choices=SIDES, help="which map (not for sram and mirror); default R2G")
    parser.add_argument("--groups", type=int, default=5, help="time groups of tlam (default 5)")
    _add_placed_only(parser)
    parser.add_argument(
        "--reference-mask",
        type=Path,
        metavar="MASK",
        help="white = the object; the official preset multiplies its G2R by it",
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--at", type=_pair_of("ROW,COLUMN", ","), metavar="ROW,COLUMN", help="the patch of sram or mirror, as a cell"
    )
    place.add_argument(
        "--pixel",
        type=_pair_of("X,Y", ","),
        metavar="X,Y",
        help="the same, as a pixel of the generated picture (sram) or of the reference (mirror) at its recorded size",
    )
    place.add_argument(
        "--region", type=Path, metavar="MASK", help="a whole region instead: a mask of that picture, white = meant"
    )
    _add_choice(parser)
    look = parser.add_argument_group("how to draw it")
    look.add_argument(
        "--image",
        type=Path,
        help="the picture below: the reference for G2R and sram, else the generated one (default: as kept)",
    )
    look.add_argument("--threshold", type=float, help="keep values strictly above, such as 0.4")
    look.add_argument("--colours", choices=tuple(COLOURS), help="colour map (default: the preset's)")
    look.add_argument("--opacity", type=float, default=OPACITY, help=f"0 to 1 (default {OPACITY})")
    look.add_argument("--contour", type=float, metavar="LEVEL", help="draw a line at this level of the min-maxed map")
    look.add_argument("--scale", default="shared", choices=("shared", "each"), help="panels share one scale, or each its own")
    parser.add_argument("--out", type=_drawing, required=True, help="picture to write: .png, .jpg, .gif or .webp")
    parser.set_defaults(run=_show)


def _show(args: argparse.Namespace) -> int:
    maps = AttributionMaps.load(args.maps)
    heat = _heat(maps, args)
    picture = _picture(maps, heat, args.image, args)
    look: dict[str, Any] = {"threshold": args.threshold, "colours": args.colours, "opacity": args.opacity}
    look["official"] = args.preset == "official"
    if args.contour is not None:
        look["contour"] = args.contour
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.out.suffix.lower() in ANIMATED:
        animation(frames(picture, heat, scale=args.scale, **look), args.out)
    elif len(heat.values) > 1:
        panels(picture, heat, scale=args.scale, **look).save(args.out)
    else:
        overlay(picture, heat, **look).save(args.out)
    log.info("%s: %s", args.out, "; ".join((*_told(heat), *heat.notes)))
    return 0


def _told(heat: Heat) -> tuple[str, ...]:
    """What a heat is, in words: its level and side, and its one label or how many panels it has."""
    name = heat.side if heat.level == "SRAM" else f"{heat.level} {heat.side}"
    if len(heat.labels) == 1:
        return name, heat.labels[0]
    return name, f"{len(heat.labels)} panels", f"{heat.labels[0]} to {heat.labels[-1]}"


def _heat(maps: AttributionMaps, args: argparse.Namespace) -> Heat:
    if args.level in ("sram", "mirror"):
        direction = "reference" if args.level == "sram" else "generated"
        if args.region is not None:
            return patch_heat(maps, direction, (0, 0), region=_mask(args.region), **_choice(args))[0]
        if args.pixel:
            cell = asked_grid(maps, direction, **_choice(args)).cell_of(*args.pixel)
        elif args.at:
            cell = args.at
        else:
            asked_on = "generated" if args.level == "sram" else "reference"
            raise I2AMError(
                f"{args.level} shows a place on the {asked_on} picture: give --at ROW,COLUMN, --pixel X,Y or --region MASK"
            )
        return sram(maps, cell, direction, **_choice(args))
    if args.at or args.pixel or args.region:
        raise I2AMError(f"--at, --pixel and --region choose a place for sram and mirror; {args.level} is of all places")
    if args.reference_mask is not None and (args.side, args.preset) != ("G2R", "official"):
        raise I2AMError("--reference-mask is what the official preset multiplies its G2R by: add --side G2R --preset official")
    mask = None if args.reference_mask is None else _mask(args.reference_mask)
    level = {"groups": args.groups, "placed_only": args.placed_only, "reference_mask": mask}
    return level_of(maps, args.level.upper(), args.side, **level, **_choice(args))


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


def _picture(maps: AttributionMaps, heat: Heat, given: Path | None, args: argparse.Namespace) -> Image.Image:
    if given is not None:
        picture = open_picture(given)
        known = maps.generated_size if heat.picture == "generated" else maps.references[args.reference].grid.picture
        check_shape("picture", (picture.height, picture.width), known or (0, 0), f"recorded {heat.picture} image")
        return picture
    return backdrop(maps, heat.picture, args.batch_index if heat.picture == "generated" else args.reference, heat.size)


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
    _add_placed_only(parser)
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
        placed_only=args.placed_only,
        weight=args.weight,
        level=args.threshold,
        **_choice(args),
    )
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({k: s.as_dict() for k, s in pair.items()}, indent=2) + "\n", encoding="utf-8")
    for line in score_table({args.preset: pair}):
        log.info("%s", line)
    return 0
