"""Draws the pictures of the nodes' help pages from one run of the bundled model, by the library that the nodes use.

    python tests/help_pictures.py [FOLDER]     (none: web/docs)

They are small on purpose: tests/test_documents.py holds how much all of them may take.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image

from i2am.answers.regions import Region
from i2am.demo.pictures import picture_of
from i2am.demo.recording import recording_of
from i2am.drawn.draw import draw_pairs
from i2am.drawn.letters import letter_mask
from i2am.drawn.scene import DemoCase
from i2am.drawn.truth_picture import truth_picture
from i2am.levels.choice import Choice
from i2am.levels.marginal import level_of, ulam
from i2am.levels.mirror import mirror_of_object
from i2am.maps.value import AttributionMaps
from i2am.models.demo.tryon import DemoModel, try_on
from i2am.outputs.first_look import first_look
from i2am.outputs.report import report_of_run
from i2am.outputs.score_card import score_cards
from i2am.pictures.look import Look
from i2am.pictures.overlay import overlay
from i2am.pictures.panels import panels
from i2am.pictures.pointed import patch_heat
from i2am.pictures.sheet import sheet
from i2am.scores.run import score_image

ROOT = Path(__file__).resolve().parents[1]
DOCS, WORKFLOWS = ROOT / "web" / "docs", ROOT / "workflows"
MARGIN = 30
"""As tests/workflows/screenshots.js has it."""
SEED, STEPS, CFG = 21, 20, 5.0
WIDE = 900
"""Pixels, at most; the help panel is narrower."""
QUALITY = 86


class Run:
    """One try-on with its maps and pictures."""

    def __init__(self) -> None:
        model, self.case = DemoModel.load(), DemoCase.draw(SEED)
        own, worn = self.case.own, self.case.worn
        recording = recording_of(
            model, images=1, steps=STEPS, cfg=CFG, inpaint_mask=own.inpaint_mask[0, 0], pairwise="mean", info={"seed": SEED}
        )
        known = {"agnostic": own.agnostic, "densepose": own.densepose}
        with recording:
            made = try_on(model, reference=worn.reference, seeds=[SEED], steps=STEPS, cfg=CFG, **known)[0]
        self.maps: AttributionMaps = recording.maps
        self.generated, self.reference = picture_of(made), picture_of(worn.reference[0])
        self.inside, self.object = own.inpaint_mask[0], worn.reference_mask[0]


def look(run: Run) -> Image.Image:
    """I²AM Look's sheet."""
    letter = Region("letter", letter_mask(run.case.worn_spec))
    given = ([run.generated], [run.reference], run.inside, run.object)
    return first_look(run.maps, *given, regions=[letter]).sheets[0]


def sides(run: Run) -> Image.Image:
    """The maps of I²AM Map, each with its caption."""
    shown = [(run.generated, ulam(run.maps, side)) for side in ("R2G", "R2G-balanced")]
    shown.append((run.reference, ulam(run.maps, "G2R")))
    return sheet([(overlay(picture, heat, colour_bar=False), "") for picture, heat in shown], 3)


def grid(run: Run) -> Image.Image:
    """I²AM Grid with a map over time."""
    return panels(run.reference, level_of(run.maps, "TLAM", "G2R", groups=4), columns=4)


def patch(run: Run) -> Image.Image:
    """Both directions of I²AM Patch Map."""
    items = []
    for direction, at, pictures in (
        ("reference", (52, 58), (run.generated, run.reference)),
        ("generated", (58, 62), (run.reference, run.generated)),
    ):
        heat, marked = patch_heat(run.maps, direction, at, Choice(), pictures=[pictures[0]])
        items += [(marked, "marked"), (overlay(pictures[1], heat, colour_bar=False), "")]
    return sheet(items, 4, text=20)


def threshold(run: Run) -> Image.Image:
    """The same heat without and with a threshold."""
    heat = mirror_of_object(run.maps, run.object)
    kept = (("without Threshold", None), ("threshold 0.4", 0.4), ("threshold 0.7", 0.7))
    drawn = [
        (overlay(run.generated, heat, look=Look(threshold=at), colour_bar=False, caption=False), text) for text, at in kept
    ]
    return sheet(drawn, 3)


def overlays(run: Run) -> Image.Image:
    """Ways to draw a heat."""
    heat = mirror_of_object(run.maps, run.object)
    ways = (
        ("colour_bar on", Look(), True),
        ("colours viridis, opacity 0.5", Look(colours="viridis", opacity=0.5), False),
        ("opacity 0, contour 0.4", Look(opacity=0, contour=0.4), False),
    )
    return sheet([(overlay(run.generated, heat, look=how, colour_bar=bar, caption=False), text) for text, how, bar in ways], 3)


def imacs(run: Run) -> Image.Image:
    """The card of I²AM IMACS."""
    scored = score_image(run.maps, run.inside, run.object, side="mirror")
    given = {"g": [run.generated], "r": [run.reference]}
    return score_cards(run.maps, [scored], 0.4, given=given)[0]


def pair(run: Run) -> Image.Image:
    """What I²AM Demo Pair gives."""
    own, worn = run.case.own, draw_pairs([run.case.worn_spec])
    names = ("person", "agnostic", "densepose", "reference", "correspondence", "answer")
    shown = (own.person, own.agnostic, own.densepose, worn.reference, truth_picture(worn), worn.person)
    items = [(_large(picture_of(tensor[0])), name) for name, tensor in zip(names, shown, strict=True)]
    return sheet(items, 6, text=24)


def _large(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width * 256 // picture.height, 256), Image.Resampling.NEAREST)


def report(run: Run) -> Image.Image:
    """The page of I²AM Report with a patch pinned, in a headless Chromium."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("the picture of I²AM Report needs a Chromium on PATH")
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder) / "report.html", Path(folder) / "report.png"
        report_of_run(page, run.maps, [run.generated], [run.reference], run.inside, run.object)
        flags = "--headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1200,900 --virtual-time-budget=9000"
        command = [browser, *flags.split(), f"--user-data-dir={folder}/profile", f"--screenshot={shot}"]
        subprocess.run([*command, f"{page.as_uri()}#generated=52,58"], check=True, capture_output=True, timeout=240)
        return Image.open(shot).convert("RGB")


def cut_out(workflow: str, group: str) -> Image.Image:
    """A group of a workflow's picture, which shows the graph with a margin of `MARGIN` of its own units."""
    groups = {g["title"]: g["bounding"] for g in json.loads((WORKFLOWS / f"{workflow}.json").read_text("utf-8"))["groups"]}
    left, top = (min(box[i] for box in groups.values()) - MARGIN for i in (0, 1))
    right = max(box[0] + box[2] for box in groups.values()) + MARGIN
    with Image.open(WORKFLOWS / f"{workflow}.jpg") as whole:
        scale = whole.width / (right - left)
        x, y, width, height = groups[group]
        box = ((x - left) * scale, (y - top) * scale, (x - left + width) * scale, (y - top + height) * scale)
        return whole.convert("RGB").crop(tuple(map(round, box)))


PICTURES = {
    "Look": look,
    "Map": sides,
    "Grid": grid,
    "PatchMap": patch,
    "Threshold": threshold,
    "Overlay": overlays,
    "IMACS": imacs,
    "DemoPair": pair,
    "Report": report,
    "Record": lambda _run: cut_out("01_quick_start", "Record and sample"),
    "Explorer": lambda _run: cut_out("17_explorer", "Point at it"),
}
"""By the node that each explains."""


def main(folder: Path = DOCS) -> None:
    """Draw all of them."""
    torch.set_num_threads(1)
    run = Run()
    for name, draw in PICTURES.items():
        picture = draw(run)
        if picture.width > WIDE:
            picture = picture.resize((WIDE, round(picture.height * WIDE / picture.width)), Image.Resampling.LANCZOS)
        path = folder / f"I2AM_{name}.jpg"
        picture.save(path, quality=QUALITY, optimize=True, progressive=True)
        print(f"{path.name}: {picture.width} x {picture.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
