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

/** The heat as a coloured canvas of its own; the colours span the range of its patches. */
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
  return canvas;
}

export class Stage {
  /**
   * @param canvas the canvas element to draw on
   * @param picture {src, width, height, grid, rect} with grid = [rows, columns] and rect = [left, top, right, bottom]
   *   as fractions of the picture, or null where it is unknown (then the whole picture is taken)
   * @param on {move, leave, press, drag, drop}: move and press are given {row, column}, or null outside of the grid; drag is
   *   given the region {row, column, rows, columns} that was dragged over so far, drop the one that it ends with
   * @param touch whether a finger drags too, as a mouse or pen does; else it scrolls the page
   */
  constructor(canvas, picture, on, touch = false) {
    this.canvas = canvas;
    this.on = on;
    this.touch = touch;
    this.view = null;
    this.image = new Image();
    this.image.addEventListener("load", () => this.draw());
    this.frame = 0; // the animation frame that paints, if one was asked for
    this.drag = null; // {from: patch, region} while a button is down
    this.pressed = undefined; // what the button went down on, until its click: a click itself has whole pixels only
    this.dropped = false; // whether the click to come ended a region
    canvas.classList.toggle("i2am-dragged", touch);
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.dragged(event) || on.move(this.patchAt(event)));
    canvas.addEventListener("pointerenter", () => this.draw()); // at the size at which it is seen now
    canvas.addEventListener("pointerup", () => this.drop());
    canvas.addEventListener("pointercancel", () => (this.drag = null));
    canvas.addEventListener("pointerleave", () => {
      this.drag = null;
      on.leave();
    });
    canvas.addEventListener("click", (event) => {
      const patch = this.pressed === undefined ? this.patchAt(event) : this.pressed;
      if (!this.dropped) on.press(patch);
      this.pressed = undefined;
      this.dropped = false;
    });
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(canvas);
    this.picture = picture;
    this.rect = picture.rect ?? [0, 0, 1, 1];
    canvas.style.aspectRatio = `${picture.width} / ${picture.height}`;
    this.image.src = picture.src;
  }

  destroy() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
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
    this.dropped = false;
    this.drag = null;
    if (event.button !== 0) return;
    this.pressed = this.patchAt(event);
    const drags = event.pointerType !== "touch" || (this.touch && event.isPrimary);
    this.drag = drags && this.pressed ? { from: this.pressed, region: null } : null;
  }

  /** Ends a region where the button goes up. */
  drop() {
    const region = this.drag?.region;
    this.drag = null;
    if (!region) return;
    this.dropped = true;
    this.on.drop(region);
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
   * Shows {heat, look, marks}, with marks [{kind: "query" | "peak" | "truth" | "pin", row, column, and rows, columns of a
   * region}]; a pin also has a colour and a label.
   * Returns the raw range. `soon` leaves the painting to the next frame, so that a moving pointer never waits for it.
   */
  update(view, soon = false) {
    this.view = view;
    this.coloured = undefined;
    if (!soon) this.draw();
    else if (!this.frame) {
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        this.draw();
      });
    }
    return view.heat && { ...range(view.heat.values), ...(view.heat.panels && { flat: false }) };
  }

  /** The heat of the view as a coloured canvas, or null. */
  colour({ heat, look }) {
    if (!heat) return null;
    const [left, top, right, bottom] = this.rect;
    const size = [this.picture.height * (bottom - top), this.picture.width * (right - left)];
    return (heat.panels ? colourParts : colourHeat)(heat, look, size);
  }

  draw() {
    const { canvas, view } = this;
    const box = canvas.getBoundingClientRect();
    if (!view || !box.width || !box.height) return;
    if (this.coloured === undefined) this.coloured = this.colour(view);
    const dense = window.devicePixelRatio || 1;
    canvas.width = Math.round(box.width * dense);
    canvas.height = Math.round(box.height * dense);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    if (this.image.complete && this.image.naturalWidth) {
      context.filter = view.heat?.panels ? "grayscale(1)" : "none"; // so that all colours are those of references
      context.drawImage(this.image, 0, 0, canvas.width, canvas.height);
      context.filter = "none";
    }
    const [left, top, right, bottom] = this.rect;
    const x = left * canvas.width;
    const y = top * canvas.height;
    const width = (right - left) * canvas.width;
    const height = (bottom - top) * canvas.height;
    if (this.coloured) {
      context.imageSmoothingEnabled = view.look.smooth;
      context.drawImage(this.coloured, x, y, width, height);
    }
    const cell = [width / this.picture.grid[1], height / this.picture.grid[0]];
    for (const mark of view.marks) {
      const size = [cell[0] * (mark.columns ?? 1), cell[1] * (mark.rows ?? 1)];
      drawMark(context, mark, x + mark.column * cell[0], y + mark.row * cell[1], size, dense);
    }
  }
}

function drawMark(context, { kind, colour = MARK_COLOURS[kind], label }, x, y, [width, height], dense) {
  const path = new Path2D();
  const centre = [x + width / 2, y + height / 2];
  if (kind === "query" || kind === "pin") {
    const grow = Math.max(0, (kind === "pin" ? 13 : 9) * dense - Math.min(width, height)) / 2;
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
  for (const [stroke, line] of [[INK, 3.8], [colour, 1.8]]) {
    context.strokeStyle = stroke;
    context.lineWidth = line * dense;
    context.stroke(path);
  }
  if (label) drawLabel(context, label, colour, x + width, y, dense);
}

/** A pin's number on a round plate in its colour, at the upper right corner of its patches. */
function drawLabel(context, label, colour, x, y, dense) {
  const radius = 8 * dense;
  const [cx, cy] = [Math.min(x + radius * 0.7, context.canvas.width - radius - 1), Math.max(y - radius * 0.7, radius + 1)];
  context.beginPath();
  context.arc(cx, cy, radius, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
  context.strokeStyle = INK;
  context.lineWidth = 1.2 * dense;
  context.stroke();
  context.fillStyle = inkOn(colour);
  context.font = `700 ${(label.length > 1 ? 9 : 11) * dense}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(label, cx, cy + 0.5 * dense);
}

/** Dark or light letters, as a "#rrggbb" behind them asks. */
function inkOn(hex) {
  const [red, green, blue] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#0c0e12" : "#ffffff";
}
