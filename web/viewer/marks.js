/** Marks on the patches of a picture: what is pointed at, peaks, true places and pins. */

const INK = "rgba(12, 14, 18, 0.85)";
/** The colour of each mark; every mark has a dark edge, so that it shows on any picture. */
export const MARK_COLOURS = { query: "#ffffff", peak: "#5ee6ff", truth: "#9dff8a" };

/**
 * Draws a mark of kind "query", "peak", "truth" or "pin", whose patches begin at (x, y) and are `size` wide and high, in
 * pixels of the canvas; `dense` of these are one of the page.
 */
export function drawMark(context, { kind, colour = MARK_COLOURS[kind], label }, x, y, [width, height], dense) {
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

/** The edge of a wipe, at x. */
export function drawCut(context, x, dense) {
  for (const [stroke, line] of [[INK, 4], ["#ffffff", 1.6]]) {
    context.fillStyle = stroke;
    context.fillRect(x - (line * dense) / 2, 0, line * dense, context.canvas.height);
  }
}
