"""The score card: both scored maps with their masks, the scores, and what a reader needs to judge them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from ..levels.heat import Heat, normalise
from ..maps.value import AttributionMaps
from ..numbers import typeset
from ..pictures.backdrop import backdrop
from ..pictures.lettering import INK, PAPER, QUIET, draw_text, line_height, text_width, wrap
from ..pictures.look import Look
from ..pictures.marks import draw_outline, enlarge
from ..pictures.matching import check_pictures, one_of, same_size
from ..pictures.paint import paint
from ..pictures.sheet import set_lines, sheet
from ..scores.imacs import Score
from ..scores.run import ImageScores

WIDTH = 470
"""The width of one half of the card, in pixels."""
PICTURE = 384
TEXT = 15
_SCORE, _BASELINE = (178, 34, 34), (120, 124, 130)
_NAMES = {"g": ("IMACS_g", "generated"), "r": ("IMACS_r", "reference")}
"""By the letter of a score, its name and the image that its map lies on."""


def score_card(image: ImageScores, pictures: Mapping[str, Image.Image], threshold: float, title: str = "IMACS") -> Image.Image:
    """One picture that shows the scores of one image of a run.

    Args:
        image: the scores, with their maps and masks.
        pictures: what the map of each score ("g", "r") is drawn on.
        threshold: that of the scores; pictures show what is above it.
        title: written above everything.
    """
    halves = [_half(letter, image, pictures.get(letter), threshold) for letter in ("g", "r")]
    items = [(one, "") for one in same_size(halves)]  # of one height, so that both begin at the top
    notes = [
        "Score: mean of the thresholded map inside the mask − λ × its mean outside; 1 is the best, −λ the worst. "
        "The white line is the mask's edge.",
        "AUC 0.5 and mass ratio 1 are chance. Grey marks are baselines: shifted, the same map moved cyclically, and random, "
        "a map of noise.",
        *(f"{_NAMES[x][0]}: {note}" for x in ("g", "r") if x in image.heats for note in image.scores[x].notes),
    ]
    return sheet(items, 2, title, notes=list(dict.fromkeys(notes)))


def _half(letter: str, image: ImageScores, picture: Image.Image | None, threshold: float) -> Image.Image:
    """One half of the card: what is scored, the map on its picture, the score on its range, and the figures."""
    name, where = _NAMES[letter]
    score = image.scores[letter]
    out = Image.new("RGB", (WIDTH, 2000), PAPER)
    heat = image.heats.get(letter)
    of = f"{heat.side} on the {where} image" if heat is not None else f"on the {where} image"
    draw_text(out, (0, 0), f"{name} · {of}", TEXT + 2, INK)
    y = line_height(TEXT + 2) + 6
    if heat is not None and picture is not None:
        drawn = _map(heat, image.masks[letter], picture, threshold)
        out.paste(drawn, (0, y))
        y += drawn.height + 10
    if score.score is None:
        set_lines(out, (0, y), [("no score", 34, QUIET)])
        y += line_height(34)
        lines = [(line, TEXT, INK) for note in score.notes for line in wrap(note, TEXT, WIDTH)]
        set_lines(out, (0, y), lines)
        return out.crop((0, 0, WIDTH, y + len(lines) * line_height(TEXT)))
    draw_text(out, (0, y), _number(score.score), 34, INK)
    y += line_height(34)
    y = _scale(out, y, score)
    return out.crop((0, 0, WIDTH, _figures(out, y, score, threshold)))


def _map(heat: Heat, mask: Tensor, picture: Image.Image, threshold: float) -> Image.Image:
    """The map above the threshold on its picture, with the mask's edge, at the card's size."""
    factor = min(PICTURE / picture.height, WIDTH / picture.width)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    base = enlarge(picture, 1)[0].resize(size, Image.Resampling.BICUBIC)
    drawn = paint(base, heat, normalise(heat, (base.height, base.width)), 0, Look(threshold=threshold).resolve(heat))
    whole = Image.fromarray((mask.numpy() * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    return draw_outline(drawn, np.asarray(whole) >= 128)


def _number(value: float | None) -> str:
    """A number as the card shows it.

    >>> _number(-0.25), _number(None)
    ('−0.250', '–')
    """
    return "–" if value is None else typeset(value, 3)


def _scale(out: Image.Image, y: int, score: Score) -> int:
    """A line from the worst score to the best, with the score and its baselines on it; returns where it ends."""
    assert score.score is not None
    low, high = -max(score.weight, 1e-6), 1.0
    left, right, axis = 8, WIDTH - 8, y + 18
    draw = ImageDraw.Draw(out)

    def place(value: float) -> int:
        return round(left + (min(max(value, low), high) - low) / (high - low) * (right - left))

    draw.line((left, axis, right, axis), fill=QUIET, width=2)
    for value in (low, 0.0, high):
        draw.line((place(value), axis - 5, place(value), axis + 5), fill=QUIET, width=1)
        text = f"{value:g}".replace("-", "−")
        draw_text(out, (min(max(place(value) - text_width(text, 12) / 2, 0), WIDTH - 14), axis + 6), text, 12, QUIET)
    for other in (score.shifted, score.random):
        if other is not None:
            draw.line((place(other), axis - 8, place(other), axis + 8), fill=_BASELINE, width=3)
    x = place(score.score)
    draw.polygon([(x - 7, axis - 16), (x + 7, axis - 16), (x, axis - 2)], fill=_SCORE)
    return axis + 26


def _figures(out: Image.Image, y: int, score: Score, threshold: float) -> int:
    """The figures behind a score, two columns of (name, value); returns where they end."""
    rows = (
        (("inside the mask", score.inside), ("outside of it", score.outside)),
        (("AUC", score.auc), ("mass ratio", score.mass_ratio)),
        (("shifted", score.shifted), ("random", score.random)),
        (("λ", score.weight), ("threshold", threshold)),
    )
    for row in rows:
        for column, cell in enumerate(row):
            x = column * (WIDTH // 2)
            name, value = cell
            draw_text(out, (x, y), name, TEXT, QUIET)
            draw_text(out, (x + 130, y), f"{value:g}" if name in ("λ", "threshold") else _number(value), TEXT, INK)
        y += line_height(TEXT) + 2
    return y


def score_cards(
    maps: AttributionMaps,
    images: Sequence[ImageScores],
    threshold: float,
    reference: int = 0,
    given: Mapping[str, Sequence[Image.Image] | None] | None = None,
) -> list[Image.Image]:
    """A card for each scored image of a run, all of one size.

    Args:
        maps: the recording.
        images: its scores.
        threshold: that of the scores.
        reference: which reference was scored.
        given: pictures to draw on: "g" one or one per image of the run, "r" the scored reference, one or one per image;
            if missing, the recording's thumbnail or grey.

    Raises:
        I2AMError: the number of pictures does not fit, or a generated one has another shape than was recorded.
    """
    cards = []
    for one in images:
        pictures = {}
        for letter, heat in one.heats.items():
            own = (given or {}).get(letter)
            index = one.image if letter == "g" else reference
            if own is None:
                pictures[letter] = backdrop(maps, heat.picture, index, heat.size)
            else:
                pictures[letter] = one_of(own, one.image, maps.images)
                check_pictures(heat, [pictures[letter]])
        title = f"IMACS · image {one.image}" if len(images) > 1 else "IMACS"
        cards.append(score_card(one, pictures, threshold, title))
    return same_size(cards)
