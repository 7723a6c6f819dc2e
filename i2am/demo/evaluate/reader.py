"""Reads glyphs, pattern and base colour from a person picture, to judge what a model has drawn.

The reader knows where the print must lie (the pair's body placement and the places of its glyphs), lays
glyphs and torso flat with that geometry, and lets three small networks tell what they show.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ...drawn.spec import COLOUR_NAMES, GLYPHS, PATTERNS, PICTURE, Glyph, PairSpec, Placement
from ...models.demo.family import WEIGHTS as BUNDLED

WEIGHTS = BUNDLED / "reader.safetensors"
FORMAT = 1
"""Version of the weights file; a file of another version is refused."""
CROP = 32
"""Side of a glyph's crop, in pixels."""
SPAN = 1.0
"""Side of a glyph's crop, in glyph heights: the glyph and its badge."""
FLAT = (48, 40)
"""Rows and columns of the torso laid flat."""
FLAT_BOX = (-0.5, 0.04, 0.5, 1.2)
"""Left, top, right and bottom of the torso laid flat, in garment units."""
BATCH = 64


@dataclass(frozen=True)
class Readings:
    """What was read: per picture the index in `GLYPHS` of each glyph, in `PATTERNS` and in `COLOUR_NAMES`."""

    glyphs: tuple[tuple[int, ...], ...]
    patterns: tuple[int, ...]
    colours: tuple[int, ...]


@dataclass(frozen=True)
class Counts:
    """How many readings are right, of ``glyphs_read`` glyphs and ``pairs`` pictures."""

    glyphs: int
    patterns: int
    colours: int
    glyphs_read: int
    pairs: int

    @property
    def shares(self) -> dict[str, float]:
        """Right share of glyphs, patterns and base colours, each 0-1."""
        return {
            "glyph": self.glyphs / self.glyphs_read,
            "pattern": self.patterns / self.pairs,
            "colour": self.colours / self.pairs,
        }


def garment_to_pixel(bodies: Sequence[Placement], gx: Tensor, gy: Tensor) -> tuple[Tensor, Tensor]:
    """Garment units (B, H, W) to pixels of the person picture, (B, H, W) each: the inverse of `draw._to_garment`.

    The bend has no closed inverse. It is a contraction (slope below 0.04 over two turns of the loop), so a
    fixed-point iteration reaches float precision in a few turns.
    """

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=gx.dtype, device=gx.device).view(-1, 1, 1)

    a, pa, b, pb = (column([p.bend[i] for p in bodies]) for i in range(4))
    goal_y = gy - 0.6
    x, y = gx, goal_y
    for _ in range(8):
        x, y = gx - a * torch.sin(3.2 * y + pa), goal_y - b * torch.sin(4.0 * x + pb)
    width, turn = column([p.width for p in bodies]), column([p.turn for p in bodies])
    cos, sin = turn.cos(), turn.sin()
    cx, cy = column([p.centre[0] for p in bodies]), column([p.centre[1] for p in bodies])
    return cx + width * (cos * x - sin * y), cy + width * (sin * x + cos * y)


def sample_at(pictures: Tensor, bodies: Sequence[Placement], gx: Tensor, gy: Tensor) -> Tensor:
    """What pictures (B, 3, H, W) show at garment coordinates (B, h, w) of the garment placed so, as (B, 3, h, w)."""
    x, y = garment_to_pixel(bodies, gx, gy)
    height, width = pictures.shape[-2:]
    grid = torch.stack([x / width * 2 - 1, y / height * 2 - 1], -1).to(pictures)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def glyph_places(glyphs: Sequence[Glyph]) -> tuple[Tensor, Tensor]:
    """Garment coordinates of each glyph's crop, (G, 32, 32) each."""
    step = ((torch.arange(CROP) + 0.5) / CROP - 0.5) * SPAN
    x, y, size = (torch.tensor([getattr(g, name) for g in glyphs]).view(-1, 1, 1) for name in ("x", "y", "size"))
    shape = (len(glyphs), CROP, CROP)
    return (x + size * step.view(1, 1, -1)).expand(shape), (y + size * step.view(1, -1, 1)).expand(shape)


def torso_places(count: int) -> tuple[Tensor, Tensor]:
    """Garment coordinates of ``count`` torsos laid flat, (count, 48, 40) each."""
    left, top, right, bottom = FLAT_BOX
    x = left + (right - left) * (torch.arange(FLAT[1]) + 0.5) / FLAT[1]
    y = top + (bottom - top) * (torch.arange(FLAT[0]) + 0.5) / FLAT[0]
    return x.view(1, 1, -1).expand(count, *FLAT), y.view(1, -1, 1).expand(count, *FLAT)


def glyph_mask(pairs: Sequence[PairSpec]) -> Tensor:
    """1 where a glyph and its badge hide the pattern of the torso laid flat, (B, 1, 48, 40).

    The badge has the base colour, so the mask also tells base from second colour.
    """
    gx, gy = torso_places(1)
    rows = []
    for pair in pairs:
        near = [torch.maximum((gx - g.x).abs(), (gy - g.y).abs()) < 0.56 * g.size for g in pair.garment.glyphs]
        rows.append(torch.stack(near).any(0))
    return torch.stack(rows).float()


def _layer(into: int, out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


def _pooled(x: Tensor) -> Tensor:
    """Mean and maximum over places: (B, C, h, w) to (B, 2 * C)."""
    return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)


class GlyphNet(nn.Module):
    """Crops (G, 3, 32, 32) in 0-1 to scores (G, 12)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(_layer(3, 16, 1), _layer(16, 24, 2), _layer(24, 48, 2), _layer(48, 48, 2))
        self.head = nn.Linear(48 * (CROP // 8) ** 2, len(GLYPHS))

    def forward(self, crop: Tensor) -> Tensor:
        """The scores of each crop."""
        scores: Tensor = self.head(self.body(crop * 2 - 1).flatten(1))
        return scores


class PatternNet(nn.Module):
    """Torsos laid flat (B, 3, 48, 40) in 0-1 and their glyph masks (B, 1, 48, 40) to scores (B, 5).

    Sees the torso without its glyphs, at mean 0 and one contrast, so that colours matter little.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(_layer(4, 16, 1), _layer(16, 24, 2), _layer(24, 32, 2), _layer(32, 48, 2))
        self.head = nn.Linear(96, len(PATTERNS))

    def forward(self, torso: Tensor, mask: Tensor) -> Tensor:
        """The scores of each torso."""
        bare = 1 - mask
        area = bare.sum((2, 3), keepdim=True)
        x = (torso - (torso * bare).sum((2, 3), keepdim=True) / area) * bare
        spread = (x.square().sum((1, 2, 3), keepdim=True) / (3 * area)).sqrt()
        x = torch.cat([x / spread.clamp_min(0.08), mask], 1)  # the floor keeps a plain torso plain
        scores: Tensor = self.head(_pooled(self.body(x)))
        return scores


class ColourNet(nn.Module):
    """Torsos laid flat (B, 3, 48, 40) in 0-1 and their glyph masks (B, 1, 48, 40) to scores (B, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.AvgPool2d(2), _layer(4, 16, 1), _layer(16, 32, 2), _layer(32, 48, 2))
        self.head = nn.Linear(96, len(COLOUR_NAMES))

    def forward(self, torso: Tensor, mask: Tensor) -> Tensor:
        """The scores of each torso."""
        scores: Tensor = self.head(_pooled(self.body(torch.cat([torso * 2 - 1, mask], 1))))
        return scores


class Reader(nn.Module):
    """The three networks and the geometry around them."""

    facts: dict

    def __init__(self) -> None:
        super().__init__()
        self.glyph, self.pattern, self.colour = GlyphNet(), PatternNet(), ColourNet()
        self.facts = {}

    @classmethod
    def load(cls, path: str | Path | None = None) -> Reader:
        """Load weights (default: those that ship), ready to read; ``facts`` says how they were trained and measured.

        Raises:
            ValueError: the file is no reader's, or was made for other glyphs, patterns or colours.
        """
        path = WEIGHTS if path is None else Path(path)
        try:
            with safe_open(path, "pt") as file:
                facts = json.loads((file.metadata() or {}).get("reader", "{}"))
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is not a readable weights file: {error}; train the reader again") from error
        expected = {"format": FORMAT, "glyphs": GLYPHS, "patterns": list(PATTERNS), "colours": list(COLOUR_NAMES)}
        for name, value in expected.items():
            if facts.get(name) != value:
                raise ValueError(
                    f"{path} was written for {name} {facts.get(name)!r}, this reader needs {value!r}; "
                    "train it again with `python -m i2am.demo.train.reader`"
                )
        reader = cls()
        try:
            reader.load_state_dict({n: t.float() if t.is_floating_point() else t for n, t in state.items()})
        except RuntimeError as error:
            raise ValueError(f"{path} holds other layers than this reader: {error}; train the reader again") from error
        reader.facts = facts
        return reader.eval()

    def save(self, path: str | Path, facts: dict) -> None:
        """Write the weights in fp16, with ``facts`` and the vocabulary as JSON metadata."""
        self.facts = {
            "format": FORMAT,
            "glyphs": GLYPHS,
            "patterns": list(PATTERNS),
            "colours": list(COLOUR_NAMES),
            **facts,
        }
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        state = {n: t.half() if t.is_floating_point() else t for n, t in self.state_dict().items()}
        save_file(state, path, {"reader": json.dumps(self.facts)})

    @torch.no_grad()
    def read(self, pictures: Tensor, pairs: Sequence[PairSpec]) -> Readings:
        """Read person pictures, (B, 3, 128, 96) in 0-1, each at the places that its pair's garment and body give.

        Raises:
            ValueError: pictures of another shape, or not as many as pairs.
        """
        if pictures.ndim != 4 or tuple(pictures.shape[1:]) != (3, *PICTURE) or len(pictures) != len(pairs):
            raise ValueError(
                f"the reader takes one picture (3, {PICTURE[0]}, {PICTURE[1]}) for each of the {len(pairs)} pairs, "
                f"got {tuple(pictures.shape)}; pass a batch of whole person pictures and their pairs"
            )
        was_training = self.training
        self.eval()
        glyphs: list[tuple[int, ...]] = []
        patterns: list[int] = []
        colours: list[int] = []
        for first in range(0, len(pairs), BATCH):
            some, batch = pairs[first : first + BATCH], pictures[first : first + BATCH].float().clamp(0, 1)
            owner = [i for i, pair in enumerate(some) for _ in pair.garment.glyphs]
            places = glyph_places([glyph for pair in some for glyph in pair.garment.glyphs])
            crops = sample_at(batch[owner], [some[i].body for i in owner], *places)
            found = self.glyph(crops).argmax(1).tolist()
            torsos = sample_at(batch, [pair.body for pair in some], *torso_places(len(some)))
            mask = glyph_mask(some).to(torsos)
            glyphs += [tuple(g for g, o in zip(found, owner, strict=True) if o == i) for i in range(len(some))]
            patterns += self.pattern(torsos, mask).argmax(1).tolist()
            colours += self.colour(torsos, mask).argmax(1).tolist()
        self.train(was_training)
        return Readings(tuple(glyphs), tuple(patterns), tuple(colours))


def score(readings: Readings, pairs: Sequence[PairSpec]) -> Counts:
    """Count the right glyphs, patterns and base colours against what the pairs' garments hold.

    Raises:
        ValueError: readings of another number of pictures or glyphs than the pairs have.
    """
    read, there = [len(g) for g in readings.glyphs], [len(pair.garment.glyphs) for pair in pairs]
    if read != there:
        raise ValueError(f"the readings hold {read} glyphs, the pairs {there}; score with the pairs that were read")
    garments = [pair.garment for pair in pairs]
    found = [index for row in readings.glyphs for index in row]
    wanted = [glyph.index for garment in garments for glyph in garment.glyphs]
    return Counts(
        glyphs=sum(r == g for r, g in zip(found, wanted, strict=True)),
        patterns=sum(r == w.pattern for r, w in zip(readings.patterns, garments, strict=True)),
        colours=sum(r == w.base for r, w in zip(readings.colours, garments, strict=True)),
        glyphs_read=sum(there),
        pairs=len(pairs),
    )
