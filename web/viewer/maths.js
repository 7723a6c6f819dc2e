/**
 * The maps of one recording, reduced to what is looked at: ULAM and the other levels, SRAM and its mirror.
 *
 * Grids are [rows, columns]; maps are Float32Array, row-major. The definitions are those of i2am/levels/ (preset "default"):
 * layers are resized to the common grid, scaled by their token counts and averaged over layers and heads, never
 * renormalised; a query of the common grid on a coarser layer is the bilinear mix of that layer's rows, so that SRAM's mean
 * over all queries is G2R; time groups are averaged over their steps.
 */

import { Packed } from "./decode.js";
import { bicubic, bilinear, knownLinearTaps } from "./resize.js";

const RESIZE = { bicubic, bilinear };

const TINY = 1e-12;

/** The side of which reference was taken from: the shares among the references. */
export const WHICH = "which reference";
const SHARE = { picture: "generated", resize: "bilinear", scaled: false }; // how shares are resized, as in i2am/levels/share.py

const cells = (grid) => grid[0] * grid[1];

export class Maps {
  /** @param data the viewer's data object (see viewer.js) */
  constructor(data) {
    this.data = data;
    this.grid = data.generated.grid;
    this.kinds = new Map(data.kinds.map((kind) => [kind.side, kind]));
    this.marginals = new Map();
    this.pairs = new Map();
    for (const m of data.marginals) this.marginals.set(`${m.side}|${m.reference}|${m.layer}`, new Packed(m.values));
    for (const p of data.pairwise) this.pairs.set(`${p.reference}|${p.layer}`, Object.assign(new Packed(p.values), p.grids));
    this.object = {};
  }

  /** The sides that can be chosen for a picture: those recorded for any reference. */
  sidesOf(picture) {
    const lie = this.data.kinds.filter((kind) => kind.picture === picture && kind.asked !== "patch");
    return lie.map((kind) => kind.side).filter((side) => this.data.references.some((_, i) => this.hasSide(side, i)));
  }

  /** The side that a picture opens with: the recorded one of the lowest rank; undefined if there is none. */
  firstSide(picture) {
    const rank = (side) => this.kinds.get(side).rank;
    return this.sidesOf(picture).sort((a, b) => rank(a) - rank(b))[0];
  }

  marginal(side, reference, layer) {
    return this.marginals.get(`${side}|${reference}|${layer}`);
  }

  pair(reference, layer) {
    return this.pairs.get(`${reference}|${layer}`);
  }

  /** Whether a map of this side was recorded for this reference. */
  hasSide(side, reference) {
    if (side === WHICH) return this.data.references.length > 1 && this.sharesKnown();
    if (side === "object") return Boolean(this.data.references[reference].object);
    if (this.isWord(side)) return true;
    return this.data.layers.some((_, layer) => this.marginal(side, reference, layer));
  }

  /** The indices of the chosen layers (−1: those of the run's default) that have an array for the chosen time group and head. */
  layersWith(recorded, { layer, group, head, reference }) {
    if (group >= 0 && !this.data.references[reference].steps[group]) return []; // the reference was not attended to
    return this.data.layers.map((_, i) => i).filter((i) => {
      const array = (layer < 0 ? this.data.layers[i].default : layer === i) && recorded(i);
      if (!array) return false;
      const hasGroup = group < 0 || array.shape[0] === this.data.groups.length;
      const { heads } = this.data.layers[i];
      return hasGroup && (head < 0 || (array.shape[1] === heads && head < heads));
    });
  }

  /** The layers of a patch map, or [-1], their mean, where that alone was kept. If patch maps were kept as their mean over heads, the choice of a head is ignored. */
  pairwiseLayers(state) {
    const { head, ...rest } = state;
    if (this.pair(state.reference, -1)) {
      const attended = state.group < 0 || this.data.references[state.reference].steps[state.group];
      return state.layer < 0 && attended ? [-1] : [];
    }
    return this.layersWith((i) => this.pair(state.reference, i), { ...rest, head: this.headsOfPairs() ? head : -1 });
  }

  /** Whether patch maps were kept per head. */
  headsOfPairs() {
    return this.data.pairwise.some((entry) => entry.values.shape[1] > 1);
  }

  /** [group, weight] of the chosen time group, or of all, weighted by their recorded steps that attended to the reference. */
  groupWeights(state, count) {
    if (count === 1) return [[0, 1]];
    if (state.group >= 0) return [[state.group, 1]];
    const { steps } = this.data.references[state.reference];
    return steps.map((n, i) => [i, n / Math.max(sum(steps), 1)]);
  }

  /** The heads to look at in an array of shape (groups, heads or 1, …). */
  headsIn(array, state) {
    const heads = array.shape[1];
    return state.head < 0 || heads === 1 ? Array.from({ length: heads }, (_, h) => h) : [state.head];
  }

  /** [index of (group, head), weight] for an array of shape (groups, heads or 1, …): the mean over steps and heads. */
  slices(array, state) {
    const [groups, heads] = array.shape;
    const chosen = this.headsIn(array, state);
    return this.groupWeights(state, groups).flatMap(([group, weight]) =>
      chosen.map((head) => [group * heads + head, weight / chosen.length]));
  }

  /** The map of a side over the chosen layers, heads and steps: {values, grid, layers, unplaced}, or null. */
  level(side, state, kind = this.kinds.get(side)) {
    if (side === "object") return this.mirrorOfObject(state);
    if (side === WHICH) return this.whichReference(state);
    if (this.isWord(side)) return this.wordMap(side, state);
    const recorded = (i) => this.marginal(side, state.reference, i);
    const layers = this.layersWith(recorded, state);
    if (!layers.length) return null;
    const onReference = kind.picture === "reference";
    const grid = onReference ? this.data.references[state.reference].grid : this.grid;
    const resize = RESIZE[kind.resize];
    // a mean over heads counts as many heads as it was taken over
    const heads = layers.map((i) => (state.head < 0 ? this.data.layers[i].heads : 1));
    const total = new Float32Array(cells(grid));
    let unplaced = 0;
    for (const [index, layer] of layers.entries()) {
      const array = recorded(layer);
      const kept = this.headsIn(array, state);
      const share = heads[index] / sum(heads) / kept.length;
      const { grid: from, leading } = onReference ? this.data.layers[layer].references[state.reference] : this.plain(layer);
      const scale = kind.scaled ? cells(from) / cells(grid) : 1;
      for (const head of kept) {
        const tokens = new Float32Array(leading + cells(from));
        for (const [row, weight] of this.slices(array, { ...state, head })) array.addRow(tokens, row, weight);
        unplaced += share * sum(tokens.subarray(0, leading));
        addTo(total, resize(tokens.subarray(leading), from, grid), share * scale);
      }
    }
    return { values: total, grid, layers, unplaced };
  }

  /** Whether it is known how attention was split between references, text and picture. */
  sharesKnown() {
    return Boolean(this.data.rest?.length);
  }

  /**
   * How the generated patches split their attention, for the chosen layers, heads and steps: [{name, colour, values}], the
   * references first; their values add up to 1 at every patch. Null where it is unknown.
   */
  partsOf(state) {
    if (!this.sharesKnown()) return null;
    const choice = JSON.stringify([state.group, state.layer, state.head]);
    if (this.parts?.choice !== choice) {
      const of = (side, reference) => this.level(side, { ...state, reference }, SHARE)?.values;
      const references = this.data.references.map(({ name, colour }, i) => ({ name, colour, values: of("mass", i) }));
      const rest = this.data.rest.map((name) => ({ name, colour: null, values: of(`rest: ${name}`, 0) }));
      const parts = [...references, ...rest];
      this.parts = { choice, found: parts.every((part) => part.values) ? parts : null };
    }
    return this.parts.found;
  }

  /**
   * The mean of each share over the patches of a query, or over the whole picture: [{name, colour, share}], or null. Patches
   * at the edge that hold fewer tokens count less, as in `mean_shares` of i2am/levels/share.py.
   */
  sharesAt(state, query) {
    const mean = this.meanOver(query);
    const parts = this.partsOf(state);
    return parts && parts.map(({ name, colour, values }) => ({ name, colour, share: mean(values) }));
  }

  /** The mean of a map's values over the patches of a query, or over the whole picture. */
  meanOver(query) {
    const [rows, columns] = this.grid;
    const { row, column, rows: down = 1, columns: across = 1 } = query ?? { row: 0, column: 0, rows, columns };
    const [lastRow, lastColumn] = this.data.generated.edge ?? [1, 1];
    const patches = region(row, column, down, across).map(([y, x]) => [
      y * columns + x,
      (y === rows - 1 ? lastRow : 1) * (x === columns - 1 ? lastColumn : 1),
    ]);
    const whole = sum(patches.map(([, weight]) => weight));
    return (values) => sum(patches.map(([patch, weight]) => weight * values[patch])) / whole;
  }

  /** Whether a side is what was read of a part of the text. */
  isWord(side) {
    return Boolean(this.data.words?.some((word) => word.side === side));
  }

  /** What was read of a part of the text, see `level`; null for single layers and heads, as words are kept as the mean over these. */
  wordMap(side, { layer, head, group }) {
    const array = this.marginal(side, 0, -1);
    if (!array || layer >= 0 || head >= 0) return null;
    const values = new Float32Array(cells(this.grid));
    const steps = this.data.groups.map((one) => one.steps);
    const [count] = array.shape;
    if (group >= 0 && count < steps.length) return null;
    for (let i = 0; i < count; i++) {
      if (group < 0 || i === group) array.addRow(values, i, group < 0 && count > 1 ? steps[i] / sum(steps) : 1);
    }
    return { values, grid: this.grid, layers: [], unplaced: 0 };
  }

  /** What a query, or the whole picture, reads of each part of the text: [{side, name, apart, share}]; null where it is not kept. */
  wordsAt(state, query) {
    const choice = JSON.stringify([state.group, state.layer, state.head]);
    if (this.words?.choice !== choice) {
      const found = this.data.words?.map((word) => ({ ...word, map: this.wordMap(word.side, state) })) ?? [];
      this.words = { choice, found: found.length && found.every((word) => word.map) ? found : null };
    }
    const mean = this.meanOver(query);
    return this.words.found?.map(({ map, ...word }) => ({ ...word, share: mean(map.values) })) ?? null;
  }

  /** Which reference: the largest share among references at each patch, with the shares of each in `panels`; or null. */
  whichReference(state) {
    const parts = this.partsOf(state)?.slice(0, this.data.references.length);
    if (!parts) return null;
    const total = parts[0].values.map((_, i) => Math.max(sum(parts.map((part) => part.values[i])), TINY));
    const panels = parts.map((part) => part.values.map((value, i) => value / total[i]));
    const values = panels[0].map((_, i) => Math.max(...panels.map((panel) => panel[i])));
    return { values, panels, colours: parts.map((part) => part.colour), grid: this.grid, layers: [], unplaced: 0 };
  }

  plain(layer) {
    return { grid: this.data.layers[layer].grid, leading: 0 };
  }

  /**
   * SRAM (eq. 16): the row of A^r at generated patch (row, column), or its mean over a region of rows × columns patches
   * that starts there: {values, grid, layers, unplaced}, or null.
   */
  sram(state, row, column, rows = 1, columns = 1) {
    const layers = this.pairwiseLayers(state);
    if (!layers.length) return null;
    const { grid } = this.data.references[state.reference];
    const total = new Float32Array(cells(grid));
    let unplaced = 0;
    for (const [layer, share] of this.shares(layers, state)) {
      const array = this.pair(state.reference, layer);
      const { generated, reference: from, leading } = array;
      const tokens = new Float32Array(leading + cells(from));
      const queries = cells(generated);
      for (const cell of region(row, column, rows, columns)) {
        for (const [query, mixed] of tapsOf(cell, generated, this.grid)) {
          const part = mixed / (rows * columns);
          for (const [slice, weight] of this.slices(array, state)) array.addRow(tokens, slice * queries + query, part * weight);
        }
      }
      unplaced += share * sum(tokens.subarray(0, leading));
      addTo(total, bilinear(tokens.subarray(leading), from, grid), (share * cells(from)) / cells(grid));
    }
    return { values: total, grid, layers, unplaced };
  }

  /**
   * The mirror: the column of A^r at reference patch (row, column), normalised to sum to 1 over the generated picture, or the
   * mean of these over a region of rows × columns patches that starts there.
   */
  mirror(state, row, column, rows = 1, columns = 1) {
    return this.mirrorOf(state, region(row, column, rows, columns));
  }

  /** The mirror of the patches under the object's mask; computed once for each choice. */
  mirrorOfObject(state) {
    const choice = JSON.stringify([state.reference, state.group, state.layer, state.head]);
    if (this.object.choice !== choice) {
      const { object, grid } = this.data.references[state.reference];
      const patches = object?.map((cell) => [Math.floor(cell / grid[1]), cell % grid[1]]);
      this.object = { choice, map: patches ? this.mirrorOf(state, patches) : null };
    }
    return this.object.map;
  }

  /** The mean over patches, [row, column] each, of their mirrors; or null. */
  mirrorOf(state, patches) {
    const layers = this.pairwiseLayers(state);
    if (!layers.length) return null;
    const values = new Float32Array(cells(this.grid));
    for (const patch of patches) {
      const column = this.columnOf(state, layers, patch);
      addTo(values, column, 1 / (patches.length * Math.max(sum(column), TINY)));
    }
    return { values, grid: this.grid, layers, unplaced: 0 };
  }

  /** The column of A^r at a reference patch, not normalised. */
  columnOf(state, layers, patch) {
    const { grid } = this.data.references[state.reference];
    const total = new Float32Array(cells(this.grid));
    for (const [layer, share] of this.shares(layers, state)) {
      const array = this.pair(state.reference, layer);
      const { generated: from, reference: keys, leading } = array;
      const map = new Float32Array(cells(from));
      for (const [key, mixed] of tapsOf(patch, keys, grid)) {
        for (const [slice, weight] of this.slices(array, state)) {
          array.addColumn(map, slice * map.length, leading + key, mixed * weight);
        }
      }
      addTo(total, bilinear(map, from, this.grid), (share * cells(keys)) / cells(grid));
    }
    return total;
  }

  /** [layer, its share of the mean over layers and heads]. */
  shares(layers, state) {
    const one = state.head >= 0 && this.headsOfPairs();
    const heads = layers.map((layer) => (one || layer < 0 ? 1 : this.data.layers[layer].heads));
    return layers.map((layer, i) => [layer, heads[i] / sum(heads)]);
  }
}

function sum(values) {
  let out = 0;
  for (let i = 0; i < values.length; i++) out += values[i];
  return out;
}

function addTo(out, values, weight) {
  for (let i = 0; i < out.length; i++) out[i] += weight * values[i];
}

/** Every [row, column] of the rows × columns patches that start at (row, column). */
function region(row, column, rows, columns) {
  return Array.from({ length: rows * columns }, (_, i) => [row + Math.floor(i / columns), column + (i % columns)]);
}

/** [cell of `grid`, weight] that a cell of the `common` grid mixes, bilinear. */
function tapsOf([row, column], grid, common) {
  const rows = knownLinearTaps(grid[0], common[0])[row];
  const columns = knownLinearTaps(grid[1], common[1])[column];
  return rows.flatMap(([y, wy]) => columns.map(([x, wx]) => [y * grid[1] + x, wy * wx])).filter(([, weight]) => weight > 0);
}

/** Peak cell, peak as a multiple of uniform, entropy in nats and its maximum, of a map ≥ 0. */
export function statistics(map) {
  const { values, grid } = map;
  const whole = Math.max(sum(values), TINY);
  let peak = 0;
  let entropy = 0;
  for (let i = 0; i < values.length; i++) {
    if (values[i] > values[peak]) peak = i;
    if (values[i] > 0) entropy -= (values[i] / whole) * Math.log(values[i] / whole);
  }
  return {
    row: Math.floor(peak / grid[1]),
    column: peak % grid[1],
    ratio: (values[peak] * values.length) / whole,
    entropy,
    most: Math.log(values.length),
  };
}

/** Lowest and highest value, and whether the map is flat: (max − min) / mean below 1e-3 is never amplified. */
export function range(values) {
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < values.length; i++) {
    if (values[i] < low) low = values[i];
    if (values[i] > high) high = values[i];
  }
  return { low, high, flat: high <= low || high - low < 1e-3 * (sum(values) / values.length) };
}
