"""`i2am rank`: which layers of a model to believe, from recorded runs and their pictures."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from ..data.pictures import open_picture
from ..data.text import read_text
from ..evaluation.layers import rank_by_details
from ..maps.value import AttributionMaps
from ..outputs.layer_preset import add_run, effects_of
from ..outputs.layer_sheet import layer_picture, layer_table
from ..scores.ranking import ACCURACY, ORDERS
from .choosing import Commands, add_choice, choice_from, read_mask

log = logging.getLogger("i2am")


def add_rank(commands: Commands) -> None:
    """Add `rank` to the command line."""
    parser = commands.add_parser(
        "rank",
        help="which layers of a model to believe",
        description="How often each layer's patches look at the place where SIFT finds the same detail on the reference. Each "
        "run adds to a file, which then says which layers to believe.",
    )
    parser.add_argument("maps", type=Path, metavar="MAPS", help="a .safetensors file written by I2AM, with pairwise maps")
    parser.add_argument("--image", type=Path, required=True, help="the generated picture")
    parser.add_argument("--reference-image", type=Path, required=True, help="the picture of the reference")
    parser.add_argument("--inpaint-mask", type=Path, help="white = repainted; details outside of it are left out")
    parser.add_argument("--reference-mask", type=Path, help="white = the object; details outside of it are left out")
    parser.add_argument("--by-head", action="store_true", help="look at each head too")
    parser.add_argument("--effects", type=Path, metavar="JSON", help="effects.json of `i2am cause --question layers`")
    parser.add_argument("--by", choices=ORDERS, default=ACCURACY, help="what the layers are ranked by (default accuracy)")
    parser.add_argument("--file", type=Path, default=Path("layers.json"), help="what the run is added to (default layers.json)")
    parser.add_argument("--out", type=Path, help="also draw the ranking here, as PNG")
    add_choice(parser)
    parser.set_defaults(run=_rank)


def _rank(args: argparse.Namespace) -> int:
    maps = AttributionMaps.load(args.maps)
    pictures = open_picture(args.image), open_picture(args.reference_image)
    inside, object_ = (None if path is None else read_mask(path) for path in (args.inpaint_mask, args.reference_mask))
    choice = choice_from(args)
    found = rank_by_details(maps, *pictures, choice, inpaint_mask=inside, reference_mask=object_, heads=args.by_head)
    effects = (
        None
        if args.effects is None
        else effects_of(read_text(args.effects, "the effects.json of `i2am cause --question layers`"), args.reference)
    )
    preset = add_run(args.file, maps, found, args.reference, choice.image, effects)
    log.info("%s", layer_table(preset, args.by))
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        layer_picture(preset, args.by).save(args.out)
    return 0
