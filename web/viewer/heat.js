/** Maps as coloured canvases, ready to lie over a picture. */

import { DIVERGING, table } from "./colours.js";
import { range } from "./maths.js";
import { bicubic } from "./resize.js";

const FINEST = 256; // longest side, in pixels, at which a smooth heat is coloured before the canvas scales it up
const FULL = 0.6; // opacity grows as (value / FULL) ** FADE up to FULL, as in i2am/pictures/paint.py: low values show the picture
const FADE = 1.5;

/** The 256 colours of a look with their opacity, each as one number in the byte order of image data. */
function rgba(look) {
  const rgb = table(look.colours);
  const out = new Uint8ClampedArray(256 * 4);
  for (let i = 0; i < 256; i++) {
    out.set(rgb.subarray(3 * i, 3 * i + 3), 4 * i);
    out[4 * i + 3] = Math.round(255 * look.opacity * Math.min(i / 255 / FULL, 1) ** FADE);
  }
  return new Uint32Array(out.buffer);
}

const WHICH_OPACITY = 0.85; // of a patch that took from one reference alone, as in i2am/pictures/which.py
const PALE = 0.55; // how far the picture below is lightened there

/** Which reference, in one colour for each, as a canvas; `heat.panels` are the shares among them. */
export function colourParts(heat, look, size) {
  const whole = Math.max(...size);
  const to = look.smooth ? size.map((n) => Math.max(1, Math.round((n * FINEST) / whole))) : heat.grid;
  const panels = heat.panels.map((values) => bicubic(values, heat.grid, to));
  const rgb = heat.colours.map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  const even = 1 / panels.length;
  const canvas = document.createElement("canvas");
  [canvas.height, canvas.width] = to;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(to[1], to[0]);
  for (let i = 0; i < panels[0].length; i++) {
    let most = 0;
    let total = 0;
    for (let p = 0; p < panels.length; p++) {
      total += panels[p][i];
      if (panels[p][i] > panels[most][i]) most = p;
    }
    const strength = Math.sqrt(Math.min(Math.max((panels[most][i] / total - even) / (1 - even), 0), 1));
    const alpha = WHICH_OPACITY * strength;
    // the colour over the picture lightened by PALE, as one layer over the picture itself
    const cover = 1 - (1 - PALE) * (1 - alpha);
    for (let c = 0; c < 3; c++) {
      pixels.data[4 * i + c] = (alpha * rgb[most][c] + (1 - alpha) * PALE * 255) / cover;
    }
    pixels.data[4 * i + 3] = Math.round(255 * cover * look.opacity);
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** The heat as a coloured canvas of its own; the colours span the range of its patches, or `heat.span`. */
export function colourHeat(heat, look, size) {
  const whole = Math.max(...size);
  const to = look.smooth ? size.map((n) => Math.max(1, Math.round((n * FINEST) / whole))) : heat.grid;
  const values = bicubic(heat.values, heat.grid, to);
  const span = heat.span ?? range(heat.values);
  const canvas = document.createElement("canvas");
  [canvas.height, canvas.width] = to;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(to[1], to[0]);
  if (!span.flat) {
    const colours = rgba(look);
    const to32 = new Uint32Array(pixels.data.buffer);
    const steps = 255 / (span.high - span.low);
    const cut = look.threshold === null ? -1 : 255 * look.threshold;
    for (let i = 0; i < values.length; i++) {
      const level = Math.min(Math.max((values[i] - span.low) * steps, 0), 255); // smoothing may overshoot
      if (level > cut) to32[i] = colours[Math.round(level)];
    }
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

const GREY = 0.35; // how far the picture below a difference is lightened, as in i2am/pictures/apart.py

/** Lightens what is drawn, for a difference above it. */
export function lighten(context) {
  context.fillStyle = `rgba(255, 255, 255, ${GREY})`;
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
}

/** A difference as a coloured canvas: `heat.limit` has the strongest colour, its negative the strongest of the other side, 0 none. */
export function colourDifference(heat, look, size) {
  const whole = Math.max(...size);
  const to = look.smooth ? size.map((n) => Math.max(1, Math.round((n * FINEST) / whole))) : heat.grid;
  const values = bicubic(heat.values, heat.grid, to, false);
  const colours = table(DIVERGING);
  const canvas = document.createElement("canvas");
  [canvas.height, canvas.width] = to;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(to[1], to[0]);
  for (let i = 0; i < values.length && heat.limit > 0; i++) {
    const level = Math.min(Math.max(values[i] / heat.limit, -1), 1);
    if (look.threshold !== null && Math.abs(level) <= look.threshold) continue;
    const at = 3 * Math.round(127.5 * (level + 1));
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = colours[at + c];
    pixels.data[4 * i + 3] = Math.round(255 * look.opacity * Math.min(Math.abs(level) / FULL, 1) ** FADE);
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}
