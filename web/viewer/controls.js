/** What the reader can set: which map, which steps, layer and head, and how the heat is coloured. */

import { COLOUR_MAPS } from "./colours.js";
import { el, percent } from "./dom.js";

const EACH = 800; // milliseconds that a time group is shown while they play
let count = 0;
const newId = () => `i2am-control-${++count}`;

function select(label, options, chosen, change) {
  const id = newId();
  const input = el("select", { id, onchange: () => change(input.value) });
  for (const [value, text] of options) input.append(el("option", { value }, text));
  input.value = chosen;
  return { row: el("div", { class: "i2am-field" }, el("label", { for: id }, label), input), input };
}

/** A slider with its label and its value as text: {row, sync}. */
export function slider(label, { min, max, step }, text, change) {
  const id = newId();
  const shown = el("output", { for: id });
  const input = el("input", { id, type: "range", min, max, step, oninput: () => change(Number(input.value)) });
  const row = el(
    "div",
    { class: "i2am-field i2am-slider" },
    el("div", { class: "i2am-slider-head" }, el("label", { for: id }, label), shown),
    input,
  );
  const sync = (value) => {
    input.value = value;
    shown.textContent = text(value);
    shown.title = shown.textContent;
    input.setAttribute("aria-valuetext", shown.textContent);
    const share = (100 * (Number(value) - min)) / (max - min);
    input.style.setProperty("--filled", `${share}%`);
  };
  return { row, sync };
}

function check(label, title, change) {
  const id = newId();
  const input = el("input", { id, type: "checkbox", onchange: () => change(input.checked) });
  return { row: el("div", { class: "i2am-check", title }, input, el("label", { for: id }, label)), input };
}

/** A button that takes one step after another until it is pressed again: {root, stop}. */
function createPlay(step) {
  let timer = 0;
  const root = el("button", { type: "button", class: "i2am-play", "aria-label": "Play over time", title: "Play over time" }, "▶");
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    root.textContent = "▶";
    root.setAttribute("aria-pressed", "false");
  };
  root.onclick = () => {
    if (timer) return stop();
    step();
    timer = setInterval(step, EACH);
    root.textContent = "❚❚";
    return root.setAttribute("aria-pressed", "true");
  };
  return { root, stop };
}

/** How many heads were recorded separately, 0 if none. */
function headCount(data) {
  const shapes = [...data.pairwise, ...data.marginals].map((entry) => entry.values.shape[1]);
  const most = Math.max(0, ...shapes);
  return most > 1 ? most : 0;
}

/** The layers' names without the dotted suffix that all of them share, such as ".transformer_blocks.0". */
export function layerNames(data) {
  const parts = data.layers.map((layer) => layer.name.split("."));
  const least = Math.min(...parts.map((p) => p.length)) - 1;
  let shared = 0;
  while (parts.length > 1 && shared < least && parts.every((p) => p.at(-1 - shared) === parts[0].at(-1 - shared))) shared++;
  const words = parts[0].slice(parts[0].length - shared).some((part) => !/^\d+$/.test(part));
  return parts.map((p) => p.slice(0, p.length - (words ? shared : 0)).join("."));
}

/** A layer for its slider: "rows×columns · name", and whether it has patch maps. */
function layerText(data, maps, index, reference) {
  const [rows, columns] = data.layers[index].grid;
  const without = maps.pair(reference, index) || !data.pairwise.length ? "" : " · no patch maps";
  return `${rows}×${columns}${without} · ${layerNames(data)[index]}`;
}

/**
 * The panel of controls.
 *
 * @param set called with the changed part of the state
 * @returns {root, sync, destroy}: sync(state) shows a state; destroy() ends what plays
 */
export function createControls(data, maps, state, set) {
  const choices = el("div", { class: "i2am-row i2am-choices" });
  const sliders = el("div", { class: "i2am-row i2am-sliders" });
  const syncs = [];

  for (const [label, picture, key] of [
    ["Generated picture", "generated", "side"],
    ["Reference picture", "reference", "referenceSide"],
  ]) {
    const sides = maps.sidesOf(picture);
    if (sides.length < 2) continue;
    const options = sides.map((side) => [side, maps.kinds.get(side).title]);
    const field = select(label, options, state[key], (side) => set({ [key]: side }));
    choices.append(field.row);
    syncs.push((s) => (field.input.value = s[key]));
  }
  if (data.references.length > 1) {
    const names = data.references.map((reference, i) => [i, reference.name]);
    const field = select("Reference", names, state.reference, (i) => set({ reference: Number(i) }));
    choices.append(field.row);
    syncs.push((s) => (field.input.value = s.reference));
  }
  const colours = select("Colours", COLOUR_MAPS.map((n) => [n, n]), state.colours, (name) => set({ colours: name }));
  const threshold = check(
    `Only above ${data.threshold}`,
    `Show only what is above ${data.threshold} of the map's own range (eq. 9 of the paper)`,
    (on) => set({ threshold: on }),
  );
  const smooth = check("Smooth", "Bicubic between patches; off: the patches as they are", (on) => set({ smooth: on }));
  choices.append(colours.row, el("div", { class: "i2am-checks" }, threshold.row, smooth.row));
  syncs.push((s) => {
    colours.input.value = s.colours;
    threshold.input.checked = s.threshold;
    smooth.input.checked = s.smooth;
  });

  let { group } = state;
  syncs.push((s) => ({ group } = s));
  const play = createPlay(() => set({ group: group + 1 < data.groups.length ? group + 1 : 0 }));
  const add = (label, span, text, key, toState = (v) => v, fromState = (v) => v) => {
    const field = slider(label, span, text, (value) => set({ [key]: toState(value) }));
    sliders.append(field.row);
    syncs.push((s) => field.sync(fromState(s[key])));
    return field.row;
  };
  const minusOne = [(v) => v - 1, (v) => v + 1];
  if (data.groups.length > 1) {
    const text = (v) => (v ? data.groups[v - 1].label : `all, ${data.groups.length} groups`);
    const row = add("Time", { min: 0, max: data.groups.length, step: 1 }, text, "group", ...minusOne);
    row.firstChild.prepend(play.root);
  }
  if (data.layers.length > 1) {
    let reference = state.reference;
    syncs.push((s) => (reference = s.reference));
    const [all, taken] = [data.layers.length, data.layers.filter((layer) => layer.default).length];
    const mean = taken < all ? `mean of ${taken} of ${all} layers, see the notes` : `all, ${all} layers`;
    const text = (v) => (v ? layerText(data, maps, v - 1, reference) : mean);
    add("Layer", { min: 0, max: data.layers.length, step: 1 }, text, "layer", ...minusOne);
  }
  const heads = headCount(data);
  if (heads) {
    const text = (v) => (v ? `head ${v - 1}` : `mean of ${heads}`);
    add("Head", { min: 0, max: heads, step: 1 }, text, "head", ...minusOne);
  }
  add("Opacity", { min: 0, max: 1, step: 0.05 }, percent, "opacity");

  const root = el("section", { class: "i2am-card i2am-controls", "aria-label": "Settings" }, choices, sliders);
  const sync = (s) => syncs.forEach((show) => show(s));
  sync(state);
  return { root, sync, destroy: play.stop };
}
