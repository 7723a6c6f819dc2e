// Scenes of I²AM Explorer in a real ComfyUI: what the scripts of scenes beside this one share, and what runs them.
"use strict";
const fs = require("fs");
const path = require("path");
const { demo, launch, load, open, options, run, spot, viewer, zoom } = require("./host.js");

const LETTER = [48, 60]; // a pixel of the demo's generated picture
const SLEEVE = [28, 60]; // of its reference

const given = options("file", "both", "look", "only");
const { url, vue, look, only } = given;

async function picture(page, name) {
  if (!look) return;
  fs.mkdirSync(look, { recursive: true });
  await page.screenshot({ path: path.join(look, `${name}${vue ? "-vue" : ""}.png`) });
}

let left = null; // what the run of the demo left, as a saved workflow has it

/** The demo try-on, run once, with the node in sight and these pins. */
async function start(page, given = "") {
  const workflow = demo();
  const node = workflow.nodes.find((one) => one.type === "I2AM_Explorer");
  if (left) node.properties.i2am_viewer = left;
  node.widgets_values[0] = given;
  await load(page, workflow);
  await zoom(page, 1);
  if (!left) await run(page);
  await viewer(page);
  left ??= await page.evaluate(() => window.app.graph._nodes.find((one) => one.type === "I2AM_Explorer").properties.i2am_viewer);
  await page.waitForTimeout(300);
}

async function point(page, picture_, at, which = 0) {
  const [x, y] = await spot(page, picture_, at, which);
  await page.mouse.move(x, y, { steps: 3 });
  await page.waitForTimeout(150);
  return [x, y];
}

async function click(page, picture_, at, which = 0) {
  const [x, y] = await point(page, picture_, at, which);
  await page.mouse.click(x, y);
  await page.waitForTimeout(250);
}

const viewers = (page) => page.evaluate(() => document.querySelectorAll(".i2am-node .i2am-viewer").length);

/** Leaves what has the focus, so that keys are the host's again. */
async function leave(page) {
  await page.evaluate(() => document.activeElement?.blur());
  await page.waitForTimeout(300);
}

/**
 * Runs scenes, each in the page of those before it, and prints one line of JSON: what each found, or its error.
 *
 * @param scenes {name: (page, problems) => what it found}
 * @param fingers the same for a page that is touched, in the light theme
 */
async function main(scenes, fingers = {}) {
  const browser = await launch();
  const found = {};
  const once = async (name, scene, page, problems) => {
    if (only && only !== name) return;
    const begin = Date.now();
    try {
      found[name] = { found: await scene(page, problems) };
    } catch (error) {
      found[name] = { error: error.stack };
      await picture(page, `error-${name}`);
    }
    found[name].problems = problems.splice(0);
    found[name].seconds = (Date.now() - begin) / 1000;
  };
  try {
    for (const [all, how] of [[scenes, {}], [fingers, { touch: true, palette: "light" }]]) {
      if (!Object.keys(all).some((name) => !only || only === name)) continue;
      const { page, problems } = await open(browser, url, vue, how);
      for (const [name, scene] of Object.entries(all)) await once(name, scene, page, problems);
      await page.context().close();
    }
    console.log(JSON.stringify(found));
  } finally {
    await browser.close();
  }
}

module.exports = { LETTER, SLEEVE, click, given, leave, main, picture, point, start, viewers };
