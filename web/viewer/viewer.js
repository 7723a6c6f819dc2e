/**
 * The explorer: the generated picture beside the references, each with its map; a patch of one shows its map on the others.
 *
 * `createViewer(element, data, options)` builds it inside `element` and has no other effect; the styles are in
 * viewer.css, which the page links. `data` is what i2am/outputs/viewer_data.py made, as `readFile` of decode.js returns it:
 *
 *   format "i2am-viewer", version 3
 *   title       text
 *   threshold   share of a map's range above which "only above" keeps it, 0.4
 *   diffuse     a map whose peak is below this multiple of uniform is called diffuse
 *   kinds       [{side, title, picture, asked, sentence, unit, scaled, resize, rank}] kinds of map, as in i2am/maps/kinds.py
 *   generated   {src, type, width, height, grid: [rows, columns], rect: [left, top, right, bottom] | null, edge: [row, column]}
 *               edge: how much of a whole patch the last row and the last column hold
 *   references  [{name, colour, src, width, height, grid, rect, leading, steps, object, unavailable, remarks}]
 *               steps: for each group, in how many of its recorded steps the reference was attended to
 *               object: null, or the cells of grid that the object's mask covers, whose mirror is the side "object"
 *               unavailable: {side, "SRAM" or "mirror": reason}; remarks: {side: sentence to show with it}
 *   layers      [{name, grid, heads, middle, default, references: [{grid, leading}]}] in network order; default: whether
 *               it is of the run's default layers, which are shown as their mean where none is chosen
 *   rest        names of the parts of a sequence that are no reference's, such as "text"; empty: shares are unknown
 *   groups      [{start, stop, steps, label}] time groups: half-open step range, how many of its steps were recorded
 *   marginals   [{side, reference, layer, values}]  values: packed (groups or 1, heads or 1, cells), see decode.js;
 *               of a part of rest the side is "rest: " and its name, the reference 0
 *   pairwise    [{reference, layer, grids: {generated, reference, leading}, values}]   layer -1: the mean over all layers;
 *               values: packed (groups, heads or 1, queries, leading + cells) on these grids, which may be coarser than a layer's
 *   truth       null, or per patch of generated.grid null or [x, y] on reference 0, as fractions of that picture
 *   scores      null or the content of scores.json;  pictures [{name, src, width, height}]
 *   run, notes, quantisation    what was run, sentences to show, how exact the embedded numbers are
 *
 * Options: state (any part of `viewer.state`), theme ("light" | "dark", else the system's), onChange(state),
 * details (false: neither scores nor notes), pins (a list as in pins.js, else there are none) and onPins(pins).
 */

import { createControls, layerNames } from "./controls.js";
import { gradient } from "./colours.js";
import { VERSION } from "./decode.js";
import { adding, asWritten, chip, el, isRegion, percent, place, times } from "./dom.js";
import { Maps, WHICH, statistics } from "./maths.js";
import { MOST_PINS, createPins, liesOn, newPin, patchesOf } from "./pins.js";
import { createReadout } from "./readout.js";
import { createShares } from "./shares.js";
import { Stage } from "./stage.js";
import { checked, initialState } from "./state.js";
import { createNotes, createPictures, createScores } from "./tables.js";

/** Whether two are the same patches. */
function same(a, b) {
  return Boolean(a && b) && ["row", "column", "rows", "columns"].every((key) => (a[key] ?? 1) === (b[key] ?? 1));
}

const OTHER = { generated: "reference", reference: "generated" };

function panel(name, title) {
  const canvas = el("canvas", { class: "i2am-canvas", tabindex: 0, role: "application", "aria-label": title });
  const heading = el("h2", {}, title);
  const level = el("p", { class: "i2am-level" });
  const bar = el("span", { class: "i2am-bar" });
  const low = el("span", {});
  const high = el("span", {});
  const scale = el("div", { class: "i2am-scale" }, low, bar, high);
  const legend = el("ul", { class: "i2am-legend i2am-parts" });
  const note = el("p", { class: "i2am-small" });
  const caption = el("figcaption", {}, level, scale, legend, note);
  const root = el("figure", { class: `i2am-panel i2am-${name}` }, heading, canvas, caption);
  return { root, canvas, heading, level, bar, low, high, scale, legend, note };
}

class Viewer {
  constructor(element, data, options) {
    if (data.format !== "i2am-viewer" || data.version !== VERSION) {
      throw new Error(`This viewer reads i2am-viewer data of version ${VERSION}, but got ${data.format} ${data.version}.`);
    }
    this.data = data;
    this.maps = new Maps(data);
    this.options = options;
    const start = initialState(data, this.maps);
    this.state = checked(data, { ...start, ...options.state }, start);
    this.several = data.references.length > 1;
    /** Every picture with its name, and a reference's number. */
    this.places = [{ name: "generated" }, ...data.references.map((_, reference) => ({ name: "reference", reference }))];
    for (const at of this.places) {
      at.panel = panel(at.name, at.name === "generated" ? "Generated picture" : "Reference picture");
      at.picture = at.name === "generated" ? data.generated : data.references[at.reference];
    }
    this.readout = createReadout(Boolean(data.truth));
    this.shares = createShares();
    this.pins = options.pins ?? null;
    this.list = this.pins && createPins({
      choose: (index) => this.choosePin(index),
      rename: (index, name) => this.setPins(this.pins.map((pin, i) => (i === index ? { ...pin, name } : pin)), true),
      remove: (index) => this.removePin(index),
    });
    this.controls = createControls(data, this.maps, this.state, (part) => this.set(part));
    this.root = el(
      "div",
      { class: "i2am-viewer", "data-theme": options.theme ?? null, onkeydown: (event) => this.key(event) },
      el(
        "div",
        { class: this.several ? "i2am-explore i2am-several" : "i2am-explore" },
        el("div", { class: "i2am-pair" }, ...this.places.map((at) => at.panel.root)),
        el("div", { class: "i2am-side" }, this.list?.root, this.readout.root, this.shares.root, this.controls.root),
      ),
    );
    if (options.details !== false) {
      this.root.append(...[createScores(data.scores, data.run), createPictures(data.pictures), createNotes(data)].filter(Boolean));
    }
    element.append(this.root);
    for (const at of this.places) {
      at.stage = new Stage(at.panel.canvas, at.picture, {
        move: (patch) => this.hover(at, patch),
        leave: () => this.hover(at, null),
        press: (patch) => this.press(at, patch),
        drag: (region) => this.canLookUp(at) && this.ask(at, region, true, true),
        drop: (region) => this.pins && this.canLookUp(at) && this.addPin(at, region),
      }, Boolean(this.pins));
    }
    this.render();
  }

  /** Changes part of the state and shows it; what does not exist in this recording is left as it was. */
  set(part, soon = false) {
    const before = this.state;
    const moved = part.reference !== undefined && part.reference !== before.reference;
    this.state = checked(this.data, { ...before, ...part }, before);
    if (moved && !part.query && this.state.query?.picture === "reference") {
      Object.assign(this.state, { query: null, pinned: false });
    }
    this.render(soon);
    this.options.onChange?.(this.state);
  }

  /** Pins a patch, as a click does, or a region of rows × columns patches that starts there, as dragging does. */
  pin(picture, row, column, rows = 1, columns = 1) {
    this.set({ query: { picture, row, column, rows, columns }, pinned: true });
  }

  /** Looks a patch or region of a picture up; that of a reference also chooses the reference, until it is left. */
  ask(at, patch, pinned = false, soon = !pinned) {
    const { reference } = this.state;
    if (at.reference !== undefined && at.reference !== reference && !pinned) this.chosen ??= reference;
    if (pinned) this.chosen = undefined;
    this.set({ reference: at.reference ?? reference, query: { picture: at.name, ...patch }, pinned }, soon);
  }

  /** Clears the patch, as Esc does. */
  clear() {
    if (this.state.query) this.set({ query: null, pinned: false });
  }

  destroy() {
    this.places.forEach((at) => at.stage.destroy());
    this.readout.destroy();
    this.controls.destroy();
    this.root.remove();
  }

  kind(side) {
    return this.maps.kinds.get(side);
  }

  /** Whether a patch of a picture can be looked up at all. */
  canLookUp({ reference } = {}) {
    return this.data.pairwise.some((entry) => reference === undefined || entry.reference === reference);
  }

  /** Whether what is marked lies on this picture. */
  isMarked({ name, reference }) {
    const { query } = this.state;
    return query?.picture === name && (name === "generated" || reference === this.state.reference);
  }

  hover(at, patch) {
    if (this.state.pinned || !this.canLookUp(at)) return;
    const now = this.isMarked(at) ? this.state.query : null;
    if (!patch) {
      if (now) this.set({ query: null, reference: this.chosen ?? this.state.reference });
      this.chosen = undefined;
    } else if (!now || now.row !== patch.row || now.column !== patch.column) this.ask(at, patch);
  }

  press(at, patch) {
    const { query, pinned } = this.state;
    if (!patch || !this.canLookUp(at)) return;
    if (this.pins) {
      const here = this.pins.findIndex((pin) => liesOn(pin, at) && same(patchesOf(pin, at.picture), { rows: 1, columns: 1, ...patch }));
      if (here < 0) this.addPin(at, patch);
      else if (here === this.chosenPin()) this.set({ query: null, pinned: false });
      else this.choosePin(here);
      return;
    }
    const again = pinned && this.isMarked(at) && query.row === patch.row && query.column === patch.column;
    if (again && !isRegion(query)) this.set({ pinned: false });
    else this.ask(at, patch, true);
  }

  /** The place that a pin lies on; undefined where the run has no such picture. */
  placeOf(pin) {
    return this.places.find((at) => liesOn(pin, at));
  }

  /** The index of the pin that is marked now, or -1. */
  chosenPin() {
    const { query, pinned } = this.state;
    if (!this.pins || !query || !pinned) return -1;
    return this.pins.findIndex((pin) => {
      const at = this.placeOf(pin);
      return at && this.isMarked(at) && same(patchesOf(pin, at.picture), query);
    });
  }

  choosePin(index) {
    const at = this.placeOf(this.pins[index]);
    const patches = at && patchesOf(this.pins[index], at.picture);
    if (patches && this.canLookUp(at)) this.ask(at, patches, true);
  }

  addPin(at, patches) {
    if (this.pins.length >= MOST_PINS) return;
    this.ask(at, { rows: 1, columns: 1, ...patches }, true);
    this.setPins([...this.pins, newPin(this.pins, at, patches)], true);
  }

  removePin(index) {
    if (index === this.chosenPin()) Object.assign(this.state, { query: null, pinned: false });
    this.setPins(this.pins.filter((_, i) => i !== index), true);
  }

  /** Shows other pins; `told`: they were changed here, and whoever keeps them must know. */
  setPins(pins, told = false) {
    this.pins = pins;
    this.render();
    if (told) this.options.onPins?.(pins);
  }

  key(event) {
    if (this.pins && ["Delete", "Backspace"].includes(event.key) && event.target.tagName === "CANVAS") {
      event.preventDefault();
      event.stopPropagation(); // else the node may go
      const chosen = this.chosenPin();
      if (chosen >= 0) this.removePin(chosen);
      return;
    }
    if (event.key === "Escape" && this.state.query) {
      event.preventDefault();
      event.stopPropagation();
      this.clear();
      return;
    }
    const at = this.places.find((one) => one.panel.canvas === event.target);
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Enter: [0, 0], " ": [0, 0] };
    const move = moves[event.key];
    if (!at || !move || !this.canLookUp(at) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const [rows, columns] = at.picture.grid;
    const { query, pinned } = this.state;
    const here = this.isMarked(at) ? query : null;
    if (here && this.pins && move[0] === 0 && move[1] === 0) {
      if (this.chosenPin() < 0) this.addPin(at, here);
      else this.clear();
      return;
    }
    if (here && pinned && move[0] === 0 && move[1] === 0) return this.clear();
    const from = { row: Math.floor(rows / 2), column: Math.floor(columns / 2), rows: 1, columns: 1, ...here };
    const step = here ? move : [0, 0];
    const within = (value, low, high) => Math.min(Math.max(value, low), high);
    if (event.shiftKey) {
      const size = [within(from.rows + step[0], 1, rows - from.row), within(from.columns + step[1], 1, columns - from.column)];
      return this.ask(at, { row: from.row, column: from.column, rows: size[0], columns: size[1] }, true);
    }
    const row = within(from.row + step[0], 0, rows - from.rows);
    const column = within(from.column + step[1], 0, columns - from.columns);
    this.ask(at, { row, column, rows: from.rows, columns: from.columns }, true);
  }

  /**
   * The maps shown now: {generated, reference, references}, each {side, values, grid, layers, unplaced} or {side, missing};
   * null where nothing is to be shown. `reference` is the chosen one of `references`.
   */
  shown() {
    const { state, maps } = this;
    const { query } = state;
    const of = (side, map, i = state.reference) => {
      const missing = this.data.references[i].unavailable ?? {};
      return map ? { side, ...map } : { side, missing: missing[side] ?? this.whyMissing(side, i) };
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
    else if (query.picture === "reference") generated = of("mirror", maps.mirror(state, ...at));
    return { generated, reference: references[state.reference], references };
  }

  whyMissing(side, reference) {
    const { layer } = this.state;
    if (side === "object" && !this.data.references[reference].object) return "No mask of this reference was given.";
    const where = layer < 0 ? "" : ` of layer ${this.data.layers[layer].name}`;
    return `No ${this.kind(side).title}${where} was kept for this choice. Choose another layer, time or head.`;
  }

  /** What a map is and what it is restricted to: "R2G · TLAM, steps 0–9" or "SRAM · head 3". */
  level(map) {
    const { group, layer, head } = this.state;
    const ofPatch = this.kind(map.side).asked !== "";
    const parts = [];
    const add = (level, text) => parts.push(ofPatch ? text : `${level}, ${text}`);
    if (group >= 0) add("TLAM", this.data.groups[group].label);
    if (layer >= 0) add("LLAM", layerNames(this.data)[layer]);
    if (head >= 0 && ofPatch && !this.maps.headsOfPairs()) add("", "mean over heads, as patch maps were kept");
    else if (head >= 0) add("HLAM", `head ${head}`);
    const all = this.data.layers.every((one) => one.default) ? "all steps, layers and heads" : "all steps and heads";
    if (!parts.length) parts.push(ofPatch ? all : "ULAM");
    return `${this.kind(map.side).title} · ${parts.join(" · ")}`;
  }

  truthOf(query) {
    const { truth, generated } = this.data;
    if (!truth || this.state.reference !== 0 || query.picture !== "generated" || isRegion(query)) return null;
    const found = truth[query.row * generated.grid[1] + query.column];
    if (!found) return null;
    const { grid, rect } = this.data.references[0];
    const [left, top, right, bottom] = rect ?? [0, 0, 1, 1];
    const row = ((found[1] - top) / (bottom - top)) * grid[0] - 0.5;
    const column = ((found[0] - left) / (right - left)) * grid[1] - 0.5;
    return { row, column };
  }

  render(soon = false) {
    const { state, data } = this;
    const { query } = state;
    const maps = this.shown();
    const look = { ...state, threshold: state.threshold ? data.threshold : null };
    const found = query && !maps[OTHER[query.picture]].missing ? statistics(maps[OTHER[query.picture]]) : null;
    const truth = query ? this.truthOf(query) : null;
    const shares = maps.generated?.side === "mirror" ? null : this.maps.sharesAt(state, query);
    const percents = shares && adding(shares.map(({ share }) => share));
    const peaks = maps.references.map((map) => (query && map && !map.missing ? statistics(map) : null));
    for (const at of this.places) {
      const map = at.name === "generated" ? maps.generated : maps.references[at.reference];
      const marks = this.marksOfPins(at);
      if (this.isMarked(at)) marks.push({ kind: "query", ...query });
      else if (query && map) {
        const peak = at.name === "generated" ? found : peaks[at.reference];
        if (truth && !at.reference) marks.push({ kind: "truth", ...truth });
        if (peak) marks.push({ kind: "peak", ...peak });
      }
      const heat = map?.missing ? null : map;
      const span = at.stage.update({ heat, look, marks }, soon);
      at.panel.root.style.setProperty("--aspect", at.picture.width / at.picture.height);
      this.caption(at, map, span, percents);
    }
    this.root.style.setProperty("--i2am-gradient", gradient(state.colours));
    this.controls.sync(state);
    this.list?.show(this.pins, this.chosenPin());
    this.readout.show({ data, state, maps, found, truth });
    this.shares.show(shares, percents, query);
    this.expose(maps, found, shares, this.several ? peaks : null);
  }

  marksOfPins(at) {
    const marks = (this.pins ?? []).map((pin, i) => liesOn(pin, at) && { pin, label: String(i + 1), ...patchesOf(pin, at.picture) });
    return marks.filter((mark) => mark.rows).map(({ pin, ...mark }) => ({ kind: "pin", colour: pin.colour, ...mark }));
  }

  caption(at, map, span, percents) {
    const { panel: parts, picture, name } = at;
    const { query } = this.state;
    const reference = at.reference ?? this.state.reference;
    const kind = name === "generated" ? "Generated picture" : "Reference picture";
    if (name === "reference" && this.several) {
      const share = percents ? ` · ${percents[reference]}` : "";
      parts.heading.replaceChildren(chip(picture.colour), `${picture.name}${share}`);
    } else parts.heading.textContent = kind;
    const help = this.canLookUp(at) ? "Arrow keys choose a patch, with Shift a region; Escape clears it." : "";
    parts.canvas.classList.toggle("i2am-still", !this.canLookUp(at));
    parts.canvas.setAttribute("aria-label", `${kind}, ${picture.grid[0]} by ${picture.grid[1]} patches. ${help}`);
    const empty = !map || Boolean(map.missing);
    parts.scale.classList.toggle("i2am-gone", empty || span.flat || map.side === WHICH);
    const named = map?.side === WHICH && !map.missing ? this.data.references : [];
    parts.legend.replaceChildren(...named.map((one) => el("li", {}, chip(one.colour), one.name)));
    parts.bar.toggleAttribute("data-cut", this.state.threshold);
    parts.bar.style.setProperty("--cut", `${100 * this.data.threshold}%`);
    if (!map && !this.isMarked(at)) {
      parts.level.textContent = parts.note.textContent = "";
      return;
    }
    parts.level.textContent = map ? this.level(map) : `${isRegion(query) ? "Patches" : "Patch"} ${place(query)}`;
    const unknown = picture.rect ? "" : " The part of the picture that the patches cover is unknown.";
    const where = this.several && name === "generated" ? "every reference" : "the other picture";
    if (!map) parts.note.textContent = `What is marked is looked up in ${where}.${unknown}`;
    else if (map.missing) parts.note.textContent = map.missing;
    else {
      const flat = span.flat ? " Flat: there is nothing to show." : "";
      const about = this.kind(map.side);
      const lost = map.side === this.state.referenceSide && map.unplaced > 0 ? ` ${percent(map.unplaced)} goes to tokens without a place.` : "";
      const remark = this.data.references[reference].remarks?.[map.side];
      parts.note.textContent = about.sentence + (remark ? ` ${remark}` : "") + lost + flat + unknown;
      const mean = map.values.reduce((a, b) => a + b, 0) / map.values.length;
      const text = about.unit === "share" ? percent : (v) => times(v / mean);
      parts.low.textContent = text(span.low);
      parts.high.textContent = text(span.high);
      parts.scale.title = `raw values ${span.low.toExponential(3)} to ${span.high.toExponential(3)}` +
        (about.unit === "share" ? "" : "; × is a multiple of the mean");
    }
  }

  /** Puts what is shown into data attributes, for tests and for other scripts. */
  expose(maps, found, shares, peaks) {
    const { query, pinned } = this.state;
    const { dataset } = this.root;
    for (const key of ["query", "on", "peak", "ratio", "entropy", "unplaced", "pinned", "shares", "peaks"]) delete dataset[key];
    if (shares) dataset.shares = shares.map(({ share }) => share.toFixed(5)).join(",");
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
}

/** Builds a viewer inside `element`; returns it, with state, set, pin, clear, shown and destroy. */
export function createViewer(element, data, options = {}) {
  return new Viewer(element, data, options);
}
