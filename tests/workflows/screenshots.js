// Runs the example workflows in a real browser; makes the pictures beside them and their API-format twins.
//
//   NODE_PATH=<folder with playwright-core> node tests/workflows/screenshots.js URL [NAME ...] [--vue] [--look FOLDER]
//
// URL is that of a running ComfyUI with this pack, such as http://127.0.0.1:8188; NAME a workflow such as 01_quick_start
// (none: all). Needs playwright-core and a chromium: $CHROMIUM, else the one in $PATH.
//
//   --vue          the Vue renderer ("Nodes 2.0") instead of the canvas
//   --draw         only loads and photographs, without a run: for 06, 14 to 16 and 23, whose weights are not ours to bring
//   --look FOLDER  pictures go there, nothing in the repository changes
//
// Each workflow is loaded, queued, waited for and photographed. Ends with status 1 if a node is missing, a run fails, a
// preview stays empty, nodes overlap, or the page reports an error.
"use strict";
const fs = require("fs");
const path = require("path");
const { execSync } = require("child_process");
const { chromium } = require("playwright-core");

const REPOSITORY = path.resolve(__dirname, "..", "..");
const WORKFLOWS = path.join(REPOSITORY, "workflows");
const FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--use-gl=swiftshader", "--enable-unsafe-swiftshader"];
const WIDTH = 2400; // pixels at most
const LARGEST = 400_000; // bytes
const MARGIN = 30; // around the graph, in its own units
const LONGEST = 1_200_000; // ms that one run may take

function options() {
  const given = process.argv.slice(2);
  const [vue, draw] = [given.includes("--vue"), given.includes("--draw")];
  const look = given.includes("--look") ? path.resolve(given.splice(given.indexOf("--look"), 2)[1]) : null;
  const [url, ...names] = given.filter((word) => word !== "--vue" && word !== "--draw");
  if (!url) throw new Error("give the URL of a running ComfyUI");
  const all = fs.readdirSync(WORKFLOWS).filter((file) => file.endsWith(".json")).map((file) => file.slice(0, -5)).sort();
  return { url: url.replace(/\/$/, ""), names: names.length ? names : all, vue, draw, look };
}

function browserPath() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  return execSync("command -v chromium || command -v chromium-browser || command -v google-chrome", { shell: "/bin/sh" })
    .toString()
    .trim();
}

async function open(browser, url, vue) {
  const settings = {
    "Comfy.TutorialCompleted": true,
    "Comfy.VueNodes.Enabled": vue,
    "Comfy.Workflow.Persist": false,
    "Comfy.Minimap.Visible": false,
    "Comfy.Graph.CanvasInfo": false,
  };
  const body = JSON.stringify(settings);
  await fetch(`${url}/settings`, { method: "POST", headers: { "content-type": "application/json" }, body });
  const page = await browser.newPage({ viewport: { width: 1600, height: 1000 } });
  const problems = [];
  page.on("pageerror", (error) => problems.push(`page error: ${error.message}`));
  page.on("console", (message) => {
    const text = `${message.text()} (${message.location().url})`;
    // user files that a fresh ComfyUI does not have yet; the models of ComfyUI's own first workflow
    const theirs = text.includes("Failed to load resource") || text.includes("missingModelMetadata");
    if (message.type() === "error" && !theirs) problems.push(`console error: ${text}`);
  });
  await page.goto(url);
  await page.waitForFunction(() => window.app?.graph && window.LiteGraph?.registered_node_types?.I2AM_Record, null, {
    timeout: 120_000,
  });
  await page.waitForTimeout(1500);
  await page.evaluate(() => window.app.extensionManager.command.execute("Workspace.ToggleFocusMode"));
  problems.splice(0, problems.length, ...problems.filter((problem) => /i2am/i.test(problem))); // the host's own, at its start
  return { page, problems };
}

/** Loads a workflow; returns its API-format twin, the ids of its output nodes, and what is missing. */
async function load(page, workflow) {
  await page.evaluate((data) => window.app.loadGraphData(data), workflow);
  await page.waitForTimeout(1500);
  return page.evaluate(async () => {
    const nodes = window.app.graph._nodes;
    const missing = nodes.filter((node) => !(node.type in window.LiteGraph.registered_node_types)).map((node) => node.type);
    const outputs = nodes.filter((node) => node.constructor.nodeData?.output_node).map((node) => String(node.id));
    return { missing, outputs, twin: (await window.app.graphToPrompt()).output };
  });
}

/** Lets the host forget its results, so that the seconds are those of a first run. */
async function forget(url) {
  const body = JSON.stringify({ unload_models: true, free_memory: true });
  await fetch(`${url}/free`, { method: "POST", headers: { "content-type": "application/json" }, body });
}

/** Queues what is loaded and waits for its end; returns the seconds, or what went wrong. */
async function run(page, outputs) {
  const result = await page.evaluate(async (longest) => {
    const { api } = window.app;
    const start = performance.now();
    const end = new Promise((resolve) => {
      const stop = (error) => resolve({ error, seconds: (performance.now() - start) / 1000 });
      api.addEventListener("execution_success", () => stop(null), { once: true });
      api.addEventListener("execution_error", (event) => stop(JSON.stringify(event.detail).slice(0, 2000)), { once: true });
      setTimeout(() => stop("took too long"), longest);
    });
    await window.app.queuePrompt(0);
    const refused = window.app.lastNodeErrors;
    if (refused && Object.keys(refused).length) return { error: JSON.stringify(refused).slice(0, 2000) };
    return end;
  }, LONGEST);
  if (result.error) return result;
  await page.waitForTimeout(4000); // pictures load, nodes take their final size
  const empty = await page.evaluate((ids) => ids.filter((id) => !window.app.nodeOutputs?.[id]?.images?.length), outputs);
  return { ...result, error: empty.length ? `no picture at node ${empty.join(", ")}` : null };
}

/** The rectangles of nodes and groups as drawn, in units of the graph. */
function rectangles(page) {
  return page.evaluate(() => {
    const { graph, canvas } = window.app;
    const vue = document.querySelector("[data-node-id]") !== null;
    const nodes = graph._nodes.map((node) => {
      const name = `${node.id} ${node.title}`;
      const drawn = vue && document.querySelector(`[data-node-id="${node.id}"]`);
      if (!drawn) {
        const [x, y, width, height] = node.getBounding();
        return { name, x, y, width, height };
      }
      const box = drawn.getBoundingClientRect();
      const { offset, scale } = canvas.ds;
      const home = canvas.canvas.getBoundingClientRect();
      const [x, y] = [(box.x - home.x) / scale - offset[0], (box.y - home.y) / scale - offset[1]];
      return { name, x, y, width: box.width / scale, height: box.height / scale };
    });
    const groups = graph._groups.map(({ title, pos, size }) => ({ name: title, x: pos[0], y: pos[1], width: size[0], height: size[1] }));
    return { vue, nodes, groups };
  });
}

function overlaps(boxes) {
  const found = [];
  boxes.forEach((a, i) =>
    boxes.slice(i + 1).forEach((b) => {
      const wide = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
      const high = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
      if (wide > 2 && high > 2) found.push(`${a.name} and ${b.name} overlap by ${Math.round(wide)} x ${Math.round(high)}`);
    }),
  );
  return found;
}

/** Shows all of the graph, at a size at which it can be read. */
async function fit(page, boxes) {
  const left = Math.min(...boxes.map((box) => box.x)) - MARGIN;
  const top = Math.min(...boxes.map((box) => box.y)) - MARGIN;
  const right = Math.max(...boxes.map((box) => box.x + box.width)) + MARGIN;
  const bottom = Math.max(...boxes.map((box) => box.y + box.height)) + MARGIN;
  const scale = Math.min(1, WIDTH / (right - left));
  const size = { width: Math.round((right - left) * scale), height: Math.round((bottom - top) * scale) };
  await page.setViewportSize(size);
  await page.waitForTimeout(500);
  await page.evaluate(
    (view) => {
      const { canvas } = window.app;
      canvas.deselectAll?.();
      canvas.ds.scale = view.scale;
      canvas.ds.offset[0] = -view.left;
      canvas.ds.offset[1] = -view.top;
      canvas.setDirty(true, true);
    },
    { left, top, scale },
  );
  await page.addStyleTag({ content: "button[aria-label='Show Menu'], .p-toast, .graph-canvas-panel > div:not(:has(canvas)) { display: none !important }" });
  await page.mouse.move(1, 1);
  await page.waitForTimeout(2000);
}

async function photograph(page, file) {
  for (let quality = 88; quality >= 40; quality -= 8) {
    await page.screenshot({ path: file, type: "jpeg", quality });
    if (fs.statSync(file).size <= LARGEST) return;
  }
  throw new Error(`${file} is too large`);
}

async function main() {
  const { url, names, vue, draw, look } = options();
  const browser = await chromium.launch({ executablePath: browserPath(), args: FLAGS });
  let bad = 0;
  if (look) fs.mkdirSync(look, { recursive: true });
  try {
    for (const name of names) {
      await forget(url);
      const { page, problems } = await open(browser, url, vue);
      const workflow = JSON.parse(fs.readFileSync(path.join(WORKFLOWS, `${name}.json`), "utf8"));
      const { missing, outputs, twin } = await load(page, workflow);
      if (missing.length) problems.push(`missing nodes: ${missing.join(", ")}`);
      const { error, seconds } = draw ? {} : await run(page, outputs);
      if (error) problems.push(`the run: ${error}`);
      const drawn = await rectangles(page);
      if (drawn.vue !== vue) problems.push(`the ${drawn.vue ? "Vue" : "canvas"} renderer was at work`);
      problems.push(...overlaps(drawn.nodes));
      await fit(page, [...drawn.nodes, ...drawn.groups]);
      await photograph(page, path.join(look || WORKFLOWS, `${name}.jpg`));
      if (!look) fs.writeFileSync(path.join(__dirname, `${name}.json`), `${JSON.stringify(twin, null, 2)}\n`);
      console.log(`${name}: ${vue ? "Vue" : "canvas"}, ${draw ? "not run" : `${seconds?.toFixed(1)} s`}, ${problems.length ? "PROBLEMS" : "fine"}`);
      problems.forEach((problem) => console.log(`  ${problem}`));
      bad += problems.length;
      await page.close();
    }
  } finally {
    await browser.close();
  }
  process.exitCode = bad ? 1 : 0;
}

main();
