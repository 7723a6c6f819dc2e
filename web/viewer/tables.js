/** What stands below the pictures: scores, further pictures, what was run, and notes. */

import { el, short } from "./dom.js";

const NAMES = {
  g: "IMACS_g",
  r: "IMACS_r",
  auc: "AUC",
  lambda: "λ",
  mass_ratio: "mass ÷ area",
  within_1: "SRAM within 1 patch of the true place",
  within_2: "SRAM within 2 patches",
  chance: "by chance",
  same_place: "by looking at the same place",
  best_affine: "by the best affine fit of the silhouettes",
  retrieval: "recoloured block found by the maps alone",
  correlation: "correlation of map and change",
  correspondence: "Correspondence",
  causal: "Intervention: recoloured blocks, same noise",
  seconds: "seconds",
  recording_bytes: "size of the recording",
};

const SHARES = new Set([
  "score", "inside", "outside", "auc", "mass_ratio", "shifted", "random",
  "within_1", "within_2", "chance", "same_place", "best_affine", "retrieval", "correlation",
]);

const words = (key) => NAMES[key] ?? key.replaceAll("_", " ");

function value(key, v) {
  if (v === null || v === undefined) return "–";
  if (typeof v === "number" && key.endsWith("bytes")) return `${short(v / 1e6)} MB`;
  if (typeof v === "number") {
    const whole = Number.isInteger(v) && !SHARES.has(key);
    const text = whole ? String(v) : v.toFixed(Math.abs(v) < 10 ? 3 : 1);
    return text.replace(/^-(?=[0.]+$)/, "").replace("-", "−");
  }
  return Array.isArray(v) ? v.join(", ") : String(v);
}

const COLUMNS = [
  ["score", "Σ inside − λ · Σ outside, each divided by its area (eq. 18)"],
  ["inside", "mean of the map inside the mask"],
  ["outside", "mean of the map outside the mask"],
  ["lambda", "weight of the outside"],
  ["auc", "area under the ROC curve of map against mask"],
  ["mass_ratio", "share of the map's mass inside the mask, divided by the mask's share of the area"],
  ["shifted", "score of the same map, shifted cyclically (baseline)"],
  ["random", "score of a uniform random map (baseline)"],
];

function scoreRow(preset, side, entry) {
  const flat = { ...entry, ...(entry.baselines ?? {}), lambda: entry.lambda ?? entry.weight };
  const cells = COLUMNS.map(([key]) => el("td", { class: key === "score" ? "i2am-main" : null }, value(key, flat[key])));
  const notes = [...(entry.notes ?? []), ...(entry.flat ? ["flat map: no score"] : [])].join("; ");
  return el("tr", { title: notes || null }, el("th", { scope: "row" }, preset), el("td", {}, words(side)), ...cells);
}

function imacsTable(imacs) {
  const head = COLUMNS.map(([key, title]) => el("th", { scope: "col", title }, words(key)));
  const rows = Object.entries(imacs).flatMap(([preset, sides]) =>
    Object.entries(sides).map(([side, entry]) => scoreRow(preset, side, entry)));
  return el(
    "div",
    { class: "i2am-scroll", tabindex: 0, role: "region", "aria-label": "IMACS scores" },
    el(
      "table",
      {},
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "preset or map"), el("th", { scope: "col" }, "side"), ...head)),
      el("tbody", {}, ...rows),
    ),
  );
}

const isTable = (v) => v !== null && typeof v === "object" && !Array.isArray(v);

/** [name, key, value] of every value of nested tables; names of inner tables are joined with colons. */
function flatten(table, before = "") {
  return Object.entries(table).flatMap(([key, v]) => {
    const name = before ? `${before}: ${words(key)}` : words(key);
    return isTable(v) ? flatten(v, name) : [[name, key, v]];
  });
}

/** Names and values as a definition list. */
function facts(table) {
  const row = ([name, key, v]) => el("div", {}, el("dt", {}, name), el("dd", {}, value(key, v)));
  return el("dl", { class: "i2am-facts" }, ...flatten(table).map(row));
}

/** A table's own values, with its inner tables collapsed. */
function summary(table) {
  const inner = Object.entries(table).filter(([, v]) => isTable(v));
  const own = Object.entries(table).filter(([, v]) => !isTable(v));
  if (!own.length || !inner.length) return [facts(table)];
  const more = el("details", {}, el("summary", {}, "More figures"), facts(Object.fromEntries(inner)));
  return [facts(Object.fromEntries(own)), more];
}

/** The scores, or null if there are none; what `run` says already is not repeated. */
export function createScores(scores, run) {
  if (!scores || !Object.keys(scores).length) return null;
  const { imacs, ...rest } = scores;
  const section = el("section", { class: "i2am-card", "aria-label": "Scores" }, el("h2", {}, "Scores"));
  if (imacs) {
    section.append(
      imacsTable(imacs),
      el(
        "p",
        { class: "i2am-small" },
        "IMACS compares a map with a mask: high when the map lies inside it. The baselines score the same map ",
        "shifted, and a random one. Figures of the preset “paper” are not comparable with the paper's table.",
      ),
    );
  }
  const single = {};
  for (const [key, v] of Object.entries(rest)) {
    if (isTable(v)) section.append(el("h3", {}, words(key)), ...summary(v));
    else if (!(key in run)) single[key] = v;
  }
  if (Object.keys(single).length) section.append(el("h3", {}, "Further figures"), facts(single));
  return section;
}

/** Further pictures with their names, or null if there are none. */
export function createPictures(pictures) {
  if (!pictures.length) return null;
  const figures = pictures.map(({ name, src, width, height }) =>
    el("figure", {}, el("img", { src, width, height, alt: words(name) }), el("figcaption", {}, words(name))));
  return el(
    "section",
    { class: "i2am-card", "aria-label": "Further pictures" },
    el("h2", {}, "Pictures"),
    el("div", { class: "i2am-strip" }, ...figures),
  );
}

/** Notes on how to read the maps, and what was run. */
export function createNotes(data) {
  const items = data.notes.map((note) => el("li", {}, note));
  return el(
    "section",
    { class: "i2am-card", "aria-label": "Notes" },
    el("h2", {}, "How to read this"),
    el("ul", {}, ...items),
    data.run ? el("h3", {}, "What was run") : null,
    data.run ? facts(data.run) : null,
    el("p", { class: "i2am-small" }, data.quantisation),
  );
}
