"""`python -m i2am.demo.evaluate.routes`: do the routes' shares foretell what cutting them changes? On the bundled edit model.

Held-out pairs from one noise each. The uncut run is recorded, with the share of every route; then the ways to a reference are
cut from the same noise: the direct one, that by the text, both, and all that anyone sees of it, in all layers and in each
alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ...drawn.groups import held_out_groups
from ...evaluation.samplers.edit_recording import EditRecording
from ...interventions.plan import Cut
from ...levels.choice import Choice
from ...levels.marginal import ulam
from ...levels.share import DIRECTLY, THROUGH, mean_shares, routes, routes_of
from ...levels.sinks import sinks
from ...maps.value import AttributionMaps
from ...models.edit.calls import BOTH
from ...models.edit.family import GRID, WEIGHTS
from ...options import MOST_AT_ONCE, whole
from ...scores.effect import rank_correlation
from ..cause import cut_attention
from ..edit_model import EditTryOn
from .edit.cases import FIRST, EditBatch, Truth
from .figures import rounded
from .guidance import interval

Figures = dict[str, Any]

PAIRS, STEPS, BATCH = 32, 8, 4
WAYS: dict[str, tuple[str, ...]] = {
    DIRECTLY: ("generated",),
    THROUGH: ("text",),
    "both": ("generated", "text"),
    "all": ("all",),
}
"""The routes that each run cuts to a reference; the last hides the reference from everybody."""
MAPS = {DIRECTLY: "mass", THROUGH: "via text"}
"""The map of each route on the generated picture."""


def cuts_of(reference: int, way: str, layer: str | None = None) -> tuple[Cut, ...]:
    """What a run cuts, in one layer or in all of them."""
    layers = None if layer is None else (layer,)
    return tuple(Cut("reference", reference, route=route, layers=layers) for route in WAYS[way])


class Measured:
    """What is known of pairs: shares and changes by name, a number for each pair."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, ...], list[float]] = {}

    def add(self, key: tuple[str, ...], values: Tensor | Sequence[float | None]) -> None:
        """Add a batch's, a number for each pair; what cannot be said is left out."""
        known = values.tolist() if isinstance(values, Tensor) else values
        self.rows.setdefault(key, []).extend(value for value in known if value is not None)


def measure(tryon: EditTryOn, seeds: Sequence[int], steps: int, into: Measured) -> Iterator[None]:
    """Make the runs of a batch and measure them, yielding after each run.

    Shares and changes are means over the patches that show the garment, for the person over those that stay as they are.
    """
    case, recording = EditBatch.draw(seeds), EditRecording(len(seeds), steps, pairwise=None)
    latents, truth = (tryon.encode(case.edits.person), tryon.encode(case.edits.garment)), Truth.of(case.edits)
    where = dict(zip(BOTH, (truth.person.float(), truth.garment.float()), strict=True))

    def picture(cuts: tuple[Cut, ...]) -> Tensor:
        return tryon.edit(*latents, [*seeds], steps=steps, attend=cut_attention(cuts))

    before = tryon.edit(*latents, [*seeds], steps=steps, attend=recording.attend, on_step=recording.on_step)
    maps = recording.finish()
    layers = tuple(x.name for x in maps.layers if maps.has("via_text", x.name))
    for image in range(maps.images):
        found = sinks(maps, _choice(0, image, layers))
        whole = mean_shares(routes(maps, _choice(0, image, layers)))
        into.add(("sinks", "of the text"), [sum(sink.share for sink in found.found if sink.reference is None)])
        for index, name in enumerate(BOTH):
            handed = sum(sink.handed_on[index] for sink in found.found if sink.handed_on)
            into.add(("handed on", name, "by sinks"), [handed])
            into.add(("handed on", name, "in all"), [routes_of(whole, name)[1]])
    told = {index: _told(maps, index, layers, into, where[name]) for index, name in enumerate(BOTH)}
    yield

    def changed(cuts: tuple[Cut, ...]) -> Tensor:
        """(B, 192), each patch's mean absolute change, in 0-1."""
        return F.adaptive_avg_pool2d((picture(cuts) - before).abs().mean(1, keepdim=True), GRID).flatten(1)

    for index, name in enumerate(BOTH):
        for way in WAYS:
            change = changed(cuts_of(index, way))
            into.add(("change", name, way), _over(change, where[name]))
            for route, patches in told[index].items():
                if way in MAPS:
                    pairs = zip(patches, change, strict=True)
                    into.add(("patches", name, route, way), [rank_correlation(a, b) for a, b in pairs])
            yield
    into.add(("change", "text", "all"), _over(changed((Cut("text", route="generated"),)), where["garment"]))
    yield
    for way in MAPS:
        by_layer = []
        for layer in layers:
            by_layer.append(_over(changed(cuts_of(BOTH.index("garment"), way, layer)), where["garment"]))
            into.add(("layer change", layer, way), by_layer[-1])
            yield
        shares = torch.stack([torch.tensor(into.rows["layer share", layer, way][-len(seeds) :]) for layer in layers], 1)
        made = torch.stack(by_layer, 1)
        into.add(("layers", way), [rank_correlation(a, b) for a, b in zip(shares, made, strict=True)])


def _told(maps: AttributionMaps, index: int, layers: tuple[str, ...], into: Measured, where: Tensor) -> Mapping[str, Tensor]:
    """The shares of a reference's routes in each patch, (B, 192) by route, which are added where its patches are."""
    name, found = BOTH[index], {}
    for way, side in MAPS.items():
        found[way] = torch.stack([ulam(maps, side, _choice(index, i, layers)).values[0].flatten() for i in range(maps.images)])
        into.add(("share", name, way), _over(found[way], where))
    if name == "garment":
        for layer in layers:
            for way, side in MAPS.items():
                values = [ulam(maps, side, _choice(index, i, (layer,))).values[0].flatten() for i in range(maps.images)]
                into.add(("layer share", layer, way), _over(torch.stack(values), where))
        for i in range(maps.images):
            heat = routes(maps, _choice(index, i, layers))
            for label, value in zip(heat.labels, heat.values, strict=True):
                into.add(("split", label), _over(value.flatten()[None], where[i : i + 1]))
    return found


def _choice(reference: int, image: int, layers: tuple[str, ...]) -> Choice:
    return Choice(reference=reference, image=image, layers=layers)


def _over(values: Tensor, where: Tensor) -> Tensor:
    """(B,), the mean over the patches (B, 192) that are 1."""
    return (values * where).sum(1) / where.sum(1)


def figures(measured: Measured) -> Figures:
    """Means over pairs with 95 % intervals, by what they are of; ``of_all``: a change as a part of that where all is hidden."""
    rows = measured.rows
    found: Figures = {}
    for (what, *names), values in rows.items():
        place = found.setdefault(what, {})
        for name in names[:-1]:
            place = place.setdefault(name, {})
        place[names[-1]] = interval(values) if values else None
    for name in BOTH:
        hidden = rows["change", name, "all"]
        means = {way: sum(rows["change", name, way]) / sum(hidden) for way in WAYS if way != "all"}
        found.setdefault("of_all", {})[name] = means
        share = {way: sum(rows["share", name, way]) for way in MAPS}
        found.setdefault("of_both", {})[name] = share[THROUGH] / (share[DIRECTLY] + share[THROUGH])
    return found


def main(argv: list[str] | None = None) -> int:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m i2am.demo.evaluate.routes", description=__doc__)
    parser.add_argument("--pairs", type=whole(1, 10_000), default=PAIRS, help=f"held-out pairs (default {PAIRS})")
    parser.add_argument("--steps", type=whole(1, 1000), default=STEPS, help=f"Euler steps (default {STEPS})")
    parser.add_argument("--batch", type=whole(1, MOST_AT_ONCE), default=BATCH, help=f"pairs at a time (default {BATCH})")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="JSON file to write the figures to")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="the edit model's folder (default: the bundled one)")
    args = parser.parse_args(argv)
    tryon, seeds, measured = EditTryOn.load(args.weights), held_out_groups(FIRST, args.pairs), Measured()
    starts = range(0, len(seeds), args.batch)
    with tqdm(desc="routes", unit="run") as bar, torch.no_grad():
        for first in starts:
            for _ in measure(tryon, seeds[first : first + args.batch], args.steps, measured):
                bar.update()
    about = tryon.model.about
    setup = {
        "command": f"python -m i2am.demo.evaluate.routes --pairs {args.pairs} --steps {args.steps}",
        "pairs": len(seeds),
        "steps": args.steps,
        "samples": about.get("samples"),
        "ways": {name: [cut.sentence for cut in cuts_of(1, name)] for name in WAYS},
    }
    found = rounded({"setup": setup, **figures(measured)})
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
