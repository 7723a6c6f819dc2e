/**
 * The explorer: the generated picture beside a reference, each with its map; a patch of one shows its map on the other.
 *
 * `createViewer(element, data, options)` builds it inside `element` and has no other effect; the styles are in
 * viewer.css, which the page links. `data` is plain JSON (i2am/outputs/viewer_data.py writes it), after `await inflate(data)`
 * of decode.js:
 *
 *   format "i2am-viewer", version 2
 *   title       text
 *   threshold   share of a map's range above which "only above" keeps it, 0.4
 *   diffuse     a map whose peak is below this multiple of uniform is called diffuse
 *   kinds       [{side, title, picture, asked, sentence, unit, scaled, resize, rank}] kinds of map, as in i2am/maps/kinds.py
 *   generated   {src, width, height, grid: [rows, columns], rect: [left, top, right, bottom] | null}
 *   references  [{name, src, width, height, grid, rect, leading, steps, object, unavailable, remarks}]
 *               steps: for each group, in how many of its recorded steps the reference was attended to
 *               object: null, or the cells of grid that the object's mask covers, whose mirror is the side "object"
 *               unavailable: {side, "SRAM" or "mirror": reason}; remarks: {side: sentence to show with it}
 *   layers      [{name, grid, heads, middle, references: [{grid, leading}]}] in network order
 *   groups      [{start, stop, steps, label}] time groups: half-open step range, how many of its steps were recorded
 *   marginals   [{side, reference, layer, values}]  values: packed (groups or 1, heads or 1, cells), see decode.js
 *   pairwise    [{reference, layer, values}]        values: packed (groups, heads or 1, queries, leading + cells)
 *   truth       null, or per patch of generated.grid null or [x, y] on reference 0, as fractions of that picture
 *   scores      null or the content of scores.json;  pictures [{name, src, width, height}]
 *   run, notes, quantisation    what was run, sentences to show, how exact the embedded numbers are
 *
 * Options: state (any part of `viewer.state`), theme ("light" | "dark", else the system's), onChange(state),
 * details (false: neither scores nor notes).
 */

import { createControls, layerNames } from "./controls.js";
import { gradient } from "./colours.js";
import { asWritten, el, isRegion, percent, place, times } from "./dom.js";
import { Maps, statistics } from "./maths.js";
import { createReadout } from "./readout.js";
import { Stage } from "./stage.js";
import { checked, initialState } from "./state.js";
import { createNotes, createPictures, createScores } from "./tables.js";

const OTHER = { generated: "reference", reference: "generated" };

function panel(name, title) {
  const canvas = el("canvas", { class: "i2am-canvas", tabindex: 0, role: "application", "aria-label": title });
  const heading = el("h2", {}, title);
  const level = el("p", { class: "i2am-level" });
  const bar = el("span", { class: "i2am-bar" });
  const low = el("span", {});
  const high = el("span", {});
  const scale = el("div", { class: "i2am-scale" }, low, bar, high);
  const note = el("p", { class: "i2am-small" });
  const root = el("figure", { class: `i2am-panel i2am-${name}` }, heading, canvas, el("figcaption", {}, level, scale, note));
  return { root, canvas, heading, level, bar, low, high, scale, note };
}

class Viewer {
  constructor(element, data, options) {
    if (data.format !== "i2am-viewer" || data.version !== 2) {
      throw new Error(`This viewer reads i2am-viewer data of version 2, but got ${data.format} ${data.version}.`);
    }
    this.data = data;
    this.maps = new Maps(data);
    this.options = options;
    const start = initialState(data, this.maps);
    this.state = checked(data, { ...start, ...options.state }, start);
    this.panels = {
      generated: panel("generated", "Generated picture"),
      reference: panel("reference", "Reference picture"),
    };
    this.readout = createReadout(Boolean(data.truth));
    this.controls = createControls(data, this.maps, this.state, (part) => this.set(part));
    this.root = el(
      "div",
      { class: "i2am-viewer", "data-theme": options.theme ?? null, onkeydown: (event) => this.key(event) },
      el(
        "div",
        { class: "i2am-explore" },
        el("div", { class: "i2am-pair" }, this.panels.generated.root, this.panels.reference.root),
        el("div", { class: "i2am-side" }, this.readout.root, this.controls.root),
      ),
    );
    if (options.details !== false) {
      this.root.append(...[createScores(data.scores, data.run), createPictures(data.pictures), createNotes(data)].filter(Boolean));
    }
    element.append(this.root);
    this.stages = {};
    for (const name of ["generated", "reference"]) {
      this.stages[name] = new Stage(this.panels[name].canvas, this.picture(name), {
        move: (patch) => this.hover(name, patch),
        leave: () => this.hover(name, null),
        press: (patch) => this.press(name, patch),
        drag: (region) => this.canLookUp() && this.set({ query: { picture: name, ...region }, pinned: true }),
      });
    }
    this.render();
  }

  /** Changes part of the state and shows it; what does not exist in this recording is left as it was. */
  set(part) {
    const before = this.state;
    const moved = part.reference !== undefined && part.reference !== before.reference;
    this.state = checked(this.data, { ...before, ...part }, before);
    if (moved && !part.query && this.state.query?.picture === "reference") {
      Object.assign(this.state, { query: null, pinned: false });
    }
    if (this.state.reference !== before.reference) this.stages.reference.show(this.picture("reference"));
    this.render();
    this.options.onChange?.(this.state);
  }

  /** Pins a patch, as a click does, or a region of rows × columns patches that starts there, as dragging does. */
  pin(picture, row, column, rows = 1, columns = 1) {
    this.set({ query: { picture, row, column, rows, columns }, pinned: true });
  }

  /** Clears the patch, as Esc does. */
  clear() {
    if (this.state.query) this.set({ query: null, pinned: false });
  }

  destroy() {
    Object.values(this.stages).forEach((stage) => stage.destroy());
    this.readout.destroy();
    this.root.remove();
  }

  picture(name) {
    return name === "generated" ? this.data.generated : this.data.references[this.state.reference];
  }

  kind(side) {
    return this.maps.kinds.get(side);
  }

  /** Whether a patch of this reference can be looked up at all. */
  canLookUp() {
    return this.data.pairwise.some((entry) => entry.reference === this.state.reference);
  }

  hover(picture, patch) {
    if (this.state.pinned || !this.canLookUp()) return;
    const now = this.state.query;
    if (!patch) {
      if (now?.picture === picture) this.set({ query: null });
    } else if (now?.picture !== picture || now.row !== patch.row || now.column !== patch.column) {
      this.set({ query: { picture, ...patch } });
    }
  }

  press(picture, patch) {
    const { query, pinned } = this.state;
    if (!patch || !this.canLookUp()) return;
    const same = pinned && query.picture === picture && query.row === patch.row && query.column === patch.column;
    if (same && !isRegion(query)) this.set({ pinned: false });
    else this.set({ query: { picture, ...patch }, pinned: true });
  }

  key(event) {
    if (event.key === "Escape" && this.state.query) {
      event.preventDefault();
      event.stopPropagation();
      this.clear();
      return;
    }
    const picture = Object.keys(this.panels).find((name) => this.panels[name].canvas === event.target);
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Enter: [0, 0], " ": [0, 0] };
    const move = moves[event.key];
    if (!picture || !move || !this.canLookUp() || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const [rows, columns] = this.picture(picture).grid;
    const { query, pinned } = this.state;
    const here = query?.picture === picture ? query : null;
    if (here && pinned && move[0] === 0 && move[1] === 0) return this.clear();
    const from = { row: Math.floor(rows / 2), column: Math.floor(columns / 2), rows: 1, columns: 1, ...here };
    const step = here ? move : [0, 0];
    const within = (value, low, high) => Math.min(Math.max(value, low), high);
    if (event.shiftKey) {
      const size = [within(from.rows + step[0], 1, rows - from.row), within(from.columns + step[1], 1, columns - from.column)];
      return this.pin(picture, from.row, from.column, ...size);
    }
    const row = within(from.row + step[0], 0, rows - from.rows);
    const column = within(from.column + step[1], 0, columns - from.columns);
    this.pin(picture, row, column, from.rows, from.columns);
  }

  /** The maps shown now: {generated, reference}, each {side, values, grid, layers, unplaced} or {side, missing}. */
  shown() {
    const { state, maps } = this;
    const missing = this.data.references[state.reference].unavailable ?? {};
    const of = (side, map) => (map ? { side, ...map } : { side, missing: missing[side] ?? this.whyMissing(side) });
    const { query } = state;
    if (!query) {
      return {
        generated: of(state.side, maps.level(state.side, state)),
        reference: of(state.referenceSide, maps.level(state.referenceSide, state)),
      };
    }
    const onReference = query.picture === "generated";
    const side = onReference ? "SRAM" : "mirror";
    const at = [query.row, query.column, query.rows, query.columns];
    const map = onReference ? maps.sram(state, ...at) : maps.mirror(state, ...at);
    return { [query.picture]: null, [OTHER[query.picture]]: of(side, map) };
  }

  whyMissing(side) {
    const { layer, reference } = this.state;
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
    if (!parts.length) parts.push(ofPatch ? "all steps, layers and heads" : "ULAM");
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

  render() {
    const { state, data } = this;
    const { query } = state;
    const maps = this.shown();
    const look = { ...state, threshold: state.threshold ? data.threshold : null };
    const found = query && !maps[OTHER[query.picture]].missing ? statistics(maps[OTHER[query.picture]]) : null;
    const truth = query ? this.truthOf(query) : null;
    for (const name of ["generated", "reference"]) {
      const marks = [];
      if (query?.picture === name) marks.push({ kind: "query", ...query });
      else if (query) {
        if (truth) marks.push({ kind: "truth", ...truth });
        if (found) marks.push({ kind: "peak", ...found });
      }
      const heat = maps[name]?.missing ? null : maps[name];
      const span = this.stages[name].update({ heat, look, marks });
      this.panels[name].root.style.setProperty("--aspect", this.picture(name).width / this.picture(name).height);
      this.caption(name, maps[name], span);
    }
    this.root.style.setProperty("--i2am-gradient", gradient(state.colours));
    this.controls.sync(state);
    this.readout.show({ data, state, maps, found, truth });
    this.expose(maps, found);
  }

  caption(name, map, span) {
    const parts = this.panels[name];
    const { query, reference } = this.state;
    const picture = this.picture(name);
    const kind = name === "generated" ? "Generated picture" : "Reference picture";
    const several = name === "reference" && this.data.references.length > 1;
    parts.heading.textContent = several ? `${kind}: ${this.data.references[reference].name}` : kind;
    const help = this.canLookUp() ? "Arrow keys choose a patch, with Shift a region; Escape clears it." : "";
    parts.canvas.classList.toggle("i2am-still", !this.canLookUp());
    parts.canvas.setAttribute("aria-label", `${kind}, ${picture.grid[0]} by ${picture.grid[1]} patches. ${help}`);
    const empty = !map || Boolean(map.missing);
    parts.scale.classList.toggle("i2am-gone", empty || span.flat);
    parts.bar.toggleAttribute("data-cut", this.state.threshold);
    parts.bar.style.setProperty("--cut", `${100 * this.data.threshold}%`);
    parts.level.textContent = map ? this.level(map) : `${isRegion(query) ? "Patches" : "Patch"} ${place(query)}`;
    const unknown = picture.rect ? "" : " The part of the picture that the patches cover is unknown.";
    if (!map) parts.note.textContent = `What is marked is looked up in the other picture.${unknown}`;
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
  expose(maps, found) {
    const { query, pinned } = this.state;
    const { dataset } = this.root;
    for (const key of ["query", "on", "peak", "ratio", "entropy", "unplaced", "pinned"]) delete dataset[key];
    if (!query) return;
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
