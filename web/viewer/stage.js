/** One picture on a canvas, with a heat over it and marks on its patches; reports which patch the pointer is on. */

import { colourDifference, colourHeat, colourParts, lighten } from "./heat.js";
import { drawCut, drawMark } from "./marks.js";
import { range } from "./maths.js";

export class Stage {
  /**
   * @param canvas the canvas element to draw on
   * @param picture {src, width, height, grid, rect} with grid = [rows, columns] and rect = [left, top, right, bottom]
   *   as fractions of the picture, or null where it is unknown (then the whole picture is taken)
   * @param on {move, leave, press, drag, drop}: move and press are given {row, column}, or null outside of the grid; drag is
   *   given the region {row, column, rows, columns} that was dragged over so far, drop the one that it ends with
   * @param touch whether a finger drags too, as a mouse or pen does; else it scrolls the page
   * @param other the picture of a second run that a wipe shows on the right, or null
   */
  constructor(canvas, picture, on, { touch = false, other = null } = {}) {
    this.canvas = canvas;
    this.on = on;
    this.touch = touch;
    this.view = null;
    this.image = this.loaded(picture);
    this.other = other && this.loaded(other);
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
  }

  /** A picture as an image that is drawn as soon as it is there. */
  loaded({ src }) {
    const image = new Image();
    image.addEventListener("load", () => this.draw());
    image.src = src;
    return image;
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
   * Shows {heat, look, marks, wipe}, with marks [{kind: "query" | "peak" | "truth" | "pin", row, column, and rows, columns of a
   * region}]; a pin also has a colour and a label. `wipe` is null or {cut, heat, marks}: right of `cut`, a share of the width,
   * lie the other picture and this heat and these marks.
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
    return view.heat && { ...(view.heat.span ?? range(view.heat.values)), ...(view.heat.panels && { flat: false }) };
  }

  /** A heat as a coloured canvas, or null. */
  colour(heat, look) {
    if (!heat) return null;
    const [left, top, right, bottom] = this.rect;
    const size = [this.picture.height * (bottom - top), this.picture.width * (right - left)];
    const how = heat.panels ? colourParts : heat.limit === undefined ? colourHeat : colourDifference;
    return how(heat, look, size);
  }

  draw() {
    const { canvas, view } = this;
    const box = canvas.getBoundingClientRect();
    if (!view || !box.width || !box.height) return;
    const { wipe } = view;
    this.coloured ??= [view.heat, wipe?.heat].map((heat) => this.colour(heat, view.look));
    const dense = window.devicePixelRatio || 1;
    canvas.width = Math.round(box.width * dense);
    canvas.height = Math.round(box.height * dense);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    this.layer(context, this.image, view.heat, this.coloured[0], view.marks, dense);
    if (!wipe) return;
    const x = Math.round(wipe.cut * canvas.width);
    context.save();
    context.beginPath();
    context.rect(x, 0, canvas.width - x, canvas.height);
    context.clip();
    this.layer(context, this.other, wipe.heat, this.coloured[1], wipe.marks, dense);
    context.restore();
    drawCut(context, x, dense);
  }

  /** A picture, the heat over it, and marks. */
  layer(context, image, heat, coloured, marks, dense) {
    const { canvas, rect: [left, top, right, bottom] } = this;
    if (image.complete && image.naturalWidth) {
      context.filter = heat?.panels || heat?.limit >= 0 ? "grayscale(1)" : "none"; // so that all colours are those of the map
      context.drawImage(image, 0, 0, canvas.width, canvas.height);
      context.filter = "none";
      if (heat?.limit >= 0) lighten(context);
    }
    const x = left * canvas.width;
    const y = top * canvas.height;
    const width = (right - left) * canvas.width;
    const height = (bottom - top) * canvas.height;
    if (coloured) {
      context.imageSmoothingEnabled = this.view.look.smooth;
      context.drawImage(coloured, x, y, width, height);
    }
    const cell = [width / this.picture.grid[1], height / this.picture.grid[0]];
    for (const mark of marks) {
      const size = [cell[0] * (mark.columns ?? 1), cell[1] * (mark.rows ?? 1)];
      drawMark(context, mark, x + mark.column * cell[0], y + mark.row * cell[1], size, dense);
    }
  }
}
