/** A page that holds one viewer: reads its data from the document and keeps what is looked at in the address. */

import { bytes, readFile } from "./decode.js";
import { asWritten } from "./dom.js";
import { patchesOf } from "./pins.js";
import { createViewer } from "./viewer.js";

const WHOLE = ["reference", "group", "layer", "head"]; // written as in the controls: 0 is the first
const FLAGS = ["threshold", "smooth"];
const WORDS = ["side", "referenceSide", "colours", "view"];
const PARTS = ["opacity", "cut"];
const PIXEL = /^\s*(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)\s*(?:\(.*\))?\s*$/; // "120, 80", and what may follow in brackets

/**
 * The part of a viewer's state that an address hash names, as in "#query=12,7&layer=2", a region as "#mirror=3,2,5,4".
 *
 * With the pictures of `data` also a pixel x, y as in "#generated=120,80" or "#on_reference=64,200".
 */
export function readHash(hash, data) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const state = {};
  for (const key of WHOLE) if (given.has(key)) state[key] = Number.parseInt(given.get(key), 10);
  for (const key of FLAGS) if (given.has(key)) state[key] = given.get(key) === "1";
  for (const key of WORDS) if (given.has(key)) state[key] = given.get(key);
  for (const key of PARTS) if (given.has(key)) state[key] = Number(given.get(key));
  for (const [key, picture] of [["query", "generated"], ["mirror", "reference"]]) {
    if (!given.has(key)) continue;
    const [row, column, rows = 1, columns = 1] = given.get(key).split(",").map(Number);
    Object.assign(state, { query: { picture, row, column, rows, columns }, pinned: true });
  }
  for (const [key, picture] of data ? [["generated", "generated"], ["on_reference", "reference"]] : []) {
    const [, x, y] = PIXEL.exec(given.get(key) ?? "") ?? [];
    const on = picture === "generated" ? data.generated : data.references[state.reference ?? 0];
    const patch = x && on && patchesOf({ x: Number(x), y: Number(y) }, on);
    if (patch) Object.assign(state, { query: { picture, ...patch }, pinned: true });
  }
  return state;
}

/** The hash for a state; only what differs from the start is written, and a patch only while it is pinned. */
export function writeHash(state, start) {
  const out = [];
  if (state.query && state.pinned) {
    const key = state.query.picture === "generated" ? "query" : "mirror";
    out.push(`${key}=${asWritten(state.query)}`);
  }
  for (const key of [...WHOLE, ...WORDS, ...PARTS]) if (state[key] !== start[key]) out.push(`${key}=${state[key]}`);
  for (const key of FLAGS) if (state[key] !== start[key]) out.push(`${key}=${state[key] ? 1 : 0}`);
  return out.join("&");
}

/** Builds the viewer of a page from the element that holds its file in base64, and keeps it and the address hash in step. */
export async function startPage(element, file) {
  let data;
  try {
    data = await readFile(bytes(file.textContent));
  } catch (error) {
    element.textContent = `This page cannot be shown: ${error.message}`;
    throw error;
  }
  element.replaceChildren();
  const viewer = createViewer(element, data, { onChange: (state) => remember(state) });
  const start = viewer.state;
  let written = location.hash.replace(/^#/, "");

  function remember(state) {
    const hash = writeHash(state, start);
    if (hash === written || !/^(file|https?):$/.test(location.protocol)) return;
    written = hash;
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  }

  function follow() {
    viewer.set({ ...start, ...readHash(location.hash, data) });
  }

  addEventListener("hashchange", follow);
  document.addEventListener("keydown", (event) => event.key === "Escape" && viewer.clear());
  if (written) follow();
  return viewer;
}
