// Frames of a pointer that moves over I²AM Explorer, for the moving picture of the README; pointing.py runs it.
//
//   NODE_PATH=<folder with playwright-core> node tests/workflows/pointing.js URL FOLDER
//
// URL is that of a running ComfyUI with this pack. Runs workflow 17 in the canvas renderer, points at places of the picture and
// of a reference, and writes the frames to FOLDER as 000.png and so on, with their milliseconds in frames.json.
"use strict";
const fs = require("fs");
const path = require("path");
const { launch, load, open, run, setPins, spot, viewer } = require("../browser/host.js");

const WORKFLOW = path.resolve(__dirname, "..", "..", "workflows", "17_explorer.json");
const SIZE = [960, 1150]; // of the node, in units of the graph; its pictures lie in one row
const STEP = 90; // ms of a frame on the way
const REST = 900; // ms of a frame at a place
const WAY = 7; // frames from one place to the next
const CAPTION = 110; // pixels below the pictures
// the picture, which of that name, and pixels of it: what a person would ask about
const PLACES = [
  ["generated", 0, [46, 70]], // the letter
  ["generated", 0, [24, 62]], // a sleeve
  ["generated", 0, [46, 30]], // the face
  ["generated", 0, [46, 112]], // the trousers
  ["reference", 1, [60, 72]], // the garment's letter: where did it go?
  ["reference", 1, [30, 62]], // its sleeve
  ["reference", 0, [46, 28]], // the person's face
];
const ARROW = "M1 1 L1 19 L6 15 L9 22 L12 21 L9 14 L15 14 Z";

/** A pointer that screenshots show, for a headless browser has none. */
function addPointer(page) {
  return page.evaluate((arrow) => {
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="26" height="32" viewBox="0 0 17 24"><path d="${arrow}" fill="#fff" stroke="#000" stroke-width="1.4"/></svg>`;
    const pointer = document.createElement("div");
    pointer.innerHTML = svg;
    Object.assign(pointer.style, { position: "fixed", left: "0", top: "0", zIndex: 99999, pointerEvents: "none" });
    document.body.append(pointer);
    window.i2amPointer = (x, y) => (pointer.style.transform = `translate(${x}px, ${y}px)`);
  }, ARROW);
}

/** The part of the page that is photographed: the pictures with their headings and captions. */
function part(page) {
  return page.evaluate((below) => {
    const pair = document.querySelector(".i2am-node .i2am-pair").getBoundingClientRect();
    const canvases = [...document.querySelectorAll(".i2am-node canvas")].map((one) => one.getBoundingClientRect().bottom);
    const top = pair.top - 6;
    return { x: pair.left - 8, y: top, width: pair.width + 16, height: Math.max(...canvases) + below - top };
  }, CAPTION);
}

async function main() {
  const [url, folder] = process.argv.slice(2);
  if (!folder) throw new Error("give the URL of a running ComfyUI, and a folder for the frames");
  fs.mkdirSync(folder, { recursive: true });
  const browser = await launch();
  try {
    const { page } = await open(browser, url.replace(/\/$/, ""), false);
    await load(page, JSON.parse(fs.readFileSync(WORKFLOW, "utf8")));
    await page.evaluate((size) => {
      const { canvas } = window.app;
      const node = canvas.graph._nodes.find((one) => one.type === "I2AM_Explorer");
      node.setSize(size);
      canvas.ds.scale = 1;
      canvas.ds.offset[0] = 40 - node.pos[0];
      canvas.ds.offset[1] = 40 - node.pos[1];
      canvas.setDirty(true, true);
    }, SIZE);
    await run(page);
    await viewer(page);
    await page.waitForTimeout(1500);
    await setPins(page, "");
    await page.addStyleTag({ content: ".i2am-node figcaption { min-height: 10em !important }" }); // what lies below stays out of sight
    await addPointer(page);
    const frames = [];
    const shoot = async (ms, clip) => {
      const name = `${String(frames.length).padStart(3, "0")}.png`;
      await page.screenshot({ path: path.join(folder, name), clip });
      frames.push([name, ms]);
    };
    let at = await spot(page, "generated", [8, 120]);
    await page.mouse.move(...at);
    await page.waitForTimeout(300);
    const clip = await part(page);
    for (const [picture, which, pixel] of PLACES) {
      const to = await spot(page, picture, pixel, which);
      for (let i = 1; i <= WAY; i++) {
        const share = (1 - Math.cos((Math.PI * i) / WAY)) / 2; // slow at both ends
        const now = [0, 1].map((k) => at[k] + (to[k] - at[k]) * share);
        await page.mouse.move(...now);
        await page.evaluate(([x, y]) => window.i2amPointer(x, y), now);
        await page.waitForTimeout(60);
        await shoot(i < WAY ? STEP : REST, clip);
      }
      at = to;
    }
    fs.writeFileSync(path.join(folder, "frames.json"), JSON.stringify(frames));
  } finally {
    await browser.close();
  }
}

main();
