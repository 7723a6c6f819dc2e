/** What a viewer shows as data attributes of its element, for tests and for other scripts. */

import { OTHER, asWritten } from "./dom.js";
import { statistics } from "./maths.js";

const OWN = ["query", "on", "peak", "ratio", "entropy", "unplaced", "pinned", "shares", "words", "peaks"];

/** Of the first run, or of the only one: the patch pointed at, where it looks, how sharply, and its shares. */
export function expose(dataset, { query, pinned }, maps, found, shares, peaks, words) {
  for (const key of OWN) delete dataset[key];
  if (shares) dataset.shares = written(shares);
  if (words) dataset.words = written(words);
  if (!query) return;
  if (peaks && query.picture === "generated") {
    dataset.peaks = peaks.map((peak) => (peak ? `${peak.row},${peak.column}` : "")).join(" ");
  }
  const target = OTHER[query.picture];
  dataset.query = asWritten(query);
  dataset.on = target;
  dataset.pinned = pinned;
  if (!found) return;
  dataset.peak = `${found.row},${found.column}`;
  dataset.ratio = found.ratio.toFixed(4);
  dataset.entropy = found.entropy.toFixed(4);
  dataset.unplaced = maps[target].unplaced.toFixed(6);
}

/** Of a comparison: how it is shown, the second run's peak and shares, and the difference of every picture. */
export function exposeSecond(dataset, { query, view, cut }, maps, shares, compared) {
  const each = (of) => compared.map(({ difference }) => (difference?.limit === undefined ? "" : of(difference).toFixed(5))).join(" ");
  dataset.view = view;
  dataset.cut = cut.toFixed(2);
  dataset.limits = each((one) => one.limit);
  dataset.moved = each((one) => one.moved);
  for (const key of ["secondPeak", "secondShares"]) delete dataset[key];
  if (shares) dataset.secondShares = written(shares);
  const map = query && maps[OTHER[query.picture]];
  if (!map || map.missing) return;
  const { row, column } = statistics(map);
  dataset.secondPeak = `${row},${column}`;
}

function written(shares) {
  return shares.map(({ share }) => share.toFixed(5)).join(",");
}
