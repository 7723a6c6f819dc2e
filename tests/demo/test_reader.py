"""The reader of glyphs, patterns and colours: right on clean renders, at chance on grey, wrong on other garments."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from i2am.demo.evaluate.reader import WEIGHTS, Reader, Readings, garment_to_pixel, glyph_places, sample_at, score, torso_places
from i2am.drawn.draw import _to_garment, draw_pairs, glyph_atlas
from i2am.drawn.seeds import HELD_OUT
from i2am.drawn.spec import COLOUR_NAMES, COLOURS, GLYPHS, PATTERNS, PairSpec, draw_pair

PAIRS = [draw_pair(seed) for seed in range(HELD_OUT + 700_000, HELD_OUT + 700_060)]


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.cat([draw_pairs(PAIRS[i : i + 10]).person for i in range(0, len(PAIRS), 10)])


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader.load()


def test_weights_are_small_half_precision_and_say_how_they_were_measured(reader: Reader) -> None:
    assert WEIGHTS.stat().st_size <= 400_000
    assert {t.dtype for t in load_file(WEIGHTS).values() if t.is_floating_point()} == {torch.float16}
    assert reader.facts["samples"] > 0
    assert reader.facts["held_out"] >= 400
    assert reader.facts["first_seed"] >= HELD_OUT
    for name in ("glyph", "pattern", "colour"):
        assert reader.facts["accuracy"][name] >= 0.98


def test_reads_clean_renders(reader: Reader, pictures: Tensor) -> None:
    counts = score(reader.read(pictures, PAIRS), PAIRS)
    assert counts.pairs == 60
    assert counts.glyphs_read == sum(len(p.garment.glyphs) for p in PAIRS) > 60
    assert min(counts.shares.values()) >= 0.98, counts


def test_reads_the_same_alone_as_in_a_batch(reader: Reader, pictures: Tensor) -> None:
    together = reader.read(pictures[:12], PAIRS[:12])
    alone = [reader.read(pictures[i : i + 1], PAIRS[i : i + 1]) for i in range(12)]
    assert together.glyphs == tuple(r.glyphs[0] for r in alone)
    assert together.patterns == tuple(r.patterns[0] for r in alone)
    assert together.colours == tuple(r.colours[0] for r in alone)


def test_blank_grey_is_read_at_chance(reader: Reader, pictures: Tensor) -> None:
    shares = score(reader.read(torch.full_like(pictures, 0.5), PAIRS), PAIRS).shares
    assert shares["glyph"] <= 3 / len(GLYPHS)
    assert shares["pattern"] <= 2 / len(PATTERNS)
    assert shares["colour"] <= 3 / len(COLOUR_NAMES)


def _others(pair: PairSpec, other: PairSpec) -> PairSpec:
    """The same garment places with what ``other`` has in place of glyphs, pattern and base colour."""
    mine, theirs = pair.garment, other.garment
    shifted = tuple(replace(g, index=(g.index + 1 + other.seed % 11) % len(GLYPHS)) for g in mine.glyphs)
    return pair.wearing(replace(mine, glyphs=shifted, pattern=theirs.pattern, base=theirs.base))


def test_another_garments_spec_reads_as_wrong(reader: Reader, pictures: Tensor) -> None:
    """The picture decides, not the spec: places stay the same, only what is expected there changes."""
    wrong = [_others(a, b) for a, b in zip(PAIRS, PAIRS[1:] + PAIRS[:1], strict=True)]
    readings = reader.read(pictures, wrong)
    assert readings == reader.read(pictures, PAIRS)
    shares = score(readings, wrong).shares
    assert shares["glyph"] <= 0.05
    now, before = [p.garment for p in wrong], [p.garment for p in PAIRS]
    same_pattern = sum(a.pattern == b.pattern for a, b in zip(now, before, strict=True)) / 60
    same_colour = sum(a.base == b.base for a, b in zip(now, before, strict=True)) / 60
    assert shares["pattern"] <= same_pattern + 0.04
    assert shares["colour"] <= same_colour + 0.04


def test_a_swapped_garment_reads_as_wrong(reader: Reader, pictures: Tensor) -> None:
    """Scored against a wholly different garment, glyph places included."""
    wrong = [p.wearing(q.garment) for p, q in zip(PAIRS, PAIRS[7:] + PAIRS[:7], strict=True)]
    shares = score(reader.read(pictures, wrong), wrong).shares
    assert shares["glyph"] <= 0.25
    assert shares["pattern"] <= 0.45
    assert shares["colour"] <= 0.35


def test_pixels_found_are_the_garment_places() -> None:
    bodies = [p.body for p in PAIRS]
    gx, gy = torso_places(len(bodies))
    back = _to_garment(bodies, *garment_to_pixel(bodies, gx, gy))
    torch.testing.assert_close(back[0], gx, atol=1e-5, rtol=0)
    torch.testing.assert_close(back[1], gy, atol=1e-5, rtol=0)


def test_crops_lie_flat_and_upright(pictures: Tensor) -> None:
    """The ink of a rectified crop lies where the atlas has it: an axis swap or a missed turn would lose it."""
    glyphs = [p.garment.glyphs[0] for p in PAIRS]
    crops = sample_at(pictures, [p.body for p in PAIRS], *glyph_places(glyphs))
    atlas = torch.nn.functional.interpolate(glyph_atlas()[:, None], size=crops.shape[-2:], mode="area")[:, 0]
    ink = torch.stack([atlas[g.index] for g in glyphs])
    colour = torch.tensor([g.colour for g in glyphs]).view(-1, 3, 1, 1)
    base = torch.tensor([g.badge for g in glyphs]).view(-1, 3, 1, 1)
    axis = colour - base
    seen = ((crops - base) * axis).sum(1) / axis.square().sum(1)
    middle = slice(8, 24)
    error = (seen - ink)[:, middle, middle].abs().mean((1, 2))
    mirrored = (seen.flip(2) - ink)[:, middle, middle].abs().mean((1, 2))
    assert float(error.median()) < 0.15
    lopsided = [i for i, g in enumerate(glyphs) if GLYPHS[g.index] in "CEKLP4"]
    assert all(error[i] < mirrored[i] for i in lopsided)


def test_base_colour_is_told_from_second_colour(reader: Reader) -> None:
    """Swapping base and second colour of a chequered garment swaps the colour that is read."""
    chosen = [p for p in PAIRS if p.garment.pattern == 2][:8]

    def paint(pair: PairSpec, base: int, second: int) -> PairSpec:
        rgb = [COLOURS[COLOUR_NAMES[i]] for i in (base, second)]
        glyphs = tuple(replace(g, badge=rgb[0], colour=COLOURS["black"]) for g in pair.garment.glyphs)
        garment = replace(pair.garment, base=base, second=second, base_rgb=rgb[0], second_rgb=rgb[1], glyphs=glyphs)
        return pair.wearing(garment)

    yellow, teal = COLOUR_NAMES.index("yellow"), COLOUR_NAMES.index("teal")
    for base, second in ((yellow, teal), (teal, yellow)):
        painted = [paint(p, base, second) for p in chosen]
        colours = reader.read(draw_pairs(painted).person, painted).colours
        assert sum(c == base for c in colours) >= len(chosen) - 1, colours


def test_score_counts_by_hand() -> None:
    pairs = [p for p in PAIRS if len(p.garment.glyphs) == 2][:2]
    a, b = (p.garment for p in pairs)
    readings = Readings(
        glyphs=((a.glyphs[0].index, (a.glyphs[1].index + 1) % 12), tuple(g.index for g in b.glyphs)),
        patterns=(a.pattern, (b.pattern + 1) % 5),
        colours=((a.base + 1) % 10, (b.base + 1) % 10),
    )
    counts = score(readings, pairs)
    assert (counts.glyphs, counts.glyphs_read, counts.patterns, counts.colours, counts.pairs) == (3, 4, 1, 0, 2)
    with pytest.raises(ValueError, match="score with the pairs that were read"):
        score(readings, pairs[:1])


def test_bad_input_and_bad_files_are_refused(reader: Reader, pictures: Tensor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(3, 128, 96\)"):
        reader.read(pictures[:2].transpose(2, 3), PAIRS[:2])
    with pytest.raises(ValueError, match="each of the 3 pairs"):
        reader.read(pictures[:2], PAIRS[:3])
    short = tmp_path / "short.safetensors"
    short.write_bytes(WEIGHTS.read_bytes()[:5000])
    with pytest.raises(ValueError, match="train the reader again"):
        Reader.load(short)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(1)}, foreign)
    with pytest.raises(ValueError, match="format None"):
        Reader.load(foreign)
    other = tmp_path / "other.safetensors"
    save_file(load_file(WEIGHTS), other, {"reader": json.dumps({**reader.facts, "glyphs": "ABC"})})
    with pytest.raises(ValueError, match="'ABC'"):
        Reader.load(other)
    layers = tmp_path / "layers.safetensors"
    save_file({"x": torch.zeros(1)}, layers, {"reader": json.dumps(reader.facts)})
    with pytest.raises(ValueError, match="other layers"):
        Reader.load(layers)
