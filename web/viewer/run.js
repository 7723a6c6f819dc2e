/** One recorded run as it is looked at: which maps a state of the viewer shows of it, and what they are called. */

import { layerNames } from "./controls.js";
import { isRegion } from "./dom.js";
import { Maps } from "./maths.js";

const NO_WORD = "Maps of words are kept as their mean over layers and heads. Choose all layers, the mean of heads, or all of the time.";

/** Whether a side is a part of the text, of this run or of the other one. */
const ofText = (side) => side?.startsWith("word: ") ?? false;

export class Run {
  /** @param data the viewer's data object (see viewer.js), or that of its second run (see difference.js) */
  constructor(data) {
    this.data = data;
    this.maps = new Maps(data);
  }

  kind(side) {
    return this.maps.kinds.get(side);
  }

  /** Whether a patch of a picture can be looked up at all. */
  canLookUp({ reference } = {}) {
    return this.data.pairwise.some((entry) => reference === undefined || entry.reference === reference);
  }

  /**
   * The maps of a state: {generated, reference, references}, each {side, values, grid, layers, unplaced} or {side, missing};
   * null where nothing is to be shown. `reference` is the chosen one of `references`.
   */
  shown(state) {
    const { maps } = this;
    const { query } = state;
    const of = (side, map, i = state.reference) => {
      const missing = this.data.references[i].unavailable ?? {};
      return map ? { side, ...map } : { side, missing: missing[side] ?? this.whyMissing(side, i, state) };
    };
    const at = query && [query.row, query.column, query.rows, query.columns];
    const onReference = (i) => {
      const own = { ...state, reference: i };
      if (!query) return of(state.referenceSide, maps.level(state.referenceSide, own), i);
      return query.picture === "generated" ? of("SRAM", maps.sram(own, ...at), i) : null;
    };
    const references = this.data.references.map((_, i) => onReference(i));
    let generated = null;
    if (!query) generated = of(state.side, maps.level(state.side, state));
    else if (query.picture === "generated" && ofText(state.side)) generated = of(state.side, maps.level(state.side, state));
    else if (query.picture === "reference") generated = of("mirror", maps.mirror(state, ...at));
    return { generated, reference: references[state.reference], references };
  }

  /** The same where there is a reason to show nothing: every map says it. */
  without(state, missing) {
    const { query } = state;
    const onReferences = { side: query ? "SRAM" : state.referenceSide, missing };
    const references = this.data.references.map(() => (query?.picture === "reference" ? null : onReferences));
    const own = !query || (query.picture === "generated" && ofText(state.side)) ? state.side : query.picture === "reference" ? "mirror" : "";
    const generated = own ? { side: own, missing } : null;
    return { generated, reference: references[state.reference], references };
  }

  whyMissing(side, reference, { layer }) {
    if (side === "object" && !this.data.references[reference].object) return "No mask of this reference was given.";
    if (this.maps.isWord(side)) return NO_WORD;
    if (ofText(side)) return "The text of this run has no such part, or no map of it was kept.";
    const where = layer < 0 ? "" : ` of layer ${this.data.layers[layer].name}`;
    return `No ${this.kind(side).title}${where} was kept for this choice. Choose another layer, time or head.`;
  }

  /** What a map is and what it is restricted to: "Where it went (R2G) · steps 0–9 (TLAM)" or "What it used (SRAM) · head 3". */
  level(map, { group, layer, head }) {
    const ofPatch = this.kind(map.side).asked !== "";
    const parts = [];
    const add = (level, text) => parts.push(ofPatch ? text : `${text} (${level})`);
    if (group >= 0) add("TLAM", this.data.groups[group].label);
    if (layer >= 0) add("LLAM", layerNames(this.data)[layer]);
    if (head >= 0 && ofPatch && !this.maps.headsOfPairs()) add("", "mean over heads, as patch maps were kept");
    else if (head >= 0) add("HLAM", `head ${head}`);
    const all = this.data.layers.every((one) => one.default) ? "all steps, layers and heads" : "all steps and heads";
    if (!parts.length) parts.push(ofPatch ? all : "over the whole run (ULAM)");
    return `${this.kind(map.side).title} · ${parts.join(" · ")}`;
  }

  /** The true place of a marked patch on the reference, {row, column} in patches, or null. */
  truthOf(query, state) {
    const { truth, generated } = this.data;
    if (!truth || state.reference !== 0 || query.picture !== "generated" || isRegion(query)) return null;
    const found = truth[query.row * generated.grid[1] + query.column];
    if (!found) return null;
    const { grid, rect } = this.data.references[0];
    const [left, top, right, bottom] = rect ?? [0, 0, 1, 1];
    const row = ((found[1] - top) / (bottom - top)) * grid[0] - 0.5;
    const column = ((found[0] - left) / (right - left)) * grid[1] - 0.5;
    return { row, column };
  }
}
