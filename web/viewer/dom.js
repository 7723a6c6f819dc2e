/** Building elements, and writing numbers for people. */

/** An element with attributes ("class", "for", aria-…, on… functions as properties) and children (nodes or text). */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** The picture on which a patch of the other one is looked up. */
export const OTHER = { generated: "reference", reference: "generated" };

/** A small square in the colour of a reference; grey without a colour. */
export function chip(colour) {
  const out = el("span", { class: "i2am-chip", "aria-hidden": "true" });
  if (colour) out.style.setProperty("--part", colour);
  return out;
}

/** A number with three significant digits, without needless zeros. */
export function short(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  if (size >= 0.01 || size === 0) return value.toFixed(2);
  return value.toExponential(1).replace("e-", "e−");
}

/** A share of one as a percentage. */
export function percent(value) {
  return `${(100 * value).toFixed(value < 0.0995 ? 1 : 0)} %`;
}

/** Shares as percentages with one decimal that add up to what the shares do, by the method of the largest remainder. */
export function adding(shares) {
  const exact = shares.map((share) => 1000 * share);
  const whole = exact.map((value) => Math.floor(value + 1e-9));
  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const missing = Math.round(sum(exact)) - sum(whole);
  const order = exact.map((_, i) => i).sort((a, b) => whole[a] - exact[a] - (whole[b] - exact[b]) || a - b);
  for (const i of order.slice(0, Math.max(missing, 0))) whole[i] += 1;
  return whole.map((value) => `${(value / 10).toFixed(1)} %`);
}

/** A multiple of the uniform value. */
export function times(value) {
  return `${short(value)}×`;
}

/** Whether what is pointed at is more than one patch. */
export function isRegion({ rows = 1, columns = 1 }) {
  return rows * columns > 1;
}

/** Whether two are the same patches. */
export function same(a, b) {
  return Boolean(a && b) && ["row", "column", "rows", "columns"].every((key) => (a[key] ?? 1) === (b[key] ?? 1));
}

/** The whole pixel [x, y] in the middle of a patch of a picture, as `pixel_of` of i2am/geometry/cells.py has it. */
export function pixelOf({ row, column }, { width, height, grid, rect }) {
  const [left, top, right, bottom] = rect ?? [0, 0, 1, 1];
  const x = (left + ((right - left) * (column + 0.5)) / grid[1]) * width;
  const y = (top + ((bottom - top) * (row + 0.5)) / grid[0]) * height;
  return [Math.floor(x + 1e-6), Math.floor(y + 1e-6)];
}

/** Where a patch lies, in pixels of its picture, as "x, y (row r, column c)"; of a region the first and the last patch. */
export function place(at, picture) {
  const end = { row: at.row + (at.rows ?? 1) - 1, column: at.column + (at.columns ?? 1) - 1 };
  const first = pixelOf(at, picture).join(", ");
  if (!isRegion(at)) return `${first} (row ${at.row}, column ${at.column})`;
  return `${first} to ${pixelOf(end, picture).join(", ")} (rows ${at.row}–${end.row}, columns ${at.column}–${end.column})`;
}

/** What is pointed at as "row,column", a region as "row,column,rows,columns". */
export function asWritten(query) {
  const { row, column, rows, columns } = query;
  return (isRegion(query) ? [row, column, rows, columns] : [row, column]).join(",");
}
