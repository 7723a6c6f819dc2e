// What a person does with I²AM Explorer beyond tests/browser/explorer.js, in a real ComfyUI in a headless Chromium.
//
//   NODE_PATH=<folder with playwright-core> node tests/browser/explorer_person.js URL [--vue] [--look FOLDER] [--only NAME]
//
// Prints one line of JSON: what each scene found, or its error. tests/test_explorer_whole.py compares it.
"use strict";
const fs = require("fs");
const path = require("path");
const { STEPS, attach, demo, load, pins, ready, run, setPins, shown, spot, viewer, zoom } = require("./host.js");
const { LETTER, SLEEVE, click, given, leave, main, picture, point, start, viewers } = require("./scenes.js");

const TWO = path.resolve(__dirname, "..", "..", "workflows", "17_explorer.json");
const SIZES = [[560, 900], [1000, 1150]]; // of the node, in units of the graph
const { vue } = given;

/** The colour at the middle of every patch of a picture, with the heat as opaque as it gets and without it. */
function colours(page, name, opacity) {
  return page.evaluate(async ([which, value]) => {
    const slider = [...document.querySelectorAll(".i2am-slider input")].find((one) => one.labels[0].textContent === "Opacity");
    slider.value = value;
    slider.dispatchEvent(new Event("input"));
    await new Promise((done) => setTimeout(done, 200));
    const canvas = document.querySelector(`.i2am-${which} canvas`);
    const [, rows, columns] = canvas.getAttribute("aria-label").match(/(\d+) by (\d+) patches/).map(Number);
    const context = canvas.getContext("2d");
    return Array.from({ length: rows }, (_, row) => Array.from({ length: columns }, (__, column) => {
      const at = [((column + 0.5) / columns) * canvas.width, ((row + 0.5) / rows) * canvas.height];
      return [...context.getImageData(Math.floor(at[0]), Math.floor(at[1]), 1, 1).data.subarray(0, 3)];
    }));
  }, [name, opacity]);
}

/** What a patch of each picture draws on the other one. */
async function drawn(page) {
  const out = {};
  for (const [from, to, at] of [["generated", "reference", LETTER], ["reference", "generated", SLEEVE]]) {
    await start(page);
    await click(page, from, at);
    await page.mouse.move(5, 5);
    await page.evaluate(() => {
      const smooth = [...document.querySelectorAll(".i2am-check input")].find((one) => one.labels[0].textContent === "Smooth");
      if (smooth.checked) smooth.click();
    });
    out[to] = { ...(await shown(page)), heat: await colours(page, to, 1), base: await colours(page, to, 0) };
  }
  return out;
}

/** Gives the node a size; in Vue by its corner, as a person does, for some hosts follow nothing else. */
async function resize(page, [width, height]) {
  if (!vue) {
    await page.evaluate((to) => window.app.graph._nodes.find((one) => one.type === "I2AM_Explorer").setSize(to), [width, height]);
    return page.evaluate(() => window.app.graph.setDirtyCanvas(true, true));
  }
  const box = await page.evaluate(() => {
    const { left, top, right, bottom } = document.querySelector(".i2am-holder").closest("[data-node-id]").getBoundingClientRect();
    return { left, top, right, bottom };
  });
  await page.mouse.move(box.right - 3, box.bottom - 3);
  await page.mouse.down();
  await page.mouse.move(box.left + width, box.top + height, { steps: 8 });
  return page.mouse.up();
}

/** Clicks on one pixel at several sizes of the node. */
async function resized(page) {
  await start(page);
  const out = [];
  for (const size of SIZES) {
    await resize(page, size);
    await page.waitForTimeout(1200);
    await setPins(page, "");
    await click(page, "generated", LETTER);
    const width = await page.evaluate(() => document.querySelector(".i2am-generated canvas").getBoundingClientRect().width);
    out.push({ size, width, ...(await shown(page)) });
    await page.keyboard.press("Escape");
  }
  return out;
}

/** Never touches the mouse. */
async function keyboard(page) {
  await start(page);
  await page.mouse.move(5, 5);
  await page.focus(".i2am-node .i2am-enlarge");
  await page.keyboard.press("Tab");
  const focus = await page.evaluate(() => {
    const style = getComputedStyle(document.activeElement);
    return { on: document.activeElement.closest("figure")?.className, outline: `${style.outlineStyle} ${style.outlineWidth}` };
  });
  const step = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
    await page.waitForTimeout(150);
    return { ...(await shown(page)), pins: await pins(page) };
  };
  const out = { focus };
  out.first = await step("ArrowRight");
  out.moved = await step("ArrowRight", "ArrowDown", "ArrowDown");
  out.pinned = await step("Enter");
  out.grown = await step("Shift+ArrowRight", "Shift+ArrowDown");
  out.region = await step("Enter");
  out.cleared = await step("Escape");
  const nodes = await page.evaluate(() => window.app.graph._nodes.length);
  await page.evaluate(() => window.app.canvas.selectNode(window.app.graph._nodes.find((one) => one.type === "I2AM_Explorer")));
  out.nothing = await step("Delete"); // no pin is chosen, and the node must stay
  out.nodes = [nodes, await page.evaluate(() => window.app.graph._nodes.length)];
  await page.keyboard.press("Tab"); // to the reference
  out.second = await page.evaluate(() => document.activeElement.closest("figure")?.className);
  out.mirror = await step("ArrowUp");
  await page.keyboard.press("Escape");
  await page.click(".i2am-pins li:nth-child(1) .i2am-pin");
  out.chosen = await shown(page);
  await page.fill(".i2am-pins li:nth-child(1) input", "left sleeve");
  await page.keyboard.press("Enter");
  await page.waitForTimeout(200);
  out.named = (await pins(page)).map((pin) => pin.name);
  return out;
}

/** Copies the node, changes the copy, and takes that back. */
async function duplicate(page) {
  await start(page);
  await click(page, "generated", LETTER);
  await page.keyboard.press("Escape");
  await leave(page);
  await page.evaluate(() => {
    const { canvas, graph } = window.app;
    const node = graph._nodes.find((one) => one.type === "I2AM_Explorer");
    canvas.deselectAll();
    canvas.selectNode(node);
    canvas.copyToClipboard();
    canvas.graph_mouse[0] = node.pos[0] + node.size[0] + 60;
    canvas.graph_mouse[1] = node.pos[1];
    canvas.pasteFromClipboard();
    canvas.ds.scale = 0.6;
    canvas.setDirty(true, true);
  });
  await page.waitForTimeout(2000);
  const out = { viewers: await viewers(page) };
  out.pins = await page.evaluate(() => window.app.graph._nodes.filter((one) => one.type === "I2AM_Explorer").map((node) =>
    JSON.parse(node.widgets.find((one) => one.name === "pins").value).length));
  await picture(page, "duplicate");
  await page.evaluate(() => document.querySelectorAll(".i2am-node")[1].querySelector(".i2am-remove").click());
  await page.waitForTimeout(500);
  out.after = await page.evaluate(() => window.app.graph._nodes.filter((one) => one.type === "I2AM_Explorer").map((node) =>
    node.widgets.find((one) => one.name === "pins").value && JSON.parse(node.widgets.find((one) => one.name === "pins").value).length));
  await leave(page);
  out.undone = [];
  for (let i = 0; i < 3; i++) {
    await page.keyboard.press("Control+z");
    await page.waitForTimeout(2500);
    const nodes = await page.evaluate(() => window.app.graph._nodes.filter((one) => one.type === "I2AM_Explorer").length);
    out.undone.push({ nodes, viewers: await viewers(page), pins: (await pins(page)).length });
  }
  return out;
}

/** Saves as a person does, looks at another workflow and comes back, and opens the saved one in a page loaded anew. */
async function saved(page, problems) {
  await start(page, JSON.stringify([{ name: "logo", on: "generated", x: 48, y: 60 }]));
  await leave(page);
  const name = `explored-${vue ? "vue" : "canvas"}-${Date.now()}`;
  await page.keyboard.press("Control+s");
  await page.waitForSelector("[role=dialog] input", { timeout: 10_000 });
  await page.fill("[role=dialog] input", name);
  await page.keyboard.press("Enter");
  await page.waitForTimeout(2000);
  const read = () => page.evaluate(async (which) => {
    const answer = await window.app.api.fetchApi(`/userdata/${encodeURIComponent(`workflows/${which}.json`)}`);
    return answer.ok ? answer.json() : null;
  }, name);
  const out = {};
  const kept = await read();
  out.kept = kept.nodes.find((node) => node.type === "I2AM_Explorer").widgets_values[0];
  await page.evaluate(() => window.app.extensionManager.command.execute("Comfy.NewBlankWorkflow"));
  await page.waitForTimeout(1500);
  out.blank = { viewers: await viewers(page), nodes: await page.evaluate(() => window.app.graph._nodes.length) };
  await page.evaluate((which) => {
    const store = window.app.extensionManager.workflow;
    return window.app.extensionManager.command.execute(store.openWorkflows.findIndex((one) => one.filename === which) < store.openWorkflows.indexOf(store.activeWorkflow)
      ? "Workspace.PreviousOpenedWorkflow" : "Workspace.NextOpenedWorkflow");
  }, name);
  await page.waitForTimeout(2500);
  out.back = { viewers: await viewers(page), pins: (await pins(page)).map((pin) => pin.name) };
  out.problems = problems.splice(0);
  await page.reload();
  await ready(page);
  problems.length = 0; // the host's own, at its start
  await load(page, kept);
  await viewer(page);
  out.reopened = { viewers: await viewers(page), pins: (await pins(page)).map((pin) => pin.name) };
  kept.nodes.find((node) => node.type === "I2AM_Explorer").properties.i2am_viewer.filename = "gone.i2am";
  await load(page, kept);
  await page.waitForTimeout(1500);
  problems.splice(0, problems.length, ...problems.filter((problem) => !problem.includes("gone.i2am")));
  out.gone = await page.evaluate(() => document.querySelector(".i2am-node .i2am-message:not([hidden])")?.textContent ?? null);
  return out;
}

/** Puts the node into a subgraph, runs it there, pins, leaves and comes back. */
async function subgraph(page, problems) {
  await load(page, demo());
  await page.evaluate(() => {
    const { canvas, graph } = window.app;
    const nodes = graph._nodes.filter((one) => ["I2AM_Explorer", "I2AM_Collect"].includes(one.type));
    canvas.deselectAll();
    const { subgraph: inner, node } = graph.convertToSubgraph(new Set(nodes));
    window.i2amInner = [inner, node];
  });
  await page.waitForTimeout(1000);
  await run(page);
  await page.waitForTimeout(1000);
  const enter = async () => {
    await page.evaluate(() => window.app.canvas.openSubgraph(...window.i2amInner));
    await page.waitForTimeout(1500);
    await zoom(page, 1);
    await viewer(page);
  };
  await enter();
  await setPins(page, "");
  await click(page, "generated", LETTER);
  const out = { inside: { ...(await shown(page)), pins: (await pins(page)).length } };
  await picture(page, "subgraph");
  await page.keyboard.press("Escape");
  await page.evaluate(() => window.app.canvas.setGraph(window.app.graph));
  await page.waitForTimeout(1500);
  out.outside = await page.evaluate(() => [...document.querySelectorAll(".i2am-viewer")].filter((one) => one.checkVisibility()).length);
  await enter();
  out.again = { viewers: await viewers(page), pins: (await pins(page)).length };
  const saved_ = await page.evaluate(() => window.app.graph.serialize());
  out.kept = saved_.definitions.subgraphs[0].nodes.find((node) => node.type === "I2AM_Explorer").widgets_values[0];
  out.problems = problems.splice(0);
  await page.reload(); // ComfyUI 0.8 draws no node of the next workflow in Vue
  await ready(page);
  problems.length = 0;
  return out;
}

/** Two references: workflow 17. */
async function two(page) {
  const workflow = JSON.parse(fs.readFileSync(TWO, "utf8"));
  const of = (type) => workflow.nodes.find((node) => node.type === type);
  of("KSampler").widgets_values[2] = STEPS;
  attach(workflow, of("I2AM_Explorer"), "table", "PreviewAny", "source", "*");
  await load(page, workflow);
  await zoom(page, 1);
  await run(page);
  await viewer(page);
  await page.waitForTimeout(1500);
  const first = (await pins(page))[0];
  const out = { first };
  out.table = await page.evaluate(() => Object.values(window.app.nodeOutputs).find((one) => one.text?.[0]?.startsWith("pin"))?.text.join(""));
  await point(page, "generated", [first.x, first.y]);
  out.hovered = await shown(page);
  await picture(page, "two");
  await click(page, "reference", [28, 52], 1);
  out.clicked = { ...(await shown(page)), pins: await pins(page) };
  out.rows = await page.evaluate(() => new Set([...document.querySelectorAll(".i2am-node canvas")].map((one) => Math.round(one.getBoundingClientRect().top))).size);
  await page.keyboard.press("Escape");
  return out;
}

/** Fingers, in the light theme. */
async function touch(page) {
  await start(page);
  const [x, y] = await spot(page, "generated", LETTER);
  await page.touchscreen.tap(x, y);
  await page.waitForTimeout(400);
  const out = { tapped: { ...(await shown(page)), pins: await pins(page) } };
  const before = await page.evaluate(() => ({ ds: [...window.app.canvas.ds.offset], pos: [...window.app.graph._nodes.find((one) => one.type === "I2AM_Explorer").pos] }));
  const client = await page.context().newCDPSession(page);
  const [from, to] = [await spot(page, "reference", [30, 40]), await spot(page, "reference", [60, 70])];
  const finger = (type, at) => client.send("Input.dispatchTouchEvent", { type, touchPoints: at ? [{ x: at[0], y: at[1] }] : [] });
  await finger("touchStart", from);
  for (let i = 1; i <= 6; i++) await finger("touchMove", [0, 1].map((k) => from[k] + ((to[k] - from[k]) * i) / 6));
  await finger("touchEnd");
  await page.waitForTimeout(400);
  out.dragged = { ...(await shown(page)), pins: await pins(page) };
  const after = await page.evaluate(() => ({ ds: [...window.app.canvas.ds.offset], pos: [...window.app.graph._nodes.find((one) => one.type === "I2AM_Explorer").pos] }));
  out.still = JSON.stringify(before) === JSON.stringify(after);
  out.theme = (await shown(page)).theme;
  out.contrast = await contrasts(page);
  await picture(page, "light");
  return out;
}

/** The least contrast (WCAG) of the viewer's texts with what lies behind them, and the text that has it. */
function contrasts(page) {
  return page.evaluate(() => {
    const rgba = (text) => (text.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
    const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (element) => {
      const holder = element.closest(".i2am-holder");
      for (let one = element; one; one = one.parentElement) {
        if (one === holder && !document.querySelector("[data-node-id]")) break; // the canvas draws what lies behind
        const colour = rgba(getComputedStyle(one).backgroundColor);
        if (colour.length < 4 || colour[3] > 0.99) return colour;
      }
      const node = window.app.graph._nodes.find((one) => one.type === "I2AM_Explorer");
      const canvas = document.createElement("canvas").getContext("2d");
      canvas.fillStyle = node.bgcolor ?? window.LiteGraph.NODE_DEFAULT_BGCOLOR;
      canvas.fillRect(0, 0, 1, 1);
      return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    let least = { ratio: 21 };
    for (const one of document.querySelectorAll(".i2am-node :is(h2, p, label, output, dt, dd, li, button, select, .i2am-small, .i2am-level, .i2am-scale span)")) {
      const text = [...one.childNodes].filter((child) => child.nodeType === 3).map((child) => child.data).join("").trim();
      if (!text || !one.checkVisibility() || one.closest(".i2am-hidden")) continue;
      const [a, b] = [light(rgba(getComputedStyle(one).color)), light(behind(one))].sort((p, q) => q - p);
      const ratio = (a + 0.05) / (b + 0.05);
      if (ratio < least.ratio) least = { ratio, text: text.slice(0, 60), of: getComputedStyle(one).color, on: behind(one).join(" ") };
    }
    return least;
  });
}

const dark = async (page) => {
  await load(page, demo());
  const message = await contrasts(page);
  await start(page);
  return { message, theme: (await shown(page)).theme, contrast: await contrasts(page) };
};

main({ drawn, resized, keyboard, duplicate, saved, subgraph, two, dark }, { touch });
