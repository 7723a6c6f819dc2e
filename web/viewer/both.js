/** The figures of two runs beside each other: where each map is highest, how sharply, the shares, and how much differs. */

import { elsewhere, signed } from "./captions.js";
import { extremes } from "./difference.js";
import { el, isRegion, place, times } from "./dom.js";
import { statistics } from "./maths.js";

const there = (map) => Boolean(map) && !map.missing;

function figures(name, maps, picture) {
  const both = maps.map((map) => (there(map) && map.side !== "which reference" ? statistics(map) : null));
  if (!both.some((one) => one?.ratio > 0)) return [];
  const of = (write) => both.map((one) => (one ? write(one) : "–"));
  const apart = (key, text) => (both.every(Boolean) ? text(both[1][key] - both[0][key]) : "–");
  const plus = (text) => (value) => `${value >= 0 ? "+" : "−"}${text(Math.abs(value))}`;
  return [
    [`${name}: most at patch`, ...of((one) => place(one, picture)), ""],
    [`${name}: peak, of uniform`, ...of((one) => times(one.ratio)), apart("ratio", plus(times))],
    [`${name}: entropy, nats`, ...of((one) => one.entropy.toFixed(2)), apart("entropy", plus((value) => value.toFixed(2)))],
  ];
}

function shareRows(shares) {
  if (!shares.some(Boolean)) return [];
  const names = (shares[0] ?? shares[1]).map((part) => part.name);
  return names.map((name, i) => {
    const both = shares.map((parts) => parts?.find((part, at) => part.name === name && (at === i || part.colour === null))?.share);
    const known = both.every((share) => share !== undefined);
    const texts = both.map((share) => (share === undefined ? "–" : `${(100 * share).toFixed(1)} %`));
    return [`share of ${name}`, ...texts, known ? signed(both[1] - both[0], "share") : "–"];
  });
}

/**
 * @param names what the first and the second run are called
 * @returns {root, show}: show({pairs, shares, query, picture}) with pairs [{name, at, maps: [first, second], difference, unit}]
 *   of the pictures that show a map, the picture that the query lies on, and shares [of the first, of the second] as `Maps.sharesAt` gives them
 */
export function createBoth(names) {
  const heading = el("h2", {});
  const body = el("tbody", {});
  const head = ["", ...names, "second − first"].map((text) => el("th", { scope: "col" }, text));
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...head)), body);
  const scroll = el("div", { class: "i2am-scroll", tabindex: 0, role: "region", "aria-label": "Figures of both runs" }, table);
  const root = el("section", { class: "i2am-card i2am-both", "aria-label": "Both runs" }, heading, scroll);

  function show({ pairs, shares, query, picture }) {
    heading.textContent = query ? `Both runs, ${isRegion(query) ? "patches" : "patch"} ${place(query, picture)}` : "Both runs, whole picture";
    const rows = pairs.flatMap(({ name, at, maps, difference, unit }) => {
      const own = query ? figures(name, maps, at.picture) : [];
      if (!there(difference)) return own;
      const { most, least } = extremes(difference);
      const range = difference.limit > 0
        ? `${signed(difference.values[most.row * difference.grid[1] + most.column], unit)} at ${place(most, at.picture)}, ` +
          `${signed(difference.values[least.row * difference.grid[1] + least.column], unit)} at ${place(least, at.picture)}`
        : "alike";
      return [...own, [`${name}: ${elsewhere(difference, unit)}`, "", "", range]];
    });
    const cells = (row) => row.map((text, i) => (i ? el("td", {}, text) : el("th", { scope: "row" }, text)));
    body.replaceChildren(...[...shareRows(shares), ...rows].map((row) => el("tr", {}, ...cells(row))));
  }

  return { root, show };
}
