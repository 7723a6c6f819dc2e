/**
 * I²AM Explorer in the graph: the viewer of ./viewer inside the node, for both of ComfyUI's renderers.
 *
 * The node's widget `pins` holds the pins as JSON, so that the workflow's file has them; here it is hidden, and the pictures
 * write it. What the last run left is a file in the host's temporary folder; its name is a property of the node, so that a
 * reload or a copy of the node finds it again while the host still has it.
 */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { readFile } from "./viewer/decode.js";
import { el } from "./viewer/dom.js";
import { parsePins } from "./viewer/pins.js";
import { createViewer } from "./viewer/viewer.js";

const NODE = "I2AM_Explorer";
const SHOWN = "i2am_viewer"; // the key of the node's result, and the property that keeps it
const LOOK = "i2am_look"; // the property that keeps what was set in the viewer
const KEPT = ["side", "referenceSide", "colours", "opacity", "threshold", "smooth", "view", "cut"];
const SIZE = [620, 820];
const HELD = 3; // files that stay in memory for nodes that are made anew, as by undo
const files = new Map();
const SETTLED = [50, 400, 1500]; // ms after which a node that was made anew looks where it is shown
const shownIn = new Map(); // for each node, the element in which its viewer was seen last; weakly, for the host may drop it
const recent = new Map(); // what each node showed last: undo may lead to before the run

const keyOf = (node) => `${node.graph?.id} ${node.id}`;

/** The data of a file in the host's temporary folder. */
async function load({ filename, subfolder, type }) {
  const query = new URLSearchParams({ filename, subfolder, type }).toString();
  if (!files.has(query)) {
    files.set(query, api.fetchApi(`/view?${query}`).then(async (answer) => {
      if (!answer.ok) throw new Error("What the last run left is no longer there: run the graph again.");
      return readFile(await answer.arrayBuffer());
    }));
    for (const key of [...files.keys()].slice(0, -HELD)) files.delete(key);
  }
  try {
    return await files.get(query);
  } catch (error) {
    files.delete(query);
    throw error;
  }
}

/** The viewer's styles, once for the page. */
function addStyles() {
  for (const name of ["viewer.css", "node.css"]) {
    const { href } = new URL(`./viewer/${name}`, import.meta.url);
    if (![...document.querySelectorAll("link")].some((link) => link.href === href)) {
      document.head.append(el("link", { rel: "stylesheet", href }));
    }
  }
}

/** Whether the host's page is dark: some of its versions have a class for that, newer ones only say so to the browser. */
function isDark() {
  const { colorScheme } = getComputedStyle(document.documentElement);
  return colorScheme === "dark" || Boolean(document.querySelector("html.dark-theme, body.dark-theme"));
}

/** Calls `then` after a method of an object that others may have set too. */
function after(object, name, then) {
  const before = object[name];
  object[name] = function method(...given) {
    const out = before?.apply(this, given);
    then(...given);
    return out;
  };
}

class Explorer {
  constructor(node) {
    this.node = node;
    this.text = node.widgets.find((widget) => widget.name === "pins");
    this.message = el("p", { class: "i2am-message", role: "status" });
    this.place = el("div", { class: "i2am-place" });
    this.enlarge = el("button", { type: "button", class: "i2am-enlarge", title: "Open in the whole window", onclick: () => this.open() }, "⤢ Enlarge");
    this.body = el("div", { class: "i2am-node" }, this.enlarge, this.message, this.place);
    this.root = el("div", { class: "i2am-holder" }, this.body);
    this.listening = new AbortController();
    for (const kind of ["pointerdown", "mousedown", "dblclick", "contextmenu"]) {
      const { signal } = this.listening;
      this.root.addEventListener(kind, (event) => event.stopPropagation(), { signal }); // the node must not be dragged along
    }
    this.themes = new MutationObserver(() => this.theme());
    for (const one of [document.body, document.documentElement]) {
      this.themes.observe(one, { attributes: true, attributeFilter: ["class", "style"] });
    }
    this.say("Run the graph: then point at the picture here.");
    this.theme();
  }

  say(text) {
    this.viewer?.destroy();
    this.viewer = null;
    this.message.textContent = text;
    this.message.hidden = false;
    this.enlarge.hidden = true;
  }

  theme() {
    const name = isDark() ? "dark" : "light";
    this.body.dataset.theme = name;
    if (this.viewer) this.viewer.root.dataset.theme = name;
  }

  /** Shows the file that a run left. */
  async show(file) {
    this.wanted = file;
    try {
      const data = await load(file);
      if (this.wanted === file) this.build(data); // another run may have been faster
    } catch (error) {
      if (this.wanted === file) this.say(error.message);
    }
  }

  build(data) {
    const state = { ...this.node.properties[LOOK], ...this.viewer?.state };
    this.viewer?.destroy();
    this.viewer = null;
    this.viewer = createViewer(this.place, data, {
      state,
      details: false,
      pins: this.read(),
      onPins: (pins) => this.write(pins),
      onChange: (now) => (this.node.properties[LOOK] = Object.fromEntries(KEPT.map((key) => [key, now[key]]))),
    });
    this.message.hidden = true;
    this.enlarge.hidden = false;
    this.theme();
  }

  /** The pins of the widget. */
  read() {
    return parsePins(this.text.value) ?? [];
  }

  write(pins) {
    this.writing = true;
    this.text.value = pins.length ? JSON.stringify(pins) : "";
    this.text.callback?.(this.text.value);
    this.writing = false;
    app.graph.setDirtyCanvas(true, true);
    const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
    (tracker?.captureCanvasState ?? tracker?.checkState)?.call(tracker); // one step for undo
  }

  /**
   * Goes where the host shows this node. After an undo the Vue renderer keeps the element of the node that this one replaces,
   * and never asks for ours.
   */
  settle() {
    if (this.gone || this.dialog) return;
    const before = shownIn.get(keyOf(this.node))?.deref();
    const place = this.root.isConnected || !before?.isConnected ? this.root : before;
    if (this.body.parentNode !== place) place.replaceChildren(this.body);
    shownIn.set(keyOf(this.node), new WeakRef(place));
  }

  /** Follows a change of the widget that was not made here. */
  follow() {
    if (!this.writing && this.viewer) this.viewer.setPins(this.read());
  }

  /** Opens the viewer in a dialog as large as the window; closing it puts it back. */
  open() {
    const close = el("button", { type: "button", class: "i2am-enlarge", onclick: () => this.dialog.close() }, "Close");
    const dialog = el("dialog", { class: "i2am-dialog", "aria-label": "I²AM Explorer" }, close, this.body);
    dialog.dataset.theme = this.body.dataset.theme;
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !event.defaultPrevented) {
        event.preventDefault(); // some hosts do so too, and the dialog would stay
        dialog.close();
      }
      if (!event.ctrlKey && !event.metaKey) event.stopPropagation(); // the graph is out of sight
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      this.dialog = null;
      if (this.gone) return;
      this.root.append(this.body);
      this.settle();
      this.enlarge.hidden = !this.viewer;
      this.enlarge.focus();
    });
    this.dialog = dialog;
    this.enlarge.hidden = true;
    document.body.append(dialog);
    dialog.showModal();
  }

  /** Ends all, and lets go of its elements: some hosts keep a deleted node, and with it this object. */
  destroy() {
    this.gone = true;
    this.wanted = null;
    this.dialog?.close();
    this.themes.disconnect();
    this.viewer?.destroy();
    this.body.remove();
    this.listening.abort();
    this.enlarge.onclick = null;
    for (const kept of ["viewer", "dialog", "body", "place", "message", "enlarge", "themes"]) this[kept] = null;
  }
}

/** Hides a widget in both renderers; its value stays in the workflow. */
function hide(widget) {
  widget.hidden = true; // for the canvas
  widget.options.hidden = true; // for Vue, which watches this very object
}

function attach(node) {
  const explorer = new Explorer(node);
  hide(explorer.text);
  node.hideOutputImages = true; // of the Vue renderer
  Object.defineProperty(node, "imgs", { get: () => undefined, set() {}, configurable: true }); // of the canvas: the viewer shows more
  const options = { serialize: false, hideOnZoom: false, getMinHeight: () => 420, getValue: () => "", setValue() {} };
  const widget = node.addDOMWidget("viewer", "I2AM_VIEWER", explorer.root, options);
  widget.serialize = false;
  node.setSize([Math.max(node.size[0], SIZE[0]), Math.max(node.size[1], SIZE[1])]);
  after(explorer.text, "callback", () => explorer.follow());
  after(node, "onExecuted", (output) => {
    const file = output?.[SHOWN]?.[0];
    if (!file) return;
    node.properties[SHOWN] = file;
    recent.set(keyOf(node), file);
    explorer.show(file);
  });
  after(node, "onConfigure", () => {
    explorer.follow();
    for (const wait of SETTLED) setTimeout(() => explorer.settle(), wait);
    const file = node.properties[SHOWN] ?? recent.get(keyOf(node));
    if (file) explorer.show(file);
  });
  after(node, "onRemoved", () => explorer.destroy());
}

app.registerExtension({
  name: "I2AM.Explorer",
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    addStyles();
    attach(node);
  },
});
