/**
 * Pins: patches and regions that a person marked and named, as the node's widget holds them (i2am/geometry/pins.py):
 * [{name, colour, on: "generated" | "reference 1" …, x, y, and width, height of a region}], in pixels of their picture.
 */

import { el } from "./dom.js";

/** Colours of new pins, in order: Okabe and Ito's palette (2008), light colours first. */
export const COLOURS = ["#56b4e9", "#f0e442", "#cc79a7", "#d55e00", "#009e73", "#e69f00", "#0072b2"];
export const MOST_PINS = 64;
const LONGEST_NAME = 60;

/** Pins from the widget's text; null where it is none. */
export function parsePins(text) {
  if (!text?.trim()) return [];
  try {
    const found = JSON.parse(text);
    const whole = Array.isArray(found) && found.every((pin) => Number.isFinite(pin?.x) && Number.isFinite(pin?.y));
    return whole ? found.map((pin, i) => ({ name: `pin ${i + 1}`, colour: COLOURS[i % COLOURS.length], on: "generated", ...pin })) : null;
  } catch {
    return null;
  }
}

/** The name that pins call a place of the viewer by: {name: "generated"} or {name: "reference", reference}. */
export function nameOf({ name, reference }) {
  return name === "generated" ? name : `reference ${reference + 1}`;
}

/** Whether a pin lies on a place. */
export function liesOn(pin, at) {
  return (pin.on === "reference" ? "reference 1" : pin.on) === nameOf(at);
}

/** The patches that a pin means, {row, column, rows, columns}; null where it lies outside of them. */
export function patchesOf(pin, { width, height, grid, rect }) {
  const [left, top, right, bottom] = rect ?? [0, 0, 1, 1];
  const across = (x) => ((x / width - left) / (right - left)) * grid[1];
  const down = (y) => ((y / height - top) / (bottom - top)) * grid[0];
  const [wide, high] = [pin.width ?? 0, pin.height ?? 0];
  const first = (value, most) => Math.min(Math.max(Math.ceil(value - 0.5), 0), most);
  if (wide > 0) {
    const [column, end] = [first(across(pin.x), grid[1]), first(across(pin.x + wide), grid[1])];
    const [row, stop] = [first(down(pin.y), grid[0]), first(down(pin.y + high), grid[0])];
    if (end > column && stop > row) return { row, column, rows: stop - row, columns: end - column };
  }
  const [row, column] = [Math.floor(down(pin.y + high / 2)), Math.floor(across(pin.x + wide / 2))];
  const inside = row >= 0 && row < grid[0] && column >= 0 && column < grid[1];
  return inside ? { row, column, rows: 1, columns: 1 } : null;
}

/** Where patches lie, as the x, y (their middle) of one, or the x, y, width and height of several. */
export function pixelsOf({ row, column, rows = 1, columns = 1 }, { width, height, grid, rect }) {
  const [left, top, right, bottom] = rect ?? [0, 0, 1, 1];
  const x = (at) => (left + ((right - left) * at) / grid[1]) * width;
  const y = (at) => (top + ((bottom - top) * at) / grid[0]) * height;
  const round = (value) => Math.round(100 * value) / 100;
  if (rows * columns === 1) return { x: round(x(column + 0.5)), y: round(y(row + 0.5)) };
  const size = { width: x(column + columns) - x(column), height: y(row + rows) - y(row) };
  return { x: round(x(column)), y: round(y(row)), width: round(size.width), height: round(size.height) };
}

/** A new pin on patches of a place; its name and colour are the first that no other pin has. */
export function newPin(pins, at, patches) {
  const used = (key) => new Set(pins.map((pin) => pin[key]));
  const [names, colours] = [used("name"), used("colour")];
  let number = pins.length + 1;
  while (names.has(`pin ${number}`)) number++;
  const colour = COLOURS.find((one) => !colours.has(one)) ?? COLOURS[pins.length % COLOURS.length];
  return { name: `pin ${number}`, colour, on: nameOf(at), ...pixelsOf(patches, at.picture) };
}

/** Where a pin lies, in pixels of its picture: "x, y", of a region with its size. */
function where({ x, y, width, height }) {
  return width ? `${x}, ${y}, ${width} × ${height}` : `${x}, ${y}`;
}

/**
 * The list of pins.
 *
 * @param on {choose(index), rename(index, name), remove(index)}
 * @returns {root, show}: show(pins, chosen) with the index of the chosen pin, or -1
 */
export function createPins(on) {
  const list = el("ol", { class: "i2am-pins" });
  const none = el("p", { class: "i2am-small" }, "Click a patch to pin it, drag to pin a region. Pins are kept with the workflow.");
  const root = el("section", { class: "i2am-card i2am-pinned-list", "aria-label": "Pins" }, el("h2", {}, "Pins"), none, list);
  let shown = "";

  function row(pin, index) {
    const number = el("button", { type: "button", class: "i2am-pin", title: `Show ${pin.name}`, onclick: () => on.choose(index) }, index + 1);
    number.style.setProperty("--pin", pin.colour);
    const name = el("input", { type: "text", value: pin.name, maxlength: LONGEST_NAME, "aria-label": `Name of pin ${index + 1}` });
    name.onchange = () => (name.value.trim() ? on.rename(index, name.value.trim()) : (name.value = pin.name));
    name.onkeydown = (event) => {
      event.stopPropagation(); // letters are no shortcuts here
      if (event.key === "Enter") name.blur();
    };
    const remove = el("button", { type: "button", class: "i2am-remove", title: `Remove ${pin.name}`, "aria-label": `Remove ${pin.name}`, onclick: () => on.remove(index) }, "×");
    return el("li", {}, number, name, el("span", { class: "i2am-small" }, `${pin.on}: ${where(pin)}`), remove);
  }

  function show(pins, chosen) {
    const now = JSON.stringify(pins);
    if (now !== shown) list.replaceChildren(...pins.map(row)); // not at every move: a name may be under way
    shown = now;
    none.hidden = pins.length > 0;
    [...list.children].forEach((item, index) => item.toggleAttribute("data-chosen", index === chosen));
  }

  return { root, show };
}
