/**
 * "Open report" on I²AM Report: opens the page that the node wrote, in a tab of its own.
 *
 * ComfyUI hands out pages as downloads only, so that no script of theirs acts in its name. Nothing of the file is run here
 * either: its data and its styles are taken out of it, and the pack's own viewer draws them.
 */

import { app } from "../../scripts/app.js";

const NODE = "I2AM_Report";
const HELD = "application/octet-stream;base64"; // the viewer's file in a page: of a type that no browser runs
const KEPT = "i2am_report"; // what the node's output, and then its properties, name the page by

function link(page) {
  return app.api.apiURL(`/view?${new URLSearchParams({ ...page, t: Date.now() })}`);
}

async function fetched(page) {
  const answer = await fetch(link(page));
  if (!answer.ok) throw new Error(`${page.filename} is not in the output folder any more: run the graph again.`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

function text(tag, content) {
  const element = document.createElement(tag);
  element.textContent = content;
  return element;
}

/** The answer in words, as text alone: its sentences, and folded the rules behind them. */
function answerOf(page) {
  const found = page.querySelector("section.i2am-answer");
  if (!found) return [];
  const list = (from) => {
    const out = document.createElement("ul");
    out.append(...[...from.querySelectorAll(":scope > ul > li")].map((line) => text("li", line.textContent)));
    return out;
  };
  const out = Object.assign(document.createElement("section"), { className: "i2am-answer" });
  out.append(list(found));
  for (const folded of found.querySelectorAll(":scope > details")) {
    const details = document.createElement("details");
    details.append(text("summary", folded.querySelector("summary")?.textContent ?? ""), list(folded));
    out.append(details);
  }
  return [out];
}

/** Puts what a report's page holds into an empty document, as text and data alone. */
export function rebuild(into, page) {
  const data = page.querySelector("script#data");
  if (!data) throw new Error("this file is no report of this pack.");
  into.title = page.title;
  const meta = into.createElement("meta");
  Object.assign(meta, { name: "color-scheme", content: "light dark" });
  into.head.append(meta, ...[...page.querySelectorAll("style")].map((style) => text("style", style.textContent)));
  const header = into.createElement("header");
  header.append(...[...page.querySelectorAll("header > h1, header > p")].map((line) => text(line.localName, line.textContent)));
  const main = Object.assign(into.createElement("main"), { id: "viewer" });
  const file = Object.assign(text("script", data.textContent), { id: "data", type: HELD });
  into.body.className = "i2am-page";
  into.body.replaceChildren(header, ...answerOf(page), main, file);
  const start = `import { startPage } from ${JSON.stringify(new URL("./viewer/page.js", import.meta.url))};
    startPage(document.getElementById("viewer"), document.getElementById("data"));`;
  into.body.append(Object.assign(text("script", start), { type: "module" }));
}

async function open(page) {
  const tab = page && window.open("", "_blank"); // at once, in the click, else a browser takes it for an advertisement
  try {
    if (!page) throw new Error("there is no page yet: run the graph first.");
    if (!tab) throw new Error("the browser did not let a tab open: allow pop-ups of this page.");
    tab.document.body.textContent = "The report is being read …";
    rebuild(tab.document, await fetched(page));
  } catch (error) {
    tab?.close();
    const message = { severity: "warn", summary: "I²AM Report", detail: error.message, life: 8000 };
    app.extensionManager.toast.add(message);
  }
}

app.registerExtension({
  name: "I2AM.Report",
  beforeRegisterNodeDef(type, { name }) {
    if (name !== NODE) return;
    const { onNodeCreated, onExecuted } = type.prototype;
    type.prototype.onExecuted = function (output, ...rest) {
      onExecuted?.call(this, output, ...rest);
      const [page] = output[KEPT] ?? [];
      if (page) this.properties[KEPT] = page;
    };
    type.prototype.onNodeCreated = function (...given) {
      const result = onNodeCreated?.apply(this, given);
      const button = this.addWidget("button", "Open report", null, () => open(this.properties[KEPT]), { serialize: false });
      button.serialize = false; // saved workflows keep the widgets that they had
      return result;
    };
  },
});
