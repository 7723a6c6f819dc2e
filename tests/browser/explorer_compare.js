// Compares two runs in I²AM Explorer, in a real ComfyUI in a headless Chromium: workflow 18.
//
//   NODE_PATH=<folder with playwright-core> node tests/browser/explorer_compare.js URL [--vue] [--look FOLDER] [--only NAME]
//
// Saves the maps of both runs in the host's output folder as I2AM/first and I2AM/second, and prints one line of JSON: what each
// scene found, or its error. tests/test_explorer_compare.py compares it with the library.
"use strict";
const fs = require("fs");
const path = require("path");
const { STEPS, attach, load, pins, run, setPins, shown, spot, viewer, zoom } = require("./host.js");
const { main, picture } = require("./scenes.js");

const COMPARE = path.resolve(__dirname, "..", "..", "workflows", "18_compare.json");
const LETTER = [46, 70]; // a pixel of the generated picture
const GARMENT = [30, 54]; // of the second reference
const PATCH = 8; // pixels of a patch of it
const ZOOM = 0.7; // at which both runs are in sight
const HALF = 12; // steps of the slider's keys from the middle

/** Workflow 18 in a few steps, with nodes that keep its maps and show its table. */
function workflow() {
  const out = JSON.parse(fs.readFileSync(COMPARE, "utf8"));
  for (const node of out.nodes) if (node.type === "KSampler") node.widgets_values[2] = STEPS;
  const collects = out.nodes.filter((node) => node.type === "I2AM_Collect");
  ["first", "second"].forEach((name, i) => attach(out, collects[i], "maps", "I2AM_SaveMaps", "maps", "I2AM_MAPS", [`I2AM/${name}`]));
  return attach(out, out.nodes.find((node) => node.type === "I2AM_Explorer"), "table", "PreviewAny", "source", "*");
}

/** What is to be seen of the pictures: where they lie, and the colour at a place of each, as parts of its width and height. */
function seen(page, [u, v]) {
  return page.evaluate(([x, y]) => {
    const canvases = [...document.querySelectorAll(".i2am-node canvas")].filter((one) => one.checkVisibility());
    return canvases.map((canvas) => {
      const box = canvas.getBoundingClientRect();
      const at = [x * canvas.width, y * canvas.height].map(Math.floor);
      const { data } = canvas.getContext("2d").getImageData(...at, 1, 1);
      return { top: box.top, label: canvas.getAttribute("aria-label"), colour: [...data.slice(0, 3)] };
    });
  }, [u, v]);
}

const texts = (page, selector) => page.evaluate((which) =>
  [...document.querySelectorAll(`.i2am-node ${which}`)].filter((one) => one.checkVisibility()).map((one) => one.textContent), selector);

async function move(page, name, at, which) {
  const [x, y] = await spot(page, name, at, which);
  await page.mouse.move(x, y, { steps: 3 });
  await page.waitForTimeout(250);
  return [x, y];
}

/** Runs it once; the pointer of one run is that of the other. */
async function linked(page) {
  await load(page, workflow());
  await zoom(page, ZOOM);
  await run(page);
  await viewer(page);
  await page.waitForTimeout(1500);
  const out = { kept: await pins(page) };
  out.table = await page.evaluate(() => Object.values(window.app.nodeOutputs).find((one) => one.text?.[0]?.startsWith("pin"))?.text.join(""));
  await picture(page, "compare-rest");
  await setPins(page, "");
  const [width, height] = [96, 128]; // of the demo's pictures
  const [column, row] = LETTER.map((at) => Math.floor(at / PATCH));
  const edge = [((column + 0.5) * PATCH) / width, (row * PATCH) / height]; // the middle of the patch's upper edge
  out.runs = await texts(page, ".i2am-run > h2");
  out.before = await seen(page, edge);
  out.pointed = [];
  for (const run_ of [0, 1]) {
    await move(page, "generated", LETTER, run_);
    out.pointed.push({ ...(await shown(page)), pictures: await seen(page, edge), scales: await texts(page, ".i2am-scale") });
  }
  await picture(page, "compare-pointed");
  await move(page, "reference", GARMENT, 3); // the second reference of the second run
  out.mirror = { ...(await shown(page)), pictures: await seen(page, edge), notes: await texts(page, ".i2am-generated figcaption .i2am-small") };
  const at = await move(page, "generated", LETTER, 1);
  await page.mouse.click(...at);
  await page.waitForTimeout(250);
  out.pinned = { ...(await shown(page)), pins: await pins(page) };
  out.rows = await texts(page, ".i2am-both tbody tr");
  return out;
}

/** Chooses the wipe and moves it by keys alone. */
async function wiped(page) {
  await page.keyboard.press("Escape");
  await page.mouse.move(5, 5);
  await page.focus(".i2am-views input[value=both]");
  await page.keyboard.press("ArrowRight");
  await page.waitForTimeout(200);
  const out = { chosen: (await shown(page)).view, cuts: [], labels: [] };
  await page.keyboard.press("Tab");
  out.focus = await page.evaluate(() => ({ label: document.activeElement.labels?.[0]?.textContent, type: document.activeElement.type }));
  const press = async (key, times) => {
    for (let i = 0; i < times; i++) await page.keyboard.press(key);
    await page.waitForTimeout(200);
    out.cuts.push((await shown(page)).cut);
    out.labels.push(await page.evaluate(() => document.activeElement.getAttribute("aria-valuetext")));
    return (await seen(page, [0.31, 0.55]))[0].colour;
  };
  out.half = await press("ArrowRight", 1);
  out.less = await press("ArrowLeft", HALF);
  await picture(page, "compare-wipe");
  out.none = await press("Home", 1);
  out.all = await press("End", 1);
  return out;
}

/** The second minus the first, of the whole picture and of a place; kept with the workflow. */
async function difference(page) {
  await page.focus(".i2am-views input[value=wipe]");
  await page.keyboard.press("ArrowRight");
  await page.waitForTimeout(200);
  const out = { whole: await shown(page), pictures: (await seen(page, [0.5, 0.5])).length };
  await move(page, "generated", LETTER, 0);
  out.pointed = { ...(await shown(page)), notes: await texts(page, "figcaption .i2am-small"), scales: await texts(page, ".i2am-scale") };
  await picture(page, "compare-difference");
  await page.mouse.move(5, 5);
  const saved = await page.evaluate(() => window.app.graph.serialize());
  await page.evaluate(() => window.app.graph.clear());
  await load(page, saved);
  await viewer(page);
  await page.waitForTimeout(1000);
  out.again = await shown(page);
  return out;
}

main({ linked, wiped, difference });
