/** The line between pictures and settings: what the marked patch looked at, how sharply, and how far from the truth. */

import { el, isRegion, percent, place, times } from "./dom.js";
import { MARK_COLOURS } from "./marks.js";
import { statistics } from "./maths.js";

const HINT = "Point at a patch of either picture to see its map on the other, or drag over several. Click or tap to pin it; " +
  "Esc clears it, arrow keys move it.";

function figure(label, value, title) {
  return el("div", { class: "i2am-figure", title }, el("dd", {}, value), el("dt", {}, label));
}

const MARKS = {
  query: "what is marked",
  peak: "its peak on the other picture",
  truth: "its true place on the reference",
};

function legend(kinds) {
  const item = (kind) => {
    const icon = el("span", { class: `i2am-mark i2am-mark-${kind}`, "aria-hidden": "true" }, kind === "truth" ? "+" : "");
    icon.style.setProperty("--mark", MARK_COLOURS[kind]);
    return el("li", {}, icon, MARKS[kind]);
  };
  return el("ul", { class: "i2am-legend" }, ...kinds.map(item));
}

function distance(a, b) {
  return Math.max(Math.abs(a.row - b.row), Math.abs(a.column - b.column));
}

/** Where a second run's map is highest, or why it has none. */
function inSecond(map, picture) {
  if (!map) return [];
  if (map.missing) return [` In the second run: ${map.missing}`];
  const found = statistics(map);
  return [" In the second run: ", found.ratio > 0 ? el("b", { class: "i2am-peak" }, place(found, picture)) : "nowhere", "."];
}

/**
 * @param hasTruth whether true places are known and marked
 * @returns {root, show, destroy}; show({data, state, maps, found, truth, second}) writes one state of the viewer; `second` are
 *   the maps of a second run, or undefined
 */
export function createReadout(hasTruth) {
  const sentence = el("p", { class: "i2am-sentence" });
  const figures = el("dl", { class: "i2am-figures" });
  const marks = legend(hasTruth ? ["query", "peak", "truth"] : ["query", "peak"]);
  const live = el("p", { class: "i2am-hidden", role: "status", "aria-live": "polite" });
  const root = el("section", { class: "i2am-card i2am-readout", "aria-label": "The marked patch" }, sentence, figures, marks, live);
  let later = 0;

  function say(text) {
    clearTimeout(later);
    later = setTimeout(() => (live.textContent = text), 300);
  }

  function show({ data, state, maps, found, truth, second }) {
    const { query, pinned } = state;
    figures.replaceChildren();
    marks.hidden = Boolean(query);
    root.classList.toggle("i2am-pinned", pinned);
    if (!query) {
      const unavailable = !data.pairwise.some((entry) => entry.reference === state.reference);
      const reason = data.references[state.reference].unavailable?.SRAM ?? "No patch maps were kept.";
      sentence.replaceChildren(unavailable ? reason : HINT);
      marks.hidden = unavailable;
      say("");
      return;
    }
    const other = query.picture === "generated" ? "reference" : "generated";
    const pictureOf = (name) => (name === "generated" ? data.generated : data.references[state.reference]);
    const [here, there] = [pictureOf(query.picture), pictureOf(other)];
    const map = maps[other];
    if (!found) {
      sentence.replaceChildren(map.missing, ...inSecond(second?.[other], there));
      say(sentence.textContent);
      return;
    }
    const several = isRegion(query);
    if (!(found.ratio > 0)) {
      const [what, does] = query.picture === "generated"
        ? ["Generated", several ? "look at no place of the reference" : "looks at no place of the reference"]
        : ["Reference", several ? "are looked at by no generated patch" : "is looked at by no generated patch"];
      sentence.replaceChildren(`${what} ${several ? "patches" : "patch"} `, el("b", { class: "i2am-query" }, place(query, here)), ` ${does}.`);
      say(sentence.textContent);
      return;
    }
    const text = query.picture === "generated"
      ? [`Generated ${several ? "patches" : "patch"} `, ` ${several ? "look" : "looks"} most at reference patch `]
      : [`Reference ${several ? "patches" : "patch"} `, ` ${several ? "are" : "is"} looked at most by generated patch `];
    const which = data.references.length > 1 && query.picture === "generated" ? ` of ${data.references[state.reference].name}` : "";
    const diffuse = found.ratio < data.diffuse;
    sentence.replaceChildren(
      text[0], el("b", { class: "i2am-query" }, place(query, here)), text[1], el("b", { class: "i2am-peak" }, place(found, there)), `${which}.`, ...inSecond(second?.[other], there),
      diffuse ? el("span", { class: "i2am-tag", title: `peak below ${data.diffuse}× uniform` }, "diffuse") : "",
      pinned ? el("span", { class: "i2am-tag i2am-quiet" }, "pinned") : "",
    );
    figures.append(
      figure("peak, of uniform", times(found.ratio), "The highest patch, as a multiple of a uniform map"),
      figure(`entropy, of ${found.most.toFixed(1)} nats`, found.entropy.toFixed(2), "0: a single patch; at most: spread evenly"),
    );
    if (other === "reference" && data.references[state.reference].leading) {
      const title = "Share of its attention that goes to tokens without a place in the reference picture";
      figures.append(figure("on tokens without a place", percent(map.unplaced), title));
    }
    if (truth) {
      const far = distance(truth, found);
      const title = "The larger of the distances in rows and in columns; + marks the true place";
      figures.append(figure("patches from the true place", far.toFixed(1), title));
    }
    const taken = data.layers.filter((layer) => layer.default).length;
    if (state.layer < 0 && map.layers[0] >= 0 && map.layers.length < taken) {
      figures.append(figure(`of ${taken} layers have patch maps`, map.layers.length));
    }
    say(`${sentence.textContent} Peak ${times(found.ratio)} uniform, entropy ${found.entropy.toFixed(1)} nats.`);
  }

  return { root, show, destroy: () => clearTimeout(later) };
}
