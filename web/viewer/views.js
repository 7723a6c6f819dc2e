/** How two runs are compared: side by side, by a wipe over their pictures, or as the second minus the first. */

import { slider } from "./controls.js";
import { el, percent } from "./dom.js";

/** The ways to compare, with their names. */
export const VIEWS = { both: "Side by side", wipe: "Wipe", difference: "Second − first" };
let count = 0;

/**
 * @param names what the first and the second run are called
 * @param set is given the part of the state that changes
 * @returns {root, sync}: sync(state) shows a state
 */
export function createViews(names, set) {
  const group = `i2am-view-${++count}`;
  const inputs = Object.keys(VIEWS).map((view) =>
    el("input", { type: "radio", name: group, value: view, id: `${group}-${view}`, onchange: () => set({ view }) }));
  const labels = inputs.map((input) => el("label", { for: input.id }, VIEWS[input.value]));
  const choices = inputs.flatMap((input, i) => el("span", { class: "i2am-check" }, input, labels[i]));
  const text = (cut) => `${percent(cut)} ${names[0]}, ${percent(1 - cut)} ${names[1]}`;
  const wipe = slider("Wipe: first on the left, second on the right", { min: 0, max: 1, step: 0.02 }, text, (cut) => set({ cut }));
  wipe.row.classList.add("i2am-wipe");
  const runs = el("p", { class: "i2am-small" }, `${names[0]} · ${names[1]}`);
  const root = el(
    "section",
    { class: "i2am-card i2am-controls i2am-views", "aria-label": "Compare two runs" },
    el("fieldset", {}, el("legend", {}, "Compare"), ...choices),
    runs,
    wipe.row,
  );

  function sync({ view, cut }) {
    inputs.forEach((input) => (input.checked = input.value === view));
    wipe.sync(cut);
    wipe.row.hidden = view !== "wipe";
  }

  return { root, sync };
}
