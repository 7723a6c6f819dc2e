// Words in I²AM Explorer, in a real ComfyUI: workflow 22 with an Explorer, a patch pointed at, a word chosen.
//
//   NODE_PATH=<folder with playwright-core> node tests/browser/explorer_words.js URL [--vue] [--look FOLDER]
//
// Prints what it found as one line of JSON; tests/test_explorer_in_browser.py compares it. Ends with status 1 where a page
// reports an error.
"use strict";
const fs = require("fs");
const path = require("path");
const { STEPS, launch, load, open, options, run, shown, spot, viewer, zoom } = require("./host.js");

const POINT = [48, 60]; // a pixel of the generated picture
const LEFT_OUT = new Set(["CLIPLoader", "I2AM_WatchText", "CLIPTextEncode", "I2AM_Map", "I2AM_Overlay", "PreviewImage", "MarkdownNote"]);

/** The edit of workflow 22 in a few steps, its maps explored. */
function words() {
  const read = (...names) => JSON.parse(fs.readFileSync(path.join(__dirname, ...names), "utf8"));
  const workflow = read("..", "..", "workflows", "22_routes_and_words.json");
  workflow.nodes = workflow.nodes.filter((node) => !LEFT_OUT.has(node.type));
  const kept = new Set(workflow.nodes.map((node) => node.id));
  workflow.links = workflow.links.filter(([, from, , to]) => kept.has(from) && kept.has(to));
  const explorer = read("explorer.json").nodes.find((node) => node.type === "I2AM_Explorer");
  const of = (type) => workflow.nodes.find((node) => node.type === type);
  of("KSampler").widgets_values[2] = STEPS;
  explorer.id = 900;
  explorer.widgets_values[0] = "";
  for (const output of explorer.outputs) output.links = null;
  for (const input of explorer.inputs) input.link = null;
  const connect = (link, from, name, slot) => {
    const at = from.outputs.findIndex((output) => output.name === name);
    workflow.links.push([link, from.id, at, explorer.id, slot, from.outputs[at].type]);
    from.outputs[at].links = [...(from.outputs[at].links ?? []), link];
    explorer.inputs[slot].link = link;
  };
  connect(901, of("I2AM_Look"), "maps", 0);
  connect(902, of("VAEDecode"), "IMAGE", 1);
  for (const node of workflow.nodes) {
    for (const output of node.outputs ?? []) output.links = output.links?.filter((id) => workflow.links.some(([link]) => link === id)) ?? null;
  }
  workflow.nodes.push(explorer);
  workflow.groups = [];
  return workflow;
}

async function main() {
  const { url, vue, look } = options("look");
  const browser = await launch();
  try {
    const { page, problems } = await open(browser, url, vue);
    await load(page, words());
    await zoom(page, 1);
    await run(page);
    await viewer(page);
    await page.waitForTimeout(800);
    const seen = async () => ({
      ...(await shown(page)),
      ...(await page.evaluate(() => ({
        rows: [...document.querySelectorAll(".i2am-node .i2am-words li")].map((row) => row.textContent),
        pressed: document.querySelector(".i2am-node .i2am-word[aria-pressed=true]")?.dataset.side ?? "",
        level: document.querySelector(".i2am-node .i2am-generated .i2am-level").textContent,
      }))),
    });
    const found = { whole: await seen() };
    const [x, y] = await spot(page, "generated", POINT);
    await page.mouse.click(x, y);
    await page.waitForTimeout(300);
    found.patch = await seen();
    await page.evaluate(() => document.querySelector(".i2am-node .i2am-word").focus());
    await page.keyboard.press("Enter");
    await page.waitForTimeout(300);
    found.keyboard = await seen();
    await page.evaluate(() => document.querySelectorAll(".i2am-node .i2am-word")[1].scrollIntoView({ block: "center" }));
    const box = await page.locator(".i2am-node .i2am-word").nth(1).boundingBox();
    await page.mouse.click(box.x + box.width / 2, box.y + box.height / 2);
    await page.waitForTimeout(300);
    found.pointer = await seen();
    found.vue = await page.evaluate(() => document.querySelector("[data-node-id]") !== null);
    found.problems = problems;
    if (look) {
      fs.mkdirSync(look, { recursive: true });
      await page.screenshot({ path: path.join(look, `words${vue ? "-vue" : ""}.png`) });
    }
    console.log(JSON.stringify(found));
    if (problems.length) process.exitCode = 1;
  } finally {
    await browser.close();
  }
}

main();
