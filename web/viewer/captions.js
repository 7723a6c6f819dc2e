/** What stands above and below a picture: its name, which map lies on it, how to read the colours, and what to know of it. */

import { DIVERGING, gradient } from "./colours.js";
import { chip, isRegion, percent, place, short, times } from "./dom.js";
import { WHICH } from "./maths.js";

const SCALE = { share: "", mean: ", in multiples of each map's own mean" };

/** A difference with its sign: of shares in percentage points, else as a multiple. */
export function signed(value, unit) {
  const text = unit === "share" ? `${short(100 * Math.abs(value))} points` : times(Math.abs(value));
  return `${value > 0 ? "+" : value < 0 ? "−" : ""}${text}`;
}

/** How much of a map lies elsewhere in the second run. */
export function elsewhere({ moved }, unit) {
  return unit === "share" ? `${short(100 * moved)} points on average` : `${percent(moved)} lies elsewhere`;
}

/** What headings say of each part's share where one picture stands for both runs; null where one run's are unknown. */
export function sharesOfBoth(view, [first, second], percents) {
  if (!first || !second || first.length !== second.length) return null;
  return first.map(({ share }, i) => (view === "wipe" ? `${percents[0][i]} | ${percents[1][i]}` : signed(second[i].share - share, "share")));
}

function heading({ name, reference, picture, several }, percents) {
  if (name === "generated") return ["Generated picture"];
  if (!several) return ["Reference picture"];
  return [chip(picture.colour), `${picture.name}${percents ? ` · ${percents[reference]}` : ""}`];
}

/**
 * The texts of a panel, for `tell` of panel.js.
 *
 * @param at {name, reference, picture, several}: the picture, and whether there are several references
 * @param run the run that its map is of
 * @param state what is looked at in that run
 * @param seen {map, other: that of the other run, if there is one, span, percents, marked, lookedUp, name: the run's, or "", view:
 *   "", or how two runs are compared, threshold}
 */
export function captionOf(at, run, state, { map, other, span, percents, marked, lookedUp, name, view, threshold }) {
  const { query } = state;
  const kind = at.name === "generated" ? "Generated picture" : "Reference picture";
  const help = lookedUp ? "Arrow keys choose a patch, with Shift a region; Escape clears it." : "";
  const of = name ? `, ${name} run` : "";
  const told = {
    heading: heading(at, percents),
    label: `${kind}${of}, ${at.picture.grid[0]} by ${at.picture.grid[1]} patches. ${help}`,
    still: !lookedUp,
    level: "",
    note: "",
    scale: null,
    legend: [],
  };
  const unknown = at.picture.rect ? "" : " The part of the picture that the patches cover is unknown.";
  if (!map) {
    if (!marked) return told;
    const where = at.several && at.name === "generated" ? "every reference" : "the other picture";
    told.level = `${isRegion(query) ? "Patches" : "Patch"} ${place(query, at.picture)}`;
    told.note = `What is marked is looked up in ${where}.${unknown}`;
    return told;
  }
  const difference = view === "difference";
  told.level = map.alone ? "The pictures alone" : run.level(map, state);
  if (map.alone) return { ...told, note: map.alone };
  if (map.missing) return { ...told, note: (view === "wipe" ? `In the first run: ${map.missing}` : map.missing) + lacking(view, other) };
  const about = run.kind(map.side);
  const cut = state.threshold ? threshold : null;
  if (difference) {
    told.note = said(map, about, run.data) + unknown;
    const low = signed(-map.limit, about.unit);
    told.scale = { low, high: signed(map.limit, about.unit), title: "centred at 0", gradient: gradient(DIVERGING), cut: null };
    return told;
  }
  if (map.side === WHICH) told.legend = run.data.references;
  const scaled = view && !other?.missing && map.side !== WHICH ? ` One scale for both runs${SCALE[about.unit] ?? ""}.` : "";
  told.note = sentence(map, about, run, state, at, span) + unknown + scaled + lacking(view, other);
  if (span.flat || map.side === WHICH) return told;
  const mean = view ? 1 : map.values.reduce((a, b) => a + b, 0) / map.values.length; // both runs' maps are multiples already
  const text = about.unit === "share" ? percent : (value) => times(value / mean);
  const raw = `raw values ${span.low.toExponential(3)} to ${span.high.toExponential(3)}`;
  const title = about.unit === "share" ? raw : `${raw}; × is a multiple of the mean`;
  told.scale = { low: text(span.low), high: text(span.high), title: view ? "of both runs" : title, gradient: gradient(state.colours), cut };
  return told;
}

/** What a wipe cannot show right of its edge. */
function lacking(view, other) {
  return view === "wipe" && other?.missing ? ` In the second run: ${other.missing}` : "";
}

function sentence(map, about, run, state, at, span) {
  const flat = span.flat ? " Flat: there is nothing to show." : "";
  const lost = map.side === state.referenceSide && map.unplaced > 0 ? ` ${percent(map.unplaced)} goes to tokens without a place.` : "";
  const remark = run.data.references[at.reference ?? state.reference].remarks?.[map.side];
  return about.sentence + (remark ? ` ${remark}` : "") + lost + flat;
}

function said(map, about, data) {
  if (!(map.limit > 0)) return "No difference: both runs' maps are the same.";
  if (map.limit <= map.rounding) return "No difference beyond the rounding of these numbers.";
  const of = map.side === WHICH ? ` Of ${data.references[map.reference].name}.` : "";
  const unit = about.unit === "share" ? "In percentage points" : "In multiples of each map's own mean";
  return `Orange: more in the second run; blue: less.${of} ${unit}; ${elsewhere(map, about.unit)}.`;
}
