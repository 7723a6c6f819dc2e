/** One picture with its heading and caption. */

import { chip, el } from "./dom.js";

/** The elements of a picture: {root, canvas, heading, …}; `tell` writes its texts. */
export function createPanel(name, title) {
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

/**
 * Writes what a panel says.
 *
 * @param parts what `createPanel` made
 * @param told {heading: [nodes or text], label, still, level, note, scale: null or {low, high, title, gradient, cut}, legend:
 *   [{name, colour}]}; `still`: its patches cannot be looked up; `cut`: null, or the share of the scale that is hidden
 */
export function tell(parts, { heading, label, still, level, note, scale, legend }) {
  parts.heading.replaceChildren(...heading);
  parts.canvas.classList.toggle("i2am-still", still);
  parts.canvas.setAttribute("aria-label", label);
  parts.level.textContent = level;
  parts.note.textContent = note;
  parts.legend.replaceChildren(...legend.map((one) => el("li", {}, chip(one.colour), one.name)));
  parts.scale.classList.toggle("i2am-gone", !scale);
  if (!scale) return;
  parts.low.textContent = scale.low;
  parts.high.textContent = scale.high;
  parts.scale.title = scale.title;
  parts.bar.style.setProperty("--i2am-own", scale.gradient);
  parts.bar.toggleAttribute("data-cut", scale.cut !== null);
  parts.bar.style.setProperty("--cut", `${100 * (scale.cut ?? 0)}%`);
}
