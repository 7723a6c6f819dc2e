/** How attention is split between references, text and the picture itself: a bar for each part; they add up to 100 %. */

import { chip, el, isRegion, place } from "./dom.js";

/** @returns {root, show}: show(shares, percents, query, picture) writes [{name, colour, share}] with their texts, or hides the card where there are none */
export function createShares() {
  const heading = el("h2", {});
  const list = el("ul", { class: "i2am-shares" });
  const note = el("p", { class: "i2am-small" }, "Direct attention: the text reads references too, and hands on what it read.");
  const root = el("section", { class: "i2am-card", "aria-label": "Shares of attention" }, heading, list, note);

  function row({ name, colour, share }, percent) {
    const bar = el("span", { class: "i2am-share-bar" });
    bar.style.setProperty("--share", `${100 * share}%`);
    if (colour) bar.style.setProperty("--part", colour);
    const head = el("span", { class: "i2am-share-head" }, chip(colour), el("span", {}, name), el("b", {}, percent));
    return el("li", {}, head, bar);
  }

  function show(shares, percents, query, picture) {
    root.hidden = !shares;
    if (!shares) return;
    const of = query ? `of ${isRegion(query) ? "patches" : "patch"} ${place(query, picture)}` : "of the whole picture";
    heading.textContent = `Attention ${of}`;
    list.replaceChildren(...shares.map((part, i) => row(part, percents[i])));
  }

  return { root, show };
}
