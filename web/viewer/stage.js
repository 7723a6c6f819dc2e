/** One picture on a canvas, with a heat over it and marks on its patches; reports which patch the pointer is on. */

import { table } from "./colours.js";
import { range } from "./maths.js";
import { bicubic } from "./resize.js";

const FINEST = 256; // longest side, in pixels, at which a smooth heat is coloured before the canvas scales it up
const FULL = 0.6; // opacity grows as (value / FULL) ** FADE up to FULL, as in i2am/pictures/paint.py: low values show the picture
const FADE = 1.5;
const INK = "rgba(12, 14, 18, 0.85)";
/** The colour of each mark; every mark has a dark edge, so that it shows on any picture. */
export const MARK_COLOURS = { query: "#ffffff", peak: "#5ee6ff", truth: "#9dff8a" };

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

/** The heat as a coloured canvas of its own, and the value range of its patches, which the colours span. */
export function colourHeat(heat, look, size) {
  const whole = Math.max(...size);
  const to = look.smooth ? size.map((n) => Math.max(1, Math.round((n * FINEST) / whole))) : heat.grid;
  const values = bicubic(heat.values, heat.grid, to);
  const span = range(heat.values);
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
  return { canvas, ...span };
}

export class Stage {
  /**
   * @param canvas the canvas element to draw on
   * @param picture {src, width, height, grid, rect} with grid = [rows, columns] and rect = [left, top, right, bottom]
   *   as fractions of the picture, or null where it is unknown (then the whole picture is taken)
   * @param on {move, leave, press, drag}: move and press are given {row, column}, or null outside of the grid; drag is given
   *   the region {row, column, rows, columns} that a mouse or pen was dragged over so far
   */
  constructor(canvas, picture, on) {
    this.canvas = canvas;
    this.on = on;
    this.view = null;
    this.image = new Image();
    this.image.addEventListener("load", () => this.draw());
    this.drag = null; // {from: patch, region} while a button is down, and until the click that ends it
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.dragged(event) || on.move(this.patchAt(event)));
    canvas.addEventListener("pointerleave", () => {
      this.drag = null;
      on.leave();
    });
    canvas.addEventListener("click", (event) => {
      const wasDragged = this.drag?.region;
      this.drag = null;
      if (!wasDragged) on.press(this.patchAt(event));
    });
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(canvas);
    this.show(picture);
  }

  /** Shows another picture. */
  show(picture) {
    this.picture = picture;
    this.rect = picture.rect ?? [0, 0, 1, 1];
    this.canvas.style.aspectRatio = `${picture.width} / ${picture.height}`;
    this.image.src = picture.src;
  }

  destroy() {
    this.observer.disconnect();
  }

  /** The patch under a pointer event, or null. */
  patchAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const [left, top, right, bottom] = this.rect;
    const u = ((event.clientX - box.left) / box.width - left) / (right - left);
    const v = ((event.clientY - box.top) / box.height - top) / (bottom - top);
    if (!(u >= 0 && u < 1 && v >= 0 && v < 1)) return null;
    return { row: Math.floor(v * this.picture.grid[0]), column: Math.floor(u * this.picture.grid[1]) };
  }

  begin(event) {
    const from = event.button === 0 && event.pointerType !== "touch" ? this.patchAt(event) : null;
    this.drag = from && { from, region: null };
  }

  /** Reports the region dragged over so far, and returns whether there is one. */
  dragged(event) {
    if (!this.drag || !(event.buttons & 1)) return false;
    const { from } = this.drag;
    const to = this.patchAt(event) ?? from;
    if (!this.drag.region && to.row === from.row && to.column === from.column) return false;
    this.drag.region = {
      row: Math.min(from.row, to.row),
      column: Math.min(from.column, to.column),
      rows: Math.abs(from.row - to.row) + 1,
      columns: Math.abs(from.column - to.column) + 1,
    };
    this.on.drag(this.drag.region);
    return true;
  }

  /**
   * Shows {heat, look, marks}, with marks [{kind: "query" | "peak" | "truth", row, column, and rows, columns of a region}].
   * Returns the raw range.
   */
  update(view) {
    const { width, height } = this.picture;
    const [left, top, right, bottom] = this.rect;
    const size = [height * (bottom - top), width * (right - left)];
    this.coloured = view.heat && colourHeat(view.heat, view.look, size);
    this.view = view;
    this.draw();
    return this.coloured;
  }

  draw() {
    const { canvas, view } = this;
    const box = canvas.getBoundingClientRect();
    if (!view || !box.width || !box.height) return;
    const dense = window.devicePixelRatio || 1;
    canvas.width = Math.round(box.width * dense);
    canvas.height = Math.round(box.height * dense);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    if (this.image.complete && this.image.naturalWidth) {
      context.drawImage(this.image, 0, 0, canvas.width, canvas.height);
    }
    const [left, top, right, bottom] = this.rect;
    const x = left * canvas.width;
    const y = top * canvas.height;
    const width = (right - left) * canvas.width;
    const height = (bottom - top) * canvas.height;
    if (this.coloured) {
      context.imageSmoothingEnabled = view.look.smooth;
      context.drawImage(this.coloured.canvas, x, y, width, height);
    }
    const cell = [width / this.picture.grid[1], height / this.picture.grid[0]];
    for (const mark of view.marks) {
      const size = [cell[0] * (mark.columns ?? 1), cell[1] * (mark.rows ?? 1)];
      drawMark(context, mark.kind, x + mark.column * cell[0], y + mark.row * cell[1], size, dense);
    }
  }
}

function drawMark(context, kind, x, y, [width, height], dense) {
  const path = new Path2D();
  const centre = [x + width / 2, y + height / 2];
  if (kind === "query") {
    const grow = Math.max(0, 9 * dense - Math.min(width, height)) / 2;
    path.rect(x - grow, y - grow, width + 2 * grow, height + 2 * grow);
  } else if (kind === "peak") {
    path.arc(...centre, Math.max(Math.hypot(width, height) * 0.6, 8 * dense), 0, 2 * Math.PI);
  } else {
    const arm = Math.max(Math.max(width, height) * 0.4, 6 * dense);
    path.moveTo(centre[0] - arm, centre[1]);
    path.lineTo(centre[0] + arm, centre[1]);
    path.moveTo(centre[0], centre[1] - arm);
    path.lineTo(centre[0], centre[1] + arm);
  }
  for (const [colour, line] of [[INK, 3.8], [MARK_COLOURS[kind], 1.8]]) {
    context.strokeStyle = colour;
    context.lineWidth = line * dense;
    context.stroke(path);
  }
}
