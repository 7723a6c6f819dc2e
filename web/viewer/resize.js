/** Resizing small grids: bilinear as in i2am/geometry/resample.py, bicubic as torch does with align_corners=False. */

const hat = (x) => Math.max(0, 1 - Math.abs(x));
const hatUntil = (x) => (x < 0 ? Math.max(0, 1 + x) ** 2 / 2 : 1 - Math.max(0, 1 - x) ** 2 / 2);

/**
 * For every output place: the input places it mixes and their weights, bilinear. Every input place has the same total
 * weight: at whole ratios the interpolant is sampled at the output's centres, else averaged over its cells.
 */
export function linearTaps(input, output) {
  const width = Math.ceil(input / output) + 2;
  return Array.from({ length: output }, (_, i) => {
    const start = (i * input) / output;
    const stop = ((i + 1) * input) / output;
    return Array.from({ length: width }, (_, k) => {
      const place = Math.floor(start - 0.5) + k;
      const centre = place + 0.5;
      const weight = output % input === 0
        ? hat((start + stop) / 2 - centre)
        : ((hatUntil(stop - centre) - hatUntil(start - centre)) * output) / input;
      return [Math.min(Math.max(place, 0), input - 1), weight];
    });
  });
}

const A = -0.75;
const near = (t) => ((A + 2) * t - (A + 3)) * t * t + 1;
const far = (t) => ((A * t - 5 * A) * t + 8 * A) * t - 4 * A;

/** For every output place: the input places it mixes and their weights, bicubic (a = −0.75). */
export function cubicTaps(input, output) {
  return Array.from({ length: output }, (_, i) => {
    const at = ((i + 0.5) * input) / output - 0.5;
    const low = Math.floor(at);
    const t = at - low;
    return [far(t + 1), near(t), near(1 - t), far(2 - t)].map((weight, k) => [
      Math.min(Math.max(low - 1 + k, 0), input - 1),
      weight,
    ]);
  });
}

const known = new Map(); // taps by their function and sizes: the same few at every move of the pointer

function remembered(of, input, output) {
  const key = `${of.name} ${input} ${output}`;
  if (!known.has(key)) known.set(key, of(input, output));
  return known.get(key);
}

/** `linearTaps`, made once for each pair of sizes. */
export function knownLinearTaps(input, output) {
  return remembered(linearTaps, input, output);
}

const flatLinear = (input, output) => flat(linearTaps(input, output));
const flatCubic = (input, output) => flat(cubicTaps(input, output));

/** The same taps as flat arrays, for speed. */
function flat(taps) {
  const width = taps[0].length;
  const at = new Int32Array(taps.length * width);
  const weight = new Float32Array(taps.length * width);
  taps.flat().forEach((tap, i) => ([at[i], weight[i]] = tap));
  return { at, weight, width, length: taps.length };
}

/** `values` (rows × columns) mixed by the flat taps of each axis into a new grid. */
function mix(values, columns, down, across) {
  const rows = values.length / columns;
  const wide = new Float32Array(rows * across.length);
  for (let y = 0, to = 0; y < rows; y++) {
    for (let x = 0, tap = 0; x < across.length; x++, to++) {
      let sum = 0;
      for (let k = 0; k < across.width; k++, tap++) sum += across.weight[tap] * values[y * columns + across.at[tap]];
      wide[to] = sum;
    }
  }
  const out = new Float32Array(down.length * across.length);
  for (let y = 0; y < down.length; y++) {
    const to = y * across.length;
    for (let tap = y * down.width; tap < (y + 1) * down.width; tap++) {
      const from = down.at[tap] * across.length;
      const weight = down.weight[tap];
      for (let x = 0; x < across.length; x++) out[to + x] += weight * wide[from + x];
    }
  }
  return out;
}

/** Bilinear, for pairwise rows and columns and for G2R. */
export function bilinear(values, from, to) {
  if (from[0] === to[0] && from[1] === to[1]) return values;
  return mix(values, from[1], remembered(flatLinear, from[0], to[0]), remembered(flatLinear, from[1], to[1]));
}

/** Bicubic with negative overshoot clamped at 0, for marginals on the generated picture and for pictures; a difference is not clamped. */
export function bicubic(values, from, to, clamped = true) {
  if (from[0] === to[0] && from[1] === to[1]) return values;
  const out = mix(values, from[1], remembered(flatCubic, from[0], to[0]), remembered(flatCubic, from[1], to[1]));
  for (let i = 0; clamped && i < out.length; i++) if (out[i] < 0) out[i] = 0;
  return out;
}
