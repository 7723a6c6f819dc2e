/** What of the prompt was read: its words with their shares of attention, each a button that shows where it was read. */

import { el, isRegion, percent, place } from "./dom.js";

const MOST = 6;
const REST = "rest of the text";

/**
 * @param run what the run is called beside another; empty: there is one
 * @param choose called with the side of the word to show, or null to show none
 * @returns {root, show}: show(words, side, query, picture) writes the most read of [{side, name, apart, share}], or hides the
 *   card where there are none
 */
export function createWords(run, choose) {
  const heading = el("h2", {});
  const list = el("ul", { class: "i2am-shares i2am-words" });
  const note = el("p", { class: "i2am-small" }, "Shares of all attention. Press a word to see where it was read; the menu has all of them.");
  const root = el("section", { class: "i2am-card", "aria-label": "Words of the prompt" }, heading, list, note);

  function bar(share) {
    const out = el("span", { class: "i2am-share-bar" });
    out.style.setProperty("--share", `${100 * share}%`);
    return out;
  }

  function row({ side, name, share }, chosen) {
    const pressed = side === chosen;
    const press = () => choose(pressed ? null : side);
    const attributes = { type: "button", class: "i2am-word", "data-side": side, "aria-pressed": String(pressed), onclick: press };
    return el("li", {}, el("button", attributes, el("span", {}, name), el("b", {}, percent(share))), bar(share));
  }

  function show(words, chosen, query, picture) {
    root.hidden = !words;
    if (!words) return;
    const of = query ? `by ${isRegion(query) ? "patches" : "patch"} ${place(query, picture)}` : "by the whole picture";
    heading.textContent = `Words read ${of}${run ? `, ${run} run` : ""}`;
    const most = words.filter((word) => !word.apart).sort((a, b) => b.share - a.share).slice(0, MOST);
    const rest = words.filter((word) => !most.includes(word)).reduce((total, word) => total + word.share, 0);
    const last = el("span", { class: "i2am-share-head" }, el("span", {}, REST), el("b", {}, percent(rest)));
    const focused = document.activeElement?.dataset?.side;
    const had = focused && list.contains(document.activeElement);
    const rows = most.map((word) => row(word, chosen));
    list.replaceChildren(...rows, ...(most.length < words.length ? [el("li", {}, last, bar(rest))] : []));
    if (had) rows.find((one) => one.firstChild.dataset.side === focused)?.firstChild.focus();
  }

  return { root, show };
}
