"""`i2am show`: one level of a maps file drawn over its picture."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from PIL import Image

from ..data.pictures import open_picture
from ..errors import I2AMError, shown
from ..geometry.points import Point, points_of
from ..geometry.shapes import check_shape
from ..levels.heat import Heat
from ..levels.marginal import LEVELS, level_of
from ..levels.patch import asked_grid, sram
from ..levels.share import SHARES
from ..levels.word_maps import SIDE as WORDS
from ..levels.word_maps import told_words
from ..maps.kinds import level_sides
from ..maps.value import AttributionMaps
from ..options import number, whole
from ..pictures.backdrop import backdrop
from ..pictures.colours import COLOURS
from ..pictures.film import animation, frames
from ..pictures.look import OPACITY, Look
from ..pictures.overlay import overlay
from ..pictures.overlays import overlays
from ..pictures.panels import panels
from ..pictures.pointed import patch_heat
from ..pictures.sheet import sheet
from ..pictures.which_overlays import by_reference
from .choosing import Commands, add_choice, add_placed_only, choice_from, pair_of, read_mask, typed

log = logging.getLogger("i2am")


SHOWN = (*(x.lower() for x in LEVELS), "sram", "mirror")
ANIMATED = (".gif", ".webp")
STILL = (".png", ".jpg", ".jpeg")


def _drawing(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or path.suffix.lower() not in (*STILL, *ANIMATED):
        kind = "a folder" if path.is_dir() else "no such name"
        raise argparse.ArgumentTypeError(f"expected a file name that ends in .png, .jpg, .gif or .webp; {text!r} is {kind}")
    return path


def _pixel(text: str) -> Point:
    """One pixel x, y.

    Raises:
        I2AMError: the text is none, or several.
    """
    try:
        (point,) = points_of(text)
    except (I2AMError, ValueError):
        raise I2AMError(f"expected X,Y, such as 120,80, got {shown(text, 100)!r}") from None
    return point


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
    sides = (*level_sides(), *SHARES, WORDS)
    parser.add_argument("--side", choices=sides, help="which map (not for sram and mirror); default R2G")
    parser.add_argument(
        "--word",
        metavar="WORDS",
        help="of --side words: which words or phrases of the prompt, such as 'dress; red shoes' (default: all of them, beside "
        "the references and the rest)",
    )
    parser.add_argument("--groups", type=whole(1), default=5, help="time groups of tlam (default 5; at most one per step)")
    add_placed_only(parser)
    parser.add_argument(
        "--reference-mask",
        type=Path,
        metavar="MASK",
        help="white = the object; the official preset multiplies its G2R by it",
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--at", type=pair_of("ROW,COLUMN", ","), metavar="ROW,COLUMN", help="the patch of sram or mirror, by its row and column"
    )
    place.add_argument(
        "--pixel",
        type=typed(_pixel),
        metavar="X,Y",
        help="the same, as a pixel of the generated picture (sram) or of the reference (mirror) at its recorded size; also as "
        "reports and captions write it: '120, 80 (row 20, column 30)'",
    )
    place.add_argument(
        "--region", type=Path, metavar="MASK", help="a whole region instead: a mask of that picture, white = meant"
    )
    add_choice(parser)
    look = parser.add_argument_group("how to draw it")
    look.add_argument(
        "--image",
        type=Path,
        help="the picture below: the reference for G2R and sram, else the generated one (default: as kept)",
    )
    look.add_argument("--threshold", type=number(), help="keep values strictly above, such as 0.4")
    look.add_argument("--colours", choices=tuple(COLOURS), help="colour map (default: the preset's)")
    look.add_argument("--opacity", type=number(), default=OPACITY, help=f"0 to 1 (default {OPACITY})")
    look.add_argument("--contour", type=number(), metavar="VALUE", help="draw a line at this value of the min-maxed map")
    look.add_argument("--scale", default="shared", choices=("shared", "each"), help="panels share one scale, or each its own")
    parser.add_argument("--out", type=_drawing, required=True, help="picture to write: .png, .jpg, .gif or .webp")
    parser.set_defaults(run=_show)


def _show(args: argparse.Namespace) -> int:
    maps = AttributionMaps.load(args.maps)
    heat = _heat(maps, args)
    picture = _picture(maps, heat, args.image, args)
    look = Look(
        threshold=args.threshold,
        colours=args.colours,
        opacity=args.opacity,
        contour=False if args.contour is None else args.contour,
        official=args.preset == "official",
        scale=args.scale,
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if by_reference(heat, look):
        coloured = overlays([picture], heat, look)
        if args.out.suffix.lower() in ANIMATED:
            animation(coloured, args.out)
        else:
            (coloured[0] if len(coloured) == 1 else sheet([(one, "") for one in coloured])).save(args.out)
    elif args.out.suffix.lower() in ANIMATED:
        animation(frames(picture, heat, look), args.out)
    elif len(heat.values) > 1:
        panels(picture, heat, look).save(args.out)
    else:
        overlay(picture, heat, look=look).save(args.out)
    log.info("%s: %s", args.out, "; ".join((*_told(heat), *heat.notes)))
    return 0


def _told(heat: Heat) -> tuple[str, ...]:
    """What a heat is, in words: its level and side, and its one label or how many panels it has."""
    name = heat.side if heat.level == "SRAM" else f"{heat.level} {heat.side}"
    name += f" of {heat.of}" if heat.of else ""
    if len(heat.labels) == 1 or (heat.side, heat.level) == (WORDS, "ULAM"):
        return name, *heat.labels
    return name, f"{len(heat.labels)} panels", f"{heat.labels[0]} to {heat.labels[-1]}"


def _heat(maps: AttributionMaps, args: argparse.Namespace) -> Heat:
    """The maps that were asked for."""
    choice, preset = choice_from(args), args.preset
    if args.level in ("sram", "mirror"):
        _check_place(args)
        direction = "reference" if args.level == "sram" else "generated"
        if args.region is not None:
            return patch_heat(maps, direction, (0, 0), choice, region=read_mask(args.region), preset=preset)[0]
        if args.pixel:
            cell = asked_grid(maps, direction, choice, preset=preset).cell_of(*args.pixel)
        elif args.at:
            cell = args.at
        else:
            asked_on = "generated" if args.level == "sram" else "reference"
            raise I2AMError(
                f"{args.level} shows a place on the {asked_on} picture: give --at ROW,COLUMN, --pixel X,Y or --region MASK"
            )
        return sram(maps, cell, direction, choice, preset=preset)
    if args.at or args.pixel or args.region:
        raise I2AMError(f"--at, --pixel and --region choose a place for sram and mirror; {args.level} is of all places")
    side = args.side or "R2G"
    if args.word is not None and side != WORDS:
        raise I2AMError(f"--word chooses among the words of the prompt, but {side} is asked for: add --side words")
    if args.reference_mask is not None and (side, args.preset) != ("G2R", "official"):
        raise I2AMError("--reference-mask is what the official preset multiplies its G2R by: add --side G2R --preset official")
    heat = level_of(
        maps,
        args.level.upper(),
        side,
        choice,
        groups=args.groups,
        preset=preset,
        placed_only=args.placed_only,
        reference_mask=None if args.reference_mask is None else read_mask(args.reference_mask),
        word=args.word or "",
    )
    return replace(heat, labels=tuple(told_words(heat))) if side == WORDS else heat


def _check_place(args: argparse.Namespace) -> None:
    """Refuse what only levels take."""
    given = {
        "--side": args.side,
        "--word": args.word,
        "--placed-only": args.placed_only,
        "--reference-mask": args.reference_mask,
    }
    told = [name for name, value in given.items() if value not in (None, False)]
    if told:
        raise I2AMError(f"{args.level} is one map, over placed tokens, without a mask: leave out {' and '.join(told)}")


def _picture(maps: AttributionMaps, heat: Heat, given: Path | None, args: argparse.Namespace) -> Image.Image:
    if given is not None:
        picture = open_picture(given)
        known = maps.generated_size if heat.picture == "generated" else maps.references[args.reference].grid.picture
        check_shape("picture", (picture.height, picture.width), known or (0, 0), f"recorded {heat.picture} image")
        return picture
    return backdrop(maps, heat.picture, args.batch_index if heat.picture == "generated" else args.reference, heat.size)
