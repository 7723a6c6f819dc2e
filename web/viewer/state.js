/** What is looked at: the state of a viewer, and which states a recording can show. */

import { COLOUR_MAPS } from "./colours.js";
import { VIEWS } from "./views.js";

/** The state that a viewer starts with. */
export function initialState(data, maps) {
  const any = (picture) => data.kinds.find((kind) => kind.picture === picture && !kind.asked).side;
  return {
    side: maps.firstSide("generated") ?? any("generated"),
    referenceSide: maps.firstSide("reference") ?? any("reference"),
    reference: 0,
    group: -1,
    layer: -1,
    head: -1,
    opacity: 0.9,
    threshold: false,
    smooth: true,
    colours: "inferno",
    view: "both", // how two runs are compared, as in views.js
    cut: 0.5, // where a wipe lies, as a share of the width
    query: null, // {picture: "generated" | "reference", row, column}, and {rows, columns} where it is a region
    pinned: false,
  };
}

/** `state`, but what does not exist in `data` is taken from `fallback`; a patch outside of the grid is dropped. */
export function checked(data, state, fallback) {
  const within = (value, low, high) => Number.isInteger(value) && low <= value && value < high;
  const lies = (side, picture) =>
    data.kinds.some((kind) => kind.side === side && kind.picture === picture && kind.asked !== "patch");
  const rules = {
    side: (v) => lies(v, "generated"),
    referenceSide: (v) => lies(v, "reference"),
    reference: (v) => within(v, 0, data.references.length),
    group: (v) => within(v, -1, data.groups.length),
    layer: (v) => within(v, -1, data.layers.length),
    head: (v) => within(v, -1, Math.max(...data.layers.map((layer) => layer.heads))),
    opacity: (v) => v >= 0 && v <= 1,
    colours: (v) => COLOUR_MAPS.includes(v),
    view: (v) => v in VIEWS,
    cut: (v) => v >= 0 && v <= 1,
  };
  const out = { ...state };
  for (const [key, holds] of Object.entries(rules)) if (!holds(out[key])) out[key] = fallback[key];
  if (out.query) {
    const { picture, row, column, rows = 1, columns = 1 } = out.query;
    const grid = picture === "generated" ? data.generated.grid : data.references[out.reference].grid;
    const fits = (at, size, most) => within(at, 0, most) && within(size, 1, most - at + 1);
    if (!fits(row, rows, grid[0]) || !fits(column, columns, grid[1])) Object.assign(out, { query: null, pinned: false });
  }
  return out;
}
