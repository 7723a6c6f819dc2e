"""The demo's page: the edit with two references, then the try-on with one, each with the page to explore it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..evaluation.compare.html import Html, table, tag, text
from ..evaluation.compare.page import HEAD
from ..evaluation.compare.style import STYLE
from .card.markdown import number

PICTURES = (
    "img { border-radius: 8px; display: block; height: auto; margin: 12px 0; max-width: 100%; } .go { font-size: 1.1rem; }"
)
ABOUT = (
    "Drawn persons and garments, whose true correspondence is known, and the two small models that come with I²AM. The maps "
    "say where a model looked. Only a change of what it sees, from the same noise, shows what caused what."
)
EDIT = (
    "The model is given a person in their own clothes and a garment, without a mask, and draws the person in that garment. "
    "Which of the two did each patch take from?"
)
TRY_ON = (
    "The paper's kind of model: what the new garment may cover is masked out of the person, and the garment is its one "
    "reference."
)
LETTERS = (
    "What I²AM Look says in a graph. Each letter was named as a region of the garment, as you would name a logo. The model "
    "card says how often such a verdict is right."
)
CUT = (
    "The same noise again, with one reference cut out of the model's attention. What changes now was caused by the cut. "
    "The command i2am cause and the node I²AM Proof ask this of other models."
)
MEASURED = ("", "this run", "by chance", "the same place", "how often it is garment elsewhere")


def write_page(out: Path, scores: Mapping[str, Any]) -> Path:
    """Write ``report.html`` from the pictures that lie in ``out``, which it embeds, with links to the pages beside it."""
    title = f"I²AM demo, seed {scores['seed']}"
    parts = [tag("h1", title), tag("p", ABOUT)]
    parts += _edit(out, scores["edit"]) if "edit" in scores else []
    parts += _tryon(out, scores)
    style, body = f"{STYLE}{PICTURES}", "\n".join(parts)
    path = out / "report.html"
    whole = f"{HEAD}<title>{text(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    path.write_text(whole, encoding="utf-8")
    return path


def _edit(out: Path, edit: Mapping[str, Any]) -> list[Html]:
    near, base, picture = edit["within_1"], edit["baselines"], edit["picture"]
    chance, same = (base["within_1"][name] for name in ("chance", "same_place"))
    rows = [
        (
            "Which reference: area under the ROC curve for the true garment",
            *_figures(edit["share_roc"], 0.5, None, base["share_roc"]),
        ),
        ("Which reference: overlap with it at one half", *_figures(edit["share_iou"], None, None, base["share_iou"])),
        (
            "A garment patch's own map peaks within a patch of home",
            *_figures(near["garment"], chance["garment"], same["garment"], None),
        ),
        ("The same of a patch that stays, on the person's picture", *_figures(near["person"], chance["person"], None, None)),
    ]
    decibels = (number(picture[f"psnr_{region}"], ".1f") for region in ("garment", "kept"))
    caption = "PSNR of the picture: {} dB in the garment, {} dB in what must stay.".format(*decibels)
    return [
        tag("h2", "An edit with two references"),
        tag("p", EDIT),
        _shown(out / "edit.png", "What went in, what came out, and which reference each patch took from"),
        table(caption, MEASURED, rows),
        _go("edit.html", "Explore this edit: point at a patch to see where it came from"),
        *(_cuts(out, edit["cuts"]) if "cuts" in edit else []),
    ]


def _cuts(out: Path, cuts: Mapping[str, Any]) -> list[Html]:
    kinds = (("mean", ".3f"), ("share_inside", ".0%"), ("area", ".0%"))
    rows = [(name, *(number(one[kind], how) for kind, how in kinds)) for name, one in cuts.items()]
    return [
        tag("h3", "Did each reference matter?"),
        tag("p", CUT),
        _shown(out / "edit_cuts.png", "The picture, and the same without each of its references, from the same noise"),
        table("What each cut changed.", ("", "mean change", "of it in the new garment", "the garment's area"), rows),
    ]


def _tryon(out: Path, scores: Mapping[str, Any]) -> list[Html]:
    points = scores["correspondence"]
    near = (points[name] for name in ("within_1", "chance", "same_place"))
    told = "A garment patch's own map peaks within a patch of home in {} of cases (by chance {}, at the same place {})."
    parts = [
        tag("h2", "A try-on with one reference"),
        tag("p", TRY_ON),
        _shown(out / "overview.png", "Inputs, result, and the maps on both pictures"),
        tag("p", told.format(*(number(share, ".1%") for share in near))),
        _go("tryon.html", "Explore this try-on: point at a patch of one picture for its map on the other"),
        tag("h3", "Did its letters arrive?"),
        tag("p", LETTERS),
        _shown(out / "look.png", "The answer in words, with a sentence for each letter, and the maps that it was made from"),
        _shown(out / "sram.png", "Which part of the garment some patches looked at"),
    ]
    if "causal" in scores:
        parts.append(_shown(out / "causal.png", "A block of the garment recoloured: what changed, and what the maps foretold"))
    return parts


def _figures(*values: float | None) -> tuple[str, ...]:
    return tuple(number(value, ".3f") for value in values)


def _go(page: str, words: str) -> Html:
    return tag("p", tag("a", words, href=page), class_="go")


def _shown(path: Path, alt: str) -> Html:
    data = base64.b64encode(path.read_bytes()).decode()
    return tag("img", alt=alt, src=f"data:image/png;base64,{data}")
