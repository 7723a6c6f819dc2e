/** Colour maps: perceptually uniform ones, jet for comparison with the paper's figures, and one for differences. */

/** The colours of differences: blue below, orange above, pale at 0 in the middle. No menu offers it. */
export const DIVERGING = "blue to orange";

// Evenly spaced samples of each map; between them the colour is mixed linearly. 33 of the tables that OpenCV ships.
const SAMPLES = {
  // as in i2am/pictures/colours.py
  [DIVERGING]: "08306b 0060a8 3d94d1 a6cfe8 f7f7f7 f6cf95 e8962f b85f0a 6b3000",
  inferno:
    "000004 040312 0b0724 150b37 210c4a 2f0a5b 3d0965 4a0c6b 57106e 64156e 71196e 7d1e6d 8a226a 972766 a32c61 b0315b bc3754 " +
    "c63d4d d04545 da4e3c e35933 eb6429 f1711f f67e14 f98c0a fb9b06 fcaa0f fbba1f f9c932 f5d949 f2e865 f3f586 fcffa4",
  viridis:
    "440154 470d60 48186a 482374 472d7b 453781 424086 3e4989 3b528b 375b8d 33638d 2f6b8e 2c728e 297a8e 26828e 23898e 21918c " +
    "1f978b 1f9f88 21a685 27ad81 31b57b 3dbc74 4cc26c 5cc863 6ece58 81d34d 95d840 aadc32 c0df25 d5e21a eae51a fde725",
  jet:
    "000080 0000a0 0000c0 0000e0 0000ff 0020ff 0040ff 0060ff 0080ff 00a0ff 00c0ff 00e0ff 02fffe 22ffde 42ffbe 62ff9e 82ff7e " +
    "9eff62 beff42 deff22 feff01 ffe000 ffc000 ffa000 ff8000 ff6000 ff4000 ff2000 ff0000 e00000 c00000 a00000 800000",
};

/** The names of colour maps, for menus. */
export const COLOUR_MAPS = ["inferno", "viridis", "jet"];

/** The 256 colours of a map as (256 × 3) bytes. */
export function table(name) {
  const samples = SAMPLES[name].split(" ").map((hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  const out = new Uint8ClampedArray(256 * 3);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (samples.length - 1);
    const low = Math.min(Math.floor(at), samples.length - 2);
    for (let c = 0; c < 3; c++) out[3 * i + c] = samples[low][c] + (at - low) * (samples[low + 1][c] - samples[low][c]);
  }
  return out;
}

/** The same colours as a CSS gradient, from left to right. */
export function gradient(name) {
  return `linear-gradient(to right, ${SAMPLES[name].split(" ").map((hex) => `#${hex}`).join(", ")})`;
}
