/**
 * The explorer: the generated picture beside the references, each with its map; a patch of one shows its map on the others.
 *
 * `createViewer(element, data, options)` builds it inside `element` and has no other effect; the styles are in
 * viewer.css, which the page links. `data` is what i2am/outputs/viewer_data.py made, as `readFile` of decode.js returns it:
 *
 *   format "i2am-viewer", version 4
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
 *   words       parts of the text that maps were kept of: [{side, name, apart}]; apart: no word, but special tokens and the like
 *   groups      [{start, stop, steps, label}] time groups: half-open step range, how many of its steps were recorded
 *   marginals   [{side, reference, layer, values}]  values: packed (groups or 1, heads or 1, cells), see decode.js;
 *               of a part of rest the side is "rest: " and its name, the reference 0; of a word "word: " …, the layer -1
 *   pairwise    [{reference, layer, grids: {generated, reference, leading}, values}]   layer -1: the mean over all layers;
 *               values: packed (groups, heads or 1, queries, leading + cells) on these grids, which may be coarser than a layer's
 *   truth       null, or per patch of generated.grid null or [x, y] on reference 0, as fractions of that picture
 *   scores      null or the content of scores.json;  pictures [{name, src, width, height}]
 *   run, notes, quantisation    what was run, sentences to show, how exact the embedded numbers are
 *   name        what the run is called beside another; second: null, or another run to compare with: {name, generated,
 *               references, layers, rest, words, groups, marginals, pairwise, run}, on the same grids of patches
 *
 * Options: state (any part of `viewer.state`), theme ("light" | "dark", else the system's), onChange(state),
 * details (false: neither scores nor notes), pins (a list as in pins.js, else there are none) and onPins(pins).
 */

import { createBoth } from "./both.js";
import { captionOf, sharesOfBoth } from "./captions.js";
import { gradient } from "./colours.js";
import { createControls } from "./controls.js";
import { VERSION } from "./decode.js";
import { dataOfSecond, differenceOf, onOneScale, stateOfSecond } from "./difference.js";
import { OTHER, adding, el, isRegion, same } from "./dom.js";
import { expose, exposeSecond } from "./exposed.js";
import { statistics } from "./maths.js";
import { createPanel, tell } from "./panel.js";
import { MOST_PINS, createPins, liesOn, newPin, patchesOf } from "./pins.js";
import { createReadout } from "./readout.js";
import { Run } from "./run.js";
import { createShares } from "./shares.js";
import { Stage } from "./stage.js";
import { checked, initialState } from "./state.js";
import { createNotes, createPictures, createScores } from "./tables.js";
import { createViews } from "./views.js";
import { createWords } from "./words.js";

const ALONE = "Point at a reference to see where that part went in each run.";

class Viewer {
  constructor(element, data, options) {
    if (data.format !== "i2am-viewer" || data.version !== VERSION) {
      throw new Error(`This viewer reads i2am-viewer data of version ${VERSION}, but got ${data.format} ${data.version}.`);
    }
    this.data = data;
    this.runs = [data, dataOfSecond(data)].filter(Boolean).map((one) => new Run(one));
    this.maps = this.runs[0].maps;
    this.names = this.runs.map((run) => run.data.name);
    this.options = options;
    const start = initialState(data, this.maps);
    this.state = checked(data, { ...start, ...options.state }, start);
    this.several = data.references.length > 1;
    /** Every picture of each run with its name, and a reference's number; `picture` says where its patches lie. */
    this.places = this.runs.flatMap((run, i) => {
      const named = [{ name: "generated" }, ...data.references.map((_, reference) => ({ name: "reference", reference }))];
      return named.map((at) => {
        const of = (one) => (at.name === "generated" ? one.generated : one.references[at.reference]);
        const panel = createPanel(at.name, at.name === "generated" ? "Generated picture" : "Reference picture");
        return { ...at, run, index: i, several: this.several, picture: of(data), own: of(run.data), panel };
      });
    });
    this.readout = createReadout(Boolean(data.truth));
    this.shares = createShares();
    this.words = createWords(this.names[0], (side) => this.set({ side: side ?? this.maps.firstSide("generated") }));
    this.both = this.runs[1] && createBoth(this.names);
    this.views = this.runs[1] && createViews(this.names, (part) => this.set(part));
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
        { class: this.several || this.both ? "i2am-explore i2am-several" : "i2am-explore" },
        this.pictures(),
        el("div", { class: "i2am-side" }, this.list?.root, this.readout.root, this.both?.root ?? this.shares.root, this.words.root, this.controls.root),
      ),
    );
    if (options.details !== false) {
      this.root.append(...[createScores(data.scores, data.run), createPictures(data.pictures), createNotes(data)].filter(Boolean));
    }
    element.append(this.root);
    for (const at of this.places) {
      const other = this.both && !at.index ? this.beside(at).own : null;
      at.stage = new Stage(at.panel.canvas, at.own, {
        move: (patch) => this.hover(at, patch),
        leave: () => this.hover(at, null),
        press: (patch) => this.press(at, patch),
        drag: (region) => this.canLookUp(at) && this.ask(at, region, true, true),
        drop: (region) => this.pins && this.canLookUp(at) && this.addPin(at, region),
      }, { touch: Boolean(this.pins), other });
    }
    this.render();
  }

  /** The pictures of one run in a row; those of two, each below its name, and how they are compared. */
  pictures() {
    const row = (i) => el("div", { class: "i2am-pair" }, ...this.places.filter((at) => at.index === i).map((at) => at.panel.root));
    if (!this.both) return row(0);
    this.rows = this.names.map((_, i) => el("section", { class: "i2am-run" }, el("h2", {}), row(i)));
    return el("div", { class: "i2am-runs" }, this.views.root, ...this.rows);
  }

  /** Says which run, or what of both, the rows show; a row that shows nothing is hidden. */
  nameRows() {
    const { view } = this.state;
    const [first, second] = this.names;
    const named = { both: first, wipe: `${first} | ${second}`, difference: `${second} − ${first}` };
    this.rows?.forEach((row, i) => {
      row.firstChild.textContent = i ? second : named[view];
      row.setAttribute("aria-label", row.firstChild.textContent);
      row.hidden = i > 0 && view !== "both";
    });
  }

  /** The same picture in the second run. */
  beside(at) {
    return this.places.find((one) => one.index === 1 && one.name === at.name && one.reference === at.reference);
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

  /** Whether a patch of a picture can be looked up at all, in either run. */
  canLookUp(at) {
    return this.runs.some((run) => run.canLookUp(at));
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
   * The maps shown now, of the first run: {generated, reference, references}, each {side, values, grid, layers, unplaced} or
   * {side, missing}; null where nothing is to be shown. `reference` is the chosen one of `references`.
   */
  shown() {
    return this.runs[0].shown(this.state);
  }

  /** The same of the second run, with the state that it is in: {maps, state}; null where there is none. */
  shownOfSecond() {
    const [first, second] = this.runs;
    if (!second) return null;
    const { state, missing } = stateOfSecond(first.data, second.data, this.state);
    if (missing) return { state: { ...this.state, layer: -1, group: -1 }, maps: second.without(this.state, missing) };
    return { state, maps: second.shown(state) };
  }

  /** What each picture of the first run shows, with its counterpart: {at, maps: [first, second], unit, scaled, difference}. */
  compared(maps, also) {
    const pick = (shown, at) => (at.name === "generated" ? shown.generated : shown.references[at.reference]);
    const steps = this.data.pairwise[0]?.values.dtype === "uint8" ? 255 : 65535;
    return this.places.filter((at) => !at.index).map((at) => {
      const pair = [pick(maps, at), also && pick(also.maps, at)];
      const side = (pair[0] ?? pair[1])?.side;
      const unit = side && at.run.kind(side).unit;
      if (!also) return { at, maps: pair, scaled: pair };
      const { reference } = this.state;
      const found = differenceOf(pair, unit, reference, steps);
      return { at, maps: pair, unit, scaled: onOneScale(pair, unit), difference: found && { ...found, reference } };
    });
  }

  render(soon = false) {
    const { state, data, runs } = this;
    const { query } = state;
    const maps = this.shown();
    const also = this.shownOfSecond();
    const compared = this.compared(maps, also);
    const found = query && !maps[OTHER[query.picture]].missing ? statistics(maps[OTHER[query.picture]]) : null;
    const truth = query ? runs[0].truthOf(query, state) : null;
    const states = [state, also?.state];
    const sharesOf = (run, i) => ([maps, also?.maps][i].generated?.side === "mirror" ? null : run.maps.sharesAt(states[i], query));
    const shares = runs.map(sharesOf);
    const percents = shares.map((parts) => parts && adding(parts.map(({ share }) => share)));
    const written = this.both && state.view !== "both" ? [sharesOfBoth(state.view, shares, percents)] : percents;
    const peaks = maps.references.map((map) => (query && map && !map.missing ? statistics(map) : null));
    this.nameRows();
    for (const at of this.places.filter((one) => !one.index || state.view === "both")) {
      this.show(at, compared.find((one) => one.at.name === at.name && one.at.reference === at.reference), {
        states, percents: written, truth, soon,
      });
    }
    this.root.style.setProperty("--i2am-gradient", gradient(state.colours));
    this.controls.sync(state);
    this.views?.sync(state);
    this.list?.show(this.pins, this.chosenPin());
    const on = this.places.find((at) => this.isMarked(at))?.picture;
    this.readout.show({ data, state, maps, found, truth, second: also?.maps });
    this.shares.show(shares[0], percents[0], query, on);
    const words = shares[0] && this.maps.wordsAt(state, query);
    this.words.show(words, state.side, query, on);
    this.both?.show({ pairs: compared.map((one) => ({ ...one, name: this.titleOf(one) })), shares, query, picture: on });
    expose(this.root.dataset, state, maps, found, shares[0], this.several ? peaks : null, words);
    if (also) exposeSecond(this.root.dataset, state, also.maps, shares[1], compared);
  }

  /** What a line of the figures of both runs is about: the map, and of which reference. */
  titleOf({ at, maps }) {
    const side = (maps[0] ?? maps[1])?.side;
    const title = side ? at.run.kind(side).title : "";
    return this.several && at.name === "reference" ? `${title}, ${at.picture.name}` : title;
  }

  /** Shows one picture with what lies on it. */
  show(at, { maps, scaled, difference }, { states, percents, truth, soon }) {
    const { state, data } = this;
    const view = this.both ? state.view : "";
    const look = { ...state, threshold: state.threshold ? data.threshold : null };
    const alone = view === "wipe" && at.name === "generated" && !state.query; // the pictures are what is compared here
    const map = view === "difference" ? difference : scaled[at.index];
    const heat = map?.missing || alone ? null : map;
    const marksOf = (i) => this.marksOn(at, maps[i], view === "difference", i ? null : truth);
    const other = scaled[1]?.missing || alone ? null : scaled[1];
    const wipe = view === "wipe" ? { cut: state.cut, heat: other, marks: marksOf(1) } : null;
    const span = at.stage.update({ heat, look, marks: marksOf(at.index), wipe }, soon);
    at.panel.root.style.setProperty("--aspect", at.own.width / at.own.height);
    tell(at.panel, captionOf(at, at.run, states[at.index], {
      map: map && (alone ? { ...map, alone: ALONE } : map),
      other: this.both && maps[1 - at.index],
      span,
      percents: percents[at.index],
      marked: this.isMarked(at),
      lookedUp: this.canLookUp(at),
      name: this.both ? at.run.data.name : "",
      view,
      threshold: data.threshold,
    }));
  }

  /** The marks on a picture: pins, what is pointed at, and where a map of the other picture is highest. */
  marksOn(at, map, apart, truth) {
    const { query } = this.state;
    const marks = this.marksOfPins(at);
    if (this.isMarked(at)) return [...marks, { kind: "query", ...query }];
    if (!query || !map) return marks;
    if (truth && !at.reference) marks.push({ kind: "truth", ...truth });
    if (!map.missing && !apart) marks.push({ kind: "peak", ...statistics(map) });
    return marks;
  }

  marksOfPins(at) {
    const marks = (this.pins ?? []).map((pin, i) => liesOn(pin, at) && { pin, label: String(i + 1), ...patchesOf(pin, at.picture) });
    return marks.filter((mark) => mark.rows).map(({ pin, ...mark }) => ({ kind: "pin", colour: pin.colour, ...mark }));
  }
}

/** Builds a viewer inside `element`; returns it, with state, set, pin, clear, shown and destroy. */
export function createViewer(element, data, options = {}) {
  return new Viewer(element, data, options);
}
