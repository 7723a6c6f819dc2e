// A headless Chromium at a running ComfyUI, and I²AM Explorer in it: what the scripts beside this one share.
"use strict";
const { execSync } = require("child_process");
const fs = require("fs");
const path = require("path");
const { chromium } = require("playwright-core");

const FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--use-gl=swiftshader", "--enable-unsafe-swiftshader"];
const STEPS = 3;
const LONGEST = 240_000; // ms for a start of the page, and for a run
const THEIRS = /Failed to load resource|missingModelMetadata/; // user files that a fresh ComfyUI does not have yet

function browserPath() {
  const find = "command -v chromium || command -v chromium-browser || command -v google-chrome";
  return process.env.CHROMIUM || execSync(find, { shell: "/bin/sh" }).toString().trim();
}

function launch() {
  return chromium.launch({ executablePath: browserPath(), args: [...FLAGS, "--enable-precise-memory-info"] });
}

/** The words and options of the command line: {url, vue, and what `named` names, each with the word behind it}. */
function options(...named) {
  const given = process.argv.slice(2);
  const out = { vue: given.includes("--vue") };
  for (const name of named) {
    const at = given.indexOf(`--${name}`);
    out[name] = at < 0 ? null : given.splice(at, 2)[1];
  }
  out.url = given.find((word) => !word.startsWith("--")).replace(/\/$/, "");
  return out;
}

async function settle(url, settings) {
  await fetch(`${url}/settings`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(settings) });
}

/** Waits until the page of the host is ready for graphs. */
async function ready(page) {
  await page.waitForFunction(() => window.app?.graph && window.LiteGraph?.registered_node_types?.I2AM_Explorer, null, { timeout: LONGEST });
  await page.waitForTimeout(1500);
  await page.evaluate(() => window.app.extensionManager.command.execute("Workspace.ToggleFocusMode"));
}

/** The demo try-on with Explorer, in a few steps, with a node that shows its table and with one that saves the maps. */
function demo() {
  const workflow = JSON.parse(fs.readFileSync(path.join(__dirname, "explorer.json"), "utf8"));
  const of = (type) => workflow.nodes.find((node) => node.type === type);
  of("KSampler").widgets_values[2] = STEPS;
  attach(workflow, of("I2AM_Explorer"), "table", "PreviewAny", "source", "*");
  attach(workflow, of("I2AM_Collect"), "maps", "I2AM_SaveMaps", "maps", "I2AM_MAPS", ["I2AM/browser"]);
  return workflow;
}

/** Adds a node behind an output of another one. */
function attach(workflow, from, output, type, input, kind, values = []) {
  const id = Math.max(...workflow.nodes.map((node) => node.id), ...workflow.links.map(([link]) => link)) + 1;
  const slot = from.outputs.findIndex(({ name }) => name === output);
  workflow.links.push([id, from.id, slot, id, 0, from.outputs[slot].type]);
  from.outputs[slot].links = [...(from.outputs[slot].links ?? []), id];
  workflow.nodes.push({
    id, type, pos: [2600, 300 * id], size: [420, 160], flags: {}, order: 99, mode: 0,
    inputs: [{ name: input, type: kind, link: id }], outputs: [], properties: {}, widgets_values: values,
  });
  return workflow;
}

/** A page of the host: {page, problems}; `problems` is what it reports from now on. */
async function open(browser, url, vue, { touch = false, palette = "dark" } = {}) {
  await settle(url, {
    "Comfy.TutorialCompleted": true, "Comfy.VueNodes.Enabled": vue, "Comfy.Workflow.Persist": false, "Comfy.Minimap.Visible": false,
    "Comfy.ColorPalette": palette,
  });
  const context = await browser.newContext({ viewport: { width: 1700, height: 1300 }, hasTouch: touch });
  const page = await context.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("console", (message) => {
    const text = `${message.text()} (${message.location().url})`;
    if (message.type() === "error" && (/i2am/i.test(text) || !THEIRS.test(text))) problems.push(text);
  });
  await page.goto(url);
  await ready(page);
  problems.length = 0; // the host's own, at its start
  return { page, problems };
}

async function load(page, workflow) {
  await page.evaluate((data) => window.app.loadGraphData(data), workflow);
  await page.waitForTimeout(1000);
}

async function run(page) {
  const error = await page.evaluate(async (longest) => {
    const end = new Promise((resolve) => {
      const { api } = window.app;
      api.addEventListener("execution_success", () => resolve(null), { once: true });
      api.addEventListener("execution_error", (event) => resolve(JSON.stringify(event.detail).slice(0, 1500)), { once: true });
      setTimeout(() => resolve("took too long"), longest);
    });
    await window.app.queuePrompt(0);
    const refused = window.app.lastNodeErrors;
    if (refused && Object.keys(refused).length) return JSON.stringify(refused).slice(0, 1500);
    return end;
  }, LONGEST);
  if (error) throw new Error(error);
}

/** Waits for the viewer of the node that is seen. */
function viewer(page) {
  return page.waitForSelector(".i2am-node .i2am-viewer", { timeout: 30_000 });
}

/** Moves the view so that the node's pictures are on the screen at a zoom. */
async function zoom(page, scale) {
  await page.evaluate((to) => {
    const { canvas } = window.app;
    const node = canvas.graph._nodes.find((one) => one.type === "I2AM_Explorer");
    canvas.ds.scale = to;
    canvas.ds.offset[0] = 40 / to - node.pos[0];
    canvas.ds.offset[1] = 120 / to - node.pos[1] - (to > 1 ? 180 : 0);
    canvas.setDirty(true, true);
  }, scale);
  await page.waitForTimeout(600);
}

/** What the viewer says of itself to tests. */
const shown = (page) => page.evaluate(() => ({ ...document.querySelector(".i2am-node .i2am-viewer").dataset }));

/** The pins of the first Explorer of the graph that is shown, as its widget holds them. */
async function pins(page) {
  const text = await page.evaluate(() => {
    const node = window.app.canvas.graph._nodes.find((one) => one.type === "I2AM_Explorer");
    return node.widgets.find((one) => one.name === "pins").value;
  });
  return JSON.parse(text || "[]");
}

/** Gives that widget a text, as a person with another interface would. */
function setPins(page, text) {
  return page.evaluate((value) => {
    const node = window.app.canvas.graph._nodes.find((one) => one.type === "I2AM_Explorer");
    const widget = node.widgets.find((one) => one.name === "pins");
    widget.value = value;
    widget.callback?.(value);
  }, text);
}

/** Where the middle of a pixel of a picture is on the screen; `which` counts pictures of that name. */
function spot(page, name, [x, y], which = 0) {
  return page.evaluate(([kind, px, py, at]) => {
    const canvas = document.querySelectorAll(`.i2am-node .i2am-${kind} canvas`)[at];
    const box = canvas.getBoundingClientRect();
    const [width, height] = canvas.style.aspectRatio.split("/").map(Number);
    return [box.left + ((px + 0.5) / width) * box.width, box.top + ((py + 0.5) / height) * box.height];
  }, [name, x, y, which]);
}

module.exports = { STEPS, attach, demo, launch, load, open, options, pins, ready, run, setPins, settle, shown, spot, viewer, zoom };
