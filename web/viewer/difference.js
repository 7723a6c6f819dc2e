/**
 * Two runs patch by patch: their maps on one scale, and what the second has more than the first. The definitions are those of
 * i2am/levels/difference.py: a share stays a share, any other map is divided by its own mean first.
 *
 * A map is {side, values, grid, …} as Run.shown of run.js has it; `missing` says why there is none.
 */

import { WHICH, range } from "./maths.js";

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

/** What stands in for a second run's data: its own block, and all that both have in common. */
export function dataOfSecond(data) {
  return data.second && { ...data, ...data.second, second: null, truth: null };
}

/**
 * The second run's state for what is looked at in the first: {state}, or {missing} with the reason. Layers are meant by their
 * names and time groups by their steps, never by their number alone.
 */
export function stateOfSecond(first, second, state) {
  const out = { ...state };
  if (state.layer >= 0) {
    const { name } = first.layers[state.layer];
    out.layer = second.layers.findIndex((layer) => layer.name === name);
    if (out.layer < 0) return { missing: `The second run has no layer ${name}. Choose all layers.` };
  }
  if (state.group >= 0) {
    const [a, b] = [first.groups[state.group], second.groups[state.group]];
    if (a.start !== b?.start || a.stop !== b.stop) {
      const other = b ? ` (its own part ${state.group + 1}: ${b.label})` : "";
      return { missing: `The second run has no part of ${a.label}${other}. Choose all of the time.` };
    }
  }
  return { state: out };
}

/** A map in its unit: a share as it is, else as multiples of its own mean; a map of zeros stays one. */
export function normalised(values, unit) {
  if (unit === "share") return values;
  const middle = mean(values);
  return middle > 0 ? values.map((value) => value / middle) : values.map(() => 0);
}

const there = (map) => Boolean(map) && !map.missing;

/** Both maps in their unit, with one `span` of colours for both: the lowest and the highest value of either. */
export function onOneScale(maps, unit) {
  const values = maps.map((map) => (there(map) ? normalised(map.values, unit) : null));
  const spans = values.filter(Boolean).map(range);
  if (!spans.length) return maps;
  const [low, high] = [Math.min(...spans.map((one) => one.low)), Math.max(...spans.map((one) => one.high))];
  const span = { low, high, flat: spans.every((one) => one.flat) };
  return maps.map((map, i) => (values[i] ? { ...map, values: values[i], span } : map));
}

/**
 * What the second map has more than the first: {values, grid, side, limit, moved, rounding}, or {missing} with the reason, or
 * null where nothing is to be shown. `limit` is the largest absolute difference, `moved` how much lies elsewhere (of shares the
 * mean absolute difference), `rounding` what the numbers' own rounding may make of equal maps.
 */
export function differenceOf([first, second], unit, reference, steps = 0) {
  if (!first || !second) return null;
  if (!there(first) || !there(second)) {
    return { side: first.side, missing: there(first) ? `In the second run: ${second.missing}` : `In the first run: ${first.missing}` };
  }
  // of which reference, the share of the chosen one
  const part = (map) => (map.side === WHICH ? map.panels[reference] : normalised(map.values, unit));
  const [a, b] = [part(first), part(second)];
  const values = b.map((value, i) => value - a[i]);
  const sizes = values.map(Math.abs);
  const limit = Math.max(...sizes);
  const rounding = steps ? (Math.max(...a) + Math.max(...b)) / steps / 2 : 0;
  const moved = unit === "share" ? mean(sizes) : mean(sizes) / 2;
  return { side: first.side, values, grid: first.grid, limit, moved, rounding, unplaced: 0 };
}

/** The patch where a difference is highest, and where it is lowest: {row, column} each. */
export function extremes({ values, grid }) {
  const place = (at) => ({ row: Math.floor(at / grid[1]), column: at % grid[1] });
  let [most, least] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    if (values[i] > values[most]) most = i;
    if (values[i] < values[least]) least = i;
  }
  return { most: place(most), least: place(least) };
}
