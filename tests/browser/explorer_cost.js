// What I²AM Explorer costs in a real ComfyUI in a headless Chromium: the time of a move, and what deleted nodes leave behind.
//
//   NODE_PATH=<folder with playwright-core> node tests/browser/explorer_cost.js URL [--vue] [--file NAME] [--both NAME] [--only NAME]
//
// NAME of --file is a viewer's file in the temp folder of the host, of 64 × 48 patches against two references of 32 × 32, that of
// --both one of two such runs; the time of a move is measured on them. Prints one line of JSON: what each scene found, or its error.
// tests/test_explorer_whole.py compares it.
"use strict";
const { demo, load, ready, setPins, viewer, zoom } = require("./host.js");
const { given, main, start } = require("./scenes.js");

const TIMES = 50; // that a node is made and deleted
const FEWER = 15; // the same for the host alone
const MOVES = 60; // of the pointer, each of them timed BATCHES times
const BATCHES = [8, 60]; // at least; at most, while other work of the machine keeps the best of them above QUICK
const QUICK = 12; // ms
const { vue, file, both } = given;

/** The counters of the page after nodes were made and deleted again, and undo forgot them. */
async function leaks(page, problems) {
  await start(page);
  const client = await page.context().newCDPSession(page);
  await client.send("Performance.enable");
  const cycle = (times, type = "I2AM_Explorer") => page.evaluate(async ([most, kind]) => {
    const { graph } = window.app;
    const file_ = graph._nodes.find((one) => one.type === "I2AM_Explorer").properties.i2am_viewer;
    let seen = 0;
    for (let i = 0; i < most; i++) {
      const node = window.LiteGraph.createNode(kind);
      node.pos = [60, 60];
      graph.add(node);
      if (kind === "I2AM_Explorer") node.onExecuted?.({ i2am_viewer: [file_] });
      await new Promise((done) => setTimeout(done, 60));
      seen += document.querySelectorAll(".i2am-viewer").length > 1;
      graph.remove(node);
      await new Promise((done) => setTimeout(done, 20));
    }
    const tracker = window.app.extensionManager.workflow.activeWorkflow?.changeTracker;
    for (const queue of [tracker?.undoQueue, tracker?.redoQueue]) queue?.splice(0);
    return seen;
  }, [times, type]);
  /** Every element of ours that is still alive, but for the one that the host was given. */
  const ours = async () => {
    const { result: { objectId: prototypeObjectId } } = await client.send("Runtime.evaluate", { expression: "HTMLElement.prototype" });
    const { objects: { objectId } } = await client.send("Runtime.queryObjects", { prototypeObjectId });
    const declared = "function() { return this.filter((one) => !Object.hasOwn(one, 'constructor') && /^i2am-/.test(one.className) && !one.classList.contains('i2am-holder')).length }";
    const { result } = await client.send("Runtime.callFunctionOn", { objectId, functionDeclaration: declared, returnByValue: true });
    await client.send("Runtime.releaseObject", { objectId });
    await client.send("Runtime.releaseObject", { objectId: prototypeObjectId });
    return result.value;
  };
  const count = async () => {
    await page.waitForTimeout(1800); // timers of the node and of the host end
    for (let i = 0; i < 3; i++) {
      await client.send("HeapProfiler.collectGarbage");
      await page.waitForTimeout(200);
    }
    const { metrics } = await client.send("Performance.getMetrics");
    const of = (name) => metrics.find((one) => one.name === name).value;
    return { nodes: of("Nodes"), listeners: of("JSEventListeners"), ours: await ours() };
  };
  await cycle(5); // what the host keeps of a first one
  const before = await count();
  const seen = await cycle(TIMES);
  const after = await count();
  // what the host itself keeps: of its own node with a text, and in Vue, where the sockets count, of ours with a bare element
  const other = vue ? "I2AM_Explorer" : "CLIPTextEncode";
  await page.evaluate(() => {
    const ours_ = window.app.extensions.find((one) => one.name === "I2AM.Explorer");
    ours_.nodeCreated = (node) => node.comfyClass === "I2AM_Explorer" && node.addDOMWidget("bare", "BARE", document.createElement("div"), {});
  });
  await cycle(5, other);
  const plain = await count();
  await cycle(FEWER, other);
  const out = { before, after, seen, times: TIMES, host: [plain, await count()], fewer: FEWER };
  out.problems = problems.splice(0);
  await page.reload();
  await ready(page);
  problems.length = 0;
  return out;
}

/** Milliseconds of script for a move of the pointer; the painting comes in a later frame. */
async function moves(page, filename_) {
  if (!filename_) return null;
  await load(page, demo());
  await zoom(page, 1);
  await page.evaluate((filename) => {
    const node = window.app.graph._nodes.find((one) => one.type === "I2AM_Explorer");
    node.onExecuted({ i2am_viewer: [{ filename, subfolder: "", type: "temp" }] });
  }, filename_);
  await viewer(page);
  await setPins(page, "");
  await page.waitForTimeout(1500);
  return page.evaluate(async ([most, [least, batches], quick]) => {
    const places = document.querySelectorAll(".i2am-node .i2am-viewer canvas");
    const out = { label: places[0].getAttribute("aria-label"), references: places.length - 1 };
    for (const [name, canvas] of [["generated", places[0]], ["reference", places[2]]]) {
      const box = canvas.getBoundingClientRect();
      out[name] = [];
      const best = Array(most).fill(Infinity);
      const slow = () => best.toSorted((a, b) => a - b)[Math.ceil(0.95 * most) - 1] > quick;
      for (let batch = 0; batch < least || (batch < batches && slow()); batch++) {
        const times = [];
        for (let i = 0; i < most; i++) {
          const [u, v] = [((i * 37) % 100 + 0.5) / 100, ((i * 61) % 100 + 0.5) / 100];
          const event = new PointerEvent("pointermove", { clientX: box.left + u * box.width, clientY: box.top + v * box.height, bubbles: true });
          const begin = performance.now();
          canvas.dispatchEvent(event);
          times.push(performance.now() - begin);
          if (!document.querySelector(".i2am-viewer").dataset.query) throw new Error("a move was not looked up");
          if (i % 10 === 9) await new Promise((done) => requestAnimationFrame(done));
        }
        out[name].push(times);
        times.forEach((time, i) => (best[i] = Math.min(best[i], time)));
      }
    }
    return out;
  }, [MOVES, BATCHES, QUICK]);
}

main({ leaks, moves: (page) => moves(page, file), both: (page) => moves(page, both) });
