"""Draws demo pairs: pictures, masks and the true correspondence between person and garment picture.

Both pictures sample one analytic print, a function of garment coordinates, so that the place on the
reference that each pixel of the person came from is known exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from .spec import GLYPHS, PICTURE, REFERENCE, Garment, PairSpec, Placement

SUPERSAMPLE = 2
ARM_LENGTH = 1.02  # garment units
ARM_WIDTH = 0.27
SHOULDER = (0.40, 0.13)
TORSO, LEFT, RIGHT = 1, 2, 3  # values of a part map; 0 is neither torso nor arm


@dataclass(frozen=True)
class DemoPairs:
    """A batch of demo pairs; pictures are (B, 3, H, W) and masks (B, 1, H, W), float32 in 0-1.

    ``truth`` is (B, 2, H, W): for each pixel of the person, the place (x, y) on the reference picture
    that it shows, in reference pixels; ``visible`` (B, 1, H, W) is 1 where that place exists.
    """

    person: Tensor
    agnostic: Tensor
    densepose: Tensor
    densepose_blank: Tensor
    reference: Tensor
    inpaint_mask: Tensor
    reference_mask: Tensor
    truth: Tensor
    visible: Tensor


@lru_cache(maxsize=1)
def glyph_atlas(size: int = 64) -> Tensor:
    """Every glyph, bold, as (len(GLYPHS), size, size) coverage in 0-1."""
    out = []
    for char in GLYPHS:
        font = ImageFont.load_default(size * 0.95)
        image = Image.new("L", (size, size))
        draw = ImageDraw.Draw(image)
        draw.text((size / 2, size / 2), char, fill=255, font=font, anchor="mm", stroke_width=size // 20)
        out.append(np.asarray(image, dtype=np.float32) / 255)
    return torch.from_numpy(np.stack(out))


def _column(values: list) -> Tensor:
    """A per-pair parameter as (B, 1, 1), or (B, C, 1, 1) for tuples."""
    t = torch.tensor(values, dtype=torch.float32)
    return t.view(*t.shape, 1, 1)


def _grid(height: int, width: int, s: int) -> tuple[Tensor, Tensor]:
    y = (torch.arange(height * s) + 0.5) / s
    x = (torch.arange(width * s) + 0.5) / s
    return x.view(1, 1, -1), y.view(1, -1, 1)


def _to_garment(place: list[Placement], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel coordinates to garment units, (B, H, W) each."""
    cx, cy = _column([p.centre[0] for p in place]), _column([p.centre[1] for p in place])
    width = _column([p.width for p in place])
    cos, sin = _column([np.cos(p.turn) for p in place]), _column([np.sin(p.turn) for p in place])
    dx, dy = (x - cx) / width, (y - cy) / width
    gx, gy = cos * dx + sin * dy, -sin * dx + cos * dy
    a, pa, b, pb = (_column([p.bend[i] for p in place]) for i in range(4))
    bent_x = gx + a * torch.sin(3.2 * gy + pa)
    bent_y = gy + b * torch.sin(4.0 * gx + pb)
    return bent_x, bent_y + 0.6


def _from_garment(place: list[Placement], gx: Tensor, gy: Tensor) -> tuple[Tensor, Tensor]:
    """Garment units to pixels; only for placements without a bend (the garment's own picture)."""
    assert all(p.bend[0] == 0 and p.bend[2] == 0 for p in place)
    cx, cy = _column([p.centre[0] for p in place]), _column([p.centre[1] for p in place])
    width = _column([p.width for p in place])
    cos, sin = _column([np.cos(p.turn) for p in place]), _column([np.sin(p.turn) for p in place])
    dx, dy = gx, gy - 0.6
    return cx + width * (cos * dx - sin * dy), cy + width * (sin * dx + cos * dy)


def _arm(place: list[Placement], side: int, gx: Tensor, gy: Tensor) -> tuple[Tensor, Tensor]:
    """Garment units to arm units: along the arm (0 shoulder to 1 wrist) and across it (-1 to 1)."""
    sign = -1.0 if side == 0 else 1.0
    angle = _column([p.arms[side] for p in place])
    ux, uy = sign * torch.sin(angle), torch.cos(angle)
    dx, dy = gx - sign * SHOULDER[0], gy - SHOULDER[1]
    return (dx * ux + dy * uy) / ARM_LENGTH, (dx * -uy + dy * ux) * sign / (ARM_WIDTH / 2)


def _arm_back(place: list[Placement], side: int, along: Tensor, across: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of `_arm`."""
    sign = -1.0 if side == 0 else 1.0
    angle = _column([p.arms[side] for p in place])
    ux, uy = sign * torch.sin(angle), torch.cos(angle)
    t, n = along * ARM_LENGTH, across * sign * (ARM_WIDTH / 2)
    return sign * SHOULDER[0] + t * ux - n * uy, SHOULDER[1] + t * uy + n * ux


def _in_torso(garments: list[Garment], gx: Tensor, gy: Tensor, hem: Tensor | float) -> Tensor:
    waist = _column([g.waist for g in garments])
    half = 0.5 - waist * torch.sin(gy * 2.4) - 0.04 * (gy < 0.08)
    slope = 0.11 * (gx.abs() / 0.5).clamp(0, 1)  # shoulders fall to the sides
    return (gx.abs() <= half) & (gy >= slope) & (gy <= hem)


def _in_collar(garments: list[Garment], gx: Tensor, gy: Tensor, grow: float) -> Tensor:
    depth = _column([g.collar for g in garments]) + grow
    return (gx / (0.19 + grow)) ** 2 + (gy / depth) ** 2 < 1


def _in_arm(along: Tensor, across: Tensor, length: Tensor | float) -> Tensor:
    taper = 1.0 - 0.22 * along.clamp(0, 1)
    rounded = torch.where(along < 0, (along * ARM_LENGTH / (ARM_WIDTH / 2)) ** 2 + across**2, across**2 / taper**2)
    return (rounded <= 1) & (along <= length)


def _print(garments: list[Garment], gx: Tensor, gy: Tensor) -> Tensor:
    """The torso's print at garment coordinates, (B, 3, H, W)."""
    period = _column([g.period for g in garments])
    cos, sin = _column([np.cos(g.angle) for g in garments]), _column([np.sin(g.angle) for g in garments])
    px, py = _column([g.phase[0] for g in garments]), _column([g.phase[1] for g in garments])
    a, b = (cos * gx + sin * gy) / period + px, (-sin * gx + cos * gy) / period + py
    stripes = (b % 1) < 0.5
    checks = ((a % 1) < 0.5) ^ stripes
    dots = ((a % 1 - 0.5) ** 2 + (b % 1 - 0.5) ** 2) < 0.31**2
    patches = (gx > px * 0.2 - 0.1) ^ (gy > 0.6 + 0.2 * (py - 0.5))
    kind = _column([g.pattern for g in garments])
    on = (kind == 1) & stripes | (kind == 2) & checks | (kind == 3) & dots | (kind == 4) & patches
    base, second = _column([g.base_rgb for g in garments]), _column([g.second_rgb for g in garments])
    colour = torch.where(on[:, None], second, base)
    collar = _in_collar(garments, gx, gy, 0.06)[:, None]
    colour = torch.where(collar, _column([g.collar_rgb for g in garments]), colour)
    return _glyphs(garments, gx, gy, colour)


def _glyphs(garments: list[Garment], gx: Tensor, gy: Tensor, colour: Tensor) -> Tensor:
    atlas = glyph_atlas()
    for slot in range(2):
        held = [g.glyphs[min(slot, len(g.glyphs) - 1)] for g in garments]
        size = _column([h.size for h in held])
        u, v = (gx - _column([h.x for h in held])) / size, (gy - _column([h.y for h in held])) / size
        badge = (u.abs() ** 4 + v.abs() ** 4 < 0.56**4)[:, None]
        colour = torch.where(badge, _column([h.badge for h in held]), colour)
        ink = F.grid_sample(atlas[[h.index for h in held]][:, None], torch.stack([u * 2, v * 2], -1), align_corners=False)
        colour = colour + ink * (_column([h.colour for h in held]) - colour)
    return colour


def _sleeve(garments: list[Garment], side: int, along: Tensor) -> Tensor:
    length = _column([g.sleeve_length for g in garments])
    cuff = (along > length - 0.13)[:, None]
    return torch.where(cuff, _column([g.cuff_rgb[side] for g in garments]), _column([g.sleeve_rgb[side] for g in garments]))


def _paint(canvas: Tensor, where: Tensor, colour: Tensor) -> Tensor:
    return torch.where(where[:, None], colour, canvas)


def _down(picture: Tensor) -> Tensor:
    return F.avg_pool2d(picture, SUPERSAMPLE)


def _reference(pairs: list[PairSpec]) -> tuple[Tensor, Tensor, Tensor]:
    """The garment's own picture, its mask and its part map, all supersampled."""
    garments, flat = [p.garment for p in pairs], [p.flat for p in pairs]
    gx, gy = _to_garment(flat, *_grid(*REFERENCE, SUPERSAMPLE))
    canvas = torch.full((len(pairs), 3, *gx.shape[1:]), 0.93)
    part = torch.zeros_like(gx)
    for side in (0, 1):
        along, across = _arm(flat, side, gx, gy)
        inside = _in_arm(along, across, _column([g.sleeve_length for g in garments]))
        shade = (1 - 0.10 * across**2).clamp(0.7, 1)[:, None]
        canvas = _paint(canvas, inside, _sleeve(garments, side, along) * shade)
        part = torch.where(inside, float(LEFT + side), part)
    body = _in_torso(garments, gx, gy, _column([g.hem for g in garments]))
    scoop = _in_collar(garments, gx, gy, 0.0)
    canvas = _paint(canvas, body, _print(garments, gx, gy) * (1 - 0.25 * (gx * gx))[:, None])
    canvas = _paint(canvas, body & scoop, torch.full((1, 3, 1, 1), 0.80))
    part = torch.where(body, float(TORSO), part)
    part = torch.where(body & scoop, 0.0, part)
    return canvas, (part > 0).float()[:, None], part


def draw_pairs(pairs: list[PairSpec]) -> DemoPairs:
    """Draw a batch of pairs."""
    garments, body, flat = [p.garment for p in pairs], [p.body for p in pairs], [p.flat for p in pairs]
    scenes = [p.scene for p in pairs]
    n = len(pairs)
    x, y = _grid(*PICTURE, SUPERSAMPLE)
    gx, gy = _to_garment(body, x, y)

    high, low = _column([s.background[0] for s in scenes]), _column([s.background[1] for s in scenes])
    canvas = (high + (low - high) * (y / PICTURE[0])[:, None]).expand(n, 3, *gx.shape[1:]).clone()
    skin = _column([s.skin for s in scenes])
    part = torch.zeros_like(gx)
    uv = torch.zeros(n, 2, *gx.shape[1:])
    truth = torch.zeros(n, 2, *gx.shape[1:])
    cloth = torch.zeros_like(gx, dtype=torch.bool)
    code = torch.zeros_like(gx)

    legs = (gx.abs() < 0.5) & (gy > 0.9) & ~((gx.abs() < 0.035) & (gy > 1.45))
    canvas = _paint(canvas, legs, _column([s.trousers for s in scenes]))
    code = torch.where(legs, 0.15, code)
    hx, size = _column([s.head[0] for s in scenes]), _column([s.head[1] for s in scenes])
    hair = ((gx - hx) / 0.25) ** 2 + ((gy + 0.40) / 0.31) ** 2 < size
    neck = (gx.abs() < 0.13) & (gy > -0.3) & (gy < 0.1)
    face = ((gx - hx) / 0.20) ** 2 + ((gy + 0.33) / 0.26) ** 2 < size
    canvas = _paint(canvas, hair, _column([s.hair for s in scenes]))
    canvas = _paint(canvas, neck | face, skin * (1 - 0.08 * neck[:, None]))
    code = torch.where(hair | neck | face, 0.3, code)

    for side in (0, 1):
        along, across = _arm(body, side, gx, gy)
        limb = _in_arm(along, across, 1.0)
        sleeve = limb & (along <= _column([g.sleeve_length for g in garments]))
        shade = (1 - 0.22 * across**2).clamp(0.6, 1)[:, None]
        canvas = _paint(canvas, limb, skin * shade)
        canvas = _paint(canvas, sleeve, _sleeve(garments, side, along) * shade)
        rx, ry = _from_garment(flat, *_arm_back(flat, side, along, across))
        part = torch.where(limb, float(LEFT + side), part)
        uv = _paint(uv, limb, torch.stack([along.clamp(0, 1), (across + 1) / 2], 1))
        truth = _paint(truth, limb, torch.stack([rx, ry], 1))
        cloth = torch.where(limb, sleeve, cloth)
        code = torch.where(limb, 0.7 + 0.3 * side, code)

    torso = _in_torso(garments, gx, gy, 1.26)
    shirt = torso & (gy <= _column([g.hem for g in garments]))
    scoop = _in_collar(garments, gx, gy, 0.0)
    canvas = _paint(canvas, torso, _column([s.trousers for s in scenes]))
    canvas = _paint(canvas, shirt, _print(garments, gx, gy) * (1 - 0.9 * (gx * gx))[:, None])
    canvas = _paint(canvas, shirt & scoop, skin * 0.92)
    rx, ry = _from_garment(flat, gx, gy)
    part = torch.where(torso, float(TORSO), part)
    uv = _paint(uv, torso, torch.stack([gx + 0.5, gy / 1.26], 1).clamp(0, 1))
    truth = _paint(truth, torso, torch.stack([rx, ry], 1))
    cloth = torch.where(torso, shirt & ~scoop, cloth)
    code = torch.where(torso, 0.5, code)

    reference, reference_mask, reference_part = _reference(pairs)
    visible = cloth & _seen(truth, part, reference_part)
    head = _down(((hair | face | neck) & (part == 0)).float()[:, None]) > 0.5
    inpaint = F.max_pool2d(_down((part > 0).float()[:, None]), 7, 1, 3) > 0.5
    inpaint = (inpaint & ~head).float()
    person = _down(canvas)
    dense = torch.cat([code[:, None], uv * (part > 0)[:, None]], 1)
    blank = torch.cat([code[:, None], torch.zeros_like(uv)], 1)
    weight = visible.float()[:, None]
    share = _down(weight)
    return DemoPairs(
        person=person,
        agnostic=person * (1 - inpaint) + 0.5 * inpaint,
        densepose=_down(dense),
        densepose_blank=_down(blank),
        reference=_down(reference),
        inpaint_mask=inpaint,
        reference_mask=(_down(reference_mask) > 0.5).float(),
        truth=_down(truth * weight) / share.clamp_min(1e-6),
        visible=(share > 0.5).float(),
    )


def _seen(truth: Tensor, part: Tensor, reference_part: Tensor) -> Tensor:
    """Where the true place lies inside the reference picture and shows the same part, not covered by another."""
    height, width = REFERENCE
    grid = torch.stack([truth[:, 0] / width * 2 - 1, truth[:, 1] / height * 2 - 1], -1)
    inside = (grid.abs() < 1).all(-1)
    found = F.grid_sample(reference_part[:, None], grid, mode="nearest", align_corners=False)[:, 0]
    return inside & (found == part) & (part > 0)
