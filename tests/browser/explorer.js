// Uses I²AM Explorer in a real ComfyUI, in a headless Chromium, as a person would.
//
//   NODE_PATH=<folder with playwright-core> node tests/browser/explorer.js URL [--vue] [--look FOLDER]
//
// URL is that of a running ComfyUI with this pack. --vue takes the Vue renderer ("Nodes 2.0"), --look keeps pictures. Runs
// the workflow beside this file in a few steps, clicks at known pixels at several zooms, and prints what it found as one line of JSON;
// tests/test_explorer_in_browser.py compares it. Ends with status 1 where a page reports an error.
"use strict";
const fs = require("fs");
const path = require("path");
const { demo, launch, load, open, options, pins, run, setPins, shown, spot, viewer, zoom } = require("./host.js");

const POINTS = [[20, 100], [70, 40], [48, 60]]; // pixels of the generated picture, one for each zoom
const ZOOMS = [0.5, 1, 2];

async function main() {
  const { url, vue, look } = options("look");
  const picture = async (page, name) => {
    if (look) await page.screenshot({ path: path.join(look, `${name}${vue ? "-vue" : ""}.png`) });
  };
  if (look) fs.mkdirSync(look, { recursive: true });
  const browser = await launch();
  const found = { clicks: [] };
  try {
    const { page, problems } = await open(browser, url, vue);
    await load(page, demo());
    await zoom(page, 1);
    found.before = await page.evaluate(() => document.querySelector(".i2am-node .i2am-message")?.textContent);
    await picture(page, "before");
    await run(page);
    await viewer(page);
    await page.waitForTimeout(1500);
    found.vue = await page.evaluate(() => document.querySelector("[data-node-id]") !== null);
    found.hidden = await page.evaluate(() => ![...document.querySelectorAll("input, textarea")].some((one) => one.value.startsWith("[{")));
    found.table = await page.evaluate(() => Object.values(window.app.nodeOutputs).find((one) => one.text?.[0]?.startsWith("pin"))?.text.join(""));
    found.start = await pins(page);
    await picture(page, "after");
    await setPins(page, "");
    for (const [i, scale] of ZOOMS.entries()) {
      await zoom(page, scale);
      const [x, y] = await spot(page, "generated", POINTS[i]);
      await page.mouse.move(x, y, { steps: 3 });
      await page.waitForTimeout(150);
      const hovered = await shown(page);
      await page.mouse.click(x, y);
      await page.waitForTimeout(300);
      found.clicks.push({ scale, at: POINTS[i], hovered, ...(await shown(page)), pins: await pins(page) });
      if (scale > 0.5) await picture(page, `zoom-${scale}`);
      await page.keyboard.press("Escape");
    }
    await zoom(page, 1);
    const [from, to] = [await spot(page, "reference", [30, 40]), await spot(page, "reference", [60, 70])];
    await page.mouse.move(...from);
    await page.mouse.down();
    await page.mouse.move(...to, { steps: 6 });
    await page.mouse.up();
    await page.waitForTimeout(300);
    found.dragged = { ...(await shown(page)), pins: await pins(page) };
    await picture(page, "dragged");
    await page.keyboard.press("Delete");
    found.removed = (await pins(page)).length;
    await page.evaluate(() => document.activeElement?.blur());
    await page.waitForTimeout(400);
    await page.keyboard.press("Control+z");
    await page.waitForTimeout(1500);
    found.undone = (await pins(page)).length;
    await picture(page, "undone");
    await viewer(page);
    const saved = await page.evaluate(() => window.app.graph.serialize());
    await page.evaluate(() => window.app.graph.clear());
    await load(page, saved);
    await viewer(page);
    found.reloaded = (await pins(page)).length;
    await page.click(".i2am-node .i2am-enlarge");
    await page.waitForTimeout(800);
    await picture(page, "dialog");
    found.dialog = await page.evaluate(() => document.querySelector("dialog.i2am-dialog canvas")?.getBoundingClientRect().height ?? 0);
    await page.keyboard.press("Escape");
    await page.waitForTimeout(400);
    found.closed = await page.evaluate(() => !document.querySelector("dialog.i2am-dialog") && Boolean(document.querySelector(".i2am-holder .i2am-viewer")));
    found.problems = problems;
    console.log(JSON.stringify(found));
    if (problems.length) process.exitCode = 1;
  } finally {
    await browser.close();
  }
}

main();
