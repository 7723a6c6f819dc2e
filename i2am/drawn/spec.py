"""What one demo pair is made of: every number is drawn from its seed, none from global state."""

from __future__ import annotations

import string
from dataclasses import dataclass, replace

import numpy as np

PICTURE = (128, 96)
"""Height and width of the person, agnostic, densepose and generated pictures, in pixels."""
REFERENCE = (160, 112)
"""Height and width of the reference (garment) picture, in pixels."""

GLYPHS = "ACEHKLMPSTX4"
PATTERNS = ("plain", "stripes", "checks", "dots", "patches")
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.80, 0.13, 0.15),
    "orange": (0.95, 0.55, 0.10),
    "yellow": (0.95, 0.86, 0.25),
    "green": (0.15, 0.55, 0.22),
    "teal": (0.20, 0.72, 0.74),
    "blue": (0.13, 0.25, 0.70),
    "purple": (0.52, 0.22, 0.62),
    "pink": (0.95, 0.62, 0.75),
    "white": (0.95, 0.95, 0.93),
    "black": (0.10, 0.10, 0.12),
}
COLOUR_NAMES = tuple(COLOURS)
assert set(GLYPHS) <= set(string.ascii_uppercase + string.digits)

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Glyph:
    """One printed character: its index in `GLYPHS`, centre and height in garment units, and colour."""

    index: int
    x: float
    y: float
    size: float
    colour: Rgb
    badge: Rgb


@dataclass(frozen=True)
class Garment:
    """A garment's print and cut. Garment units: torso width is 1, y runs down from the shoulders."""

    base: int
    second: int
    base_rgb: Rgb
    second_rgb: Rgb
    pattern: int
    period: float
    angle: float
    phase: tuple[float, float]
    glyphs: tuple[Glyph, ...]
    sleeve_length: float
    sleeve_rgb: tuple[Rgb, Rgb]
    cuff_rgb: tuple[Rgb, Rgb]
    collar: float
    collar_rgb: Rgb
    hem: float
    waist: float


@dataclass(frozen=True)
class Placement:
    """Where a garment or a body lies in its picture: centre and torso width in pixels, angles in radians.

    ``bend`` holds amplitude and phase of a smooth sideways bend, in garment units, then those of a vertical one.
    """

    centre: tuple[float, float]
    width: float
    turn: float
    arms: tuple[float, float]
    bend: tuple[float, float, float, float]


@dataclass(frozen=True)
class Scene:
    """Everything that a picture of a person shows besides garment and placement."""

    skin: Rgb
    hair: Rgb
    trousers: Rgb
    background: tuple[Rgb, Rgb]
    head: tuple[float, float]


@dataclass(frozen=True)
class PairSpec:
    """A whole demo pair: a person, the garment they wear, and how the garment lies in its own picture."""

    seed: int
    garment: Garment
    body: Placement
    flat: Placement
    scene: Scene

    def wearing(self, garment: Garment) -> PairSpec:
        """The same person and placements with another garment (the unpaired case)."""
        return replace(self, garment=garment)


def _jitter(rng: np.random.Generator, rgb: Rgb, amount: float = 0.04) -> Rgb:
    r, g, b = (float(np.clip(c + d, 0.03, 0.98)) for c, d in zip(rgb, rng.uniform(-amount, amount, 3), strict=True))
    return (r, g, b)


def _contrast(a: Rgb, b: Rgb) -> float:
    weights = np.array([0.5, 0.75, 0.35])
    return float(np.sqrt((weights * (np.array(a) - np.array(b)) ** 2).sum()))


def _other_colour(rng: np.random.Generator, against: tuple[int, ...], least: float) -> int:
    """A palette colour that stands out from all of ``against``."""
    names = [COLOURS[n] for n in COLOUR_NAMES]
    fit = [i for i, c in enumerate(names) if all(_contrast(c, names[a]) >= least for a in against)]
    return int(rng.choice(fit))


def draw_garment(rng: np.random.Generator) -> Garment:
    """Draw a garment: colour, pattern, one or two glyphs, sleeves, collar and cut."""
    base = int(rng.integers(len(COLOUR_NAMES)))
    second = _other_colour(rng, (base,), 0.33)
    base_rgb = _jitter(rng, COLOURS[COLOUR_NAMES[base]])
    second_rgb = _jitter(rng, COLOURS[COLOUR_NAMES[second]])
    pattern = int(rng.integers(len(PATTERNS)))
    two = rng.random() < 0.35
    places = [(rng.uniform(-0.14, 0.14), rng.uniform(0.36, 0.46)), (rng.uniform(-0.16, 0.16), rng.uniform(0.86, 0.92))]
    if not two:
        places = [(rng.uniform(-0.15, 0.15), rng.uniform(0.40, 0.72))]
    glyphs = []
    for x, y in places:
        ink = _other_colour(rng, (base,), 0.42)
        glyphs.append(
            Glyph(
                index=int(rng.integers(len(GLYPHS))),
                x=float(x),
                y=float(y),
                size=float(rng.uniform(0.40, 0.46) if two else rng.uniform(0.44, 0.58)),
                colour=_jitter(rng, COLOURS[COLOUR_NAMES[ink]], 0.02),
                badge=base_rgb,
            )
        )
    same = rng.random() < 0.45
    left = base_rgb if same else _jitter(rng, COLOURS[COLOUR_NAMES[_other_colour(rng, (base,), 0.3)]])
    right = left if same or rng.random() < 0.3 else _jitter(rng, COLOURS[COLOUR_NAMES[_other_colour(rng, (base,), 0.3)]])
    return Garment(
        base=base,
        second=second,
        base_rgb=base_rgb,
        second_rgb=second_rgb,
        pattern=pattern,
        period=float(rng.uniform(0.26, 0.38)),
        angle=float(rng.choice([0.0, 0.5 * np.pi, 0.25 * np.pi]) + rng.uniform(-0.15, 0.15)),
        phase=(float(rng.random()), float(rng.random())),
        glyphs=tuple(glyphs),
        sleeve_length=float(rng.choice([0.42, 0.62, 0.92]) + rng.uniform(-0.06, 0.04)),
        sleeve_rgb=(left, right),
        cuff_rgb=(second_rgb, second_rgb) if rng.random() < 0.5 else (left, right),
        collar=float(rng.uniform(0.13, 0.24)),
        collar_rgb=second_rgb if rng.random() < 0.6 else base_rgb,
        hem=float(rng.uniform(1.08, 1.24)),
        waist=float(rng.uniform(-0.05, 0.05)),
    )


def draw_body(rng: np.random.Generator) -> Placement:
    """Draw a pose: strongly misaligned on purpose, so that "look at the same place" is a poor guess."""
    width = float(rng.uniform(39, 50))
    return Placement(
        centre=(float(48 + rng.uniform(-11, 11)), float(72 + rng.uniform(-9, 9))),
        width=width,
        turn=float(rng.uniform(-0.30, 0.30)),
        arms=(float(rng.uniform(0.20, 1.25)), float(rng.uniform(0.20, 1.25))),
        bend=(
            float(rng.uniform(0.02, 0.07)),
            float(rng.uniform(0, 2 * np.pi)),
            float(rng.uniform(0.01, 0.04)),
            float(rng.uniform(0, 2 * np.pi)),
        ),
    )


def draw_flat(rng: np.random.Generator) -> Placement:
    """Draw how the garment lies in its own picture: shifted, turned and scaled, never bent."""
    spread = float(rng.uniform(0.5, 0.95))
    return Placement(
        centre=(float(56 + rng.uniform(-10, 10)), float(80 + rng.uniform(-13, 13))),
        width=float(rng.uniform(50, 66)),
        turn=float(rng.uniform(-0.40, 0.40)),
        arms=(spread, spread),
        bend=(0.0, 0.0, 0.0, 0.0),
    )


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw skin, hair, trousers and a calm background."""
    tone = float(rng.uniform(0.0, 1.0))
    skin = tuple(float(v) for v in (1 - tone) * np.array([0.96, 0.82, 0.72]) + tone * np.array([0.45, 0.30, 0.22]))
    hair = tuple(float(v) for v in np.array([0.35, 0.24, 0.16]) * rng.uniform(0.3, 1.6))
    trousers = tuple(float(v) for v in rng.uniform(0.12, 0.5, 3))
    wall = rng.uniform(0.55, 0.9) + rng.uniform(-0.08, 0.08, 3)
    low = tuple(float(v) for v in np.clip(wall + rng.uniform(-0.12, 0.12), 0.3, 0.98))
    high = tuple(float(v) for v in np.clip(wall, 0.3, 0.98))
    head = (float(rng.uniform(-0.05, 0.05)), float(rng.uniform(0.9, 1.1)))
    return Scene(skin, hair, trousers, (high, low), head)  # type: ignore[arg-type]


def draw_pair(seed: int) -> PairSpec:
    """Draw the demo pair of a seed. The same seed always gives the same pair, alone or in a batch."""
    rng = np.random.default_rng([0x12A3, seed])
    return PairSpec(seed, draw_garment(rng), draw_body(rng), draw_flat(rng), draw_scene(rng))
