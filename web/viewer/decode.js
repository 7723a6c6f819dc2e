/**
 * Arrays as a page embeds them: quantised integers with scales for each row, deflated, in base64.
 *
 * A packed array is {shape, leading, dtype: "uint8" | "uint16", scales, data}. `data` holds the integers, row-major,
 * little-endian (as every machine with a browser is) and deflated (zlib); `scales` holds float32 for every row (the last
 * axis), not deflated: if `leading` is above 0, one for its first `leading` values and one for the others, else one;
 * value = integer × scale. Browsers inflate only asynchronously: `inflate(data)` does it for all arrays of a viewer's data,
 * once, in place.
 */

/** The bytes of a base64 string. */
export function bytes(base64) {
  const text = atob(base64);
  const out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
  return out;
}

const TYPES = { uint8: Uint8Array, uint16: Uint16Array };

function sizeOf({ shape, dtype }) {
  return shape.reduce((a, b) => a * b, TYPES[dtype].BYTES_PER_ELEMENT);
}

async function inflated(packed) {
  if (!TYPES[packed.dtype]) throw new Error(`Packed array of unknown type "${packed.dtype}".`);
  const stream = new DecompressionStream("deflate");
  const writer = stream.writable.getWriter();
  const written = Promise.all([writer.write(bytes(packed.data)), writer.close()]);
  const out = new Uint8Array(sizeOf(packed));
  let at = 0;
  const reader = stream.readable.getReader();
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    out.set(value, at);
    at += value.length;
  }
  await written;
  if (at !== out.length) throw new Error(`Packed array holds ${at} bytes, but its shape ${packed.shape} needs ${out.length}.`);
  return out;
}

/** Inflates every packed array of a viewer's data in place (`data` becomes bytes); returns the data. */
export async function inflate(data) {
  const arrays = [...data.marginals, ...data.pairwise].map((entry) => entry.values);
  const still = arrays.filter((packed) => typeof packed.data === "string");
  await Promise.all(still.map(async (packed) => (packed.data = await inflated(packed))));
  return data;
}

/** An inflated packed array, read as numbers; it stays quantised in memory. */
export class Packed {
  constructor({ shape, leading, dtype, scales, data }) {
    if (typeof data === "string") throw new Error("Packed array is still deflated: await inflate(data) first.");
    this.shape = shape;
    this.length = shape[shape.length - 1];
    this.leading = leading;
    this.each = leading > 0 ? 2 : 1; // scales of a row
    this.values = new TYPES[dtype](data.buffer);
    this.scales = new Float32Array(bytes(scales).buffer);
    if (this.scales.length * this.length !== this.values.length * this.each) {
      throw new Error(`Packed array of shape ${shape} has ${this.scales.length} scales, expected ${this.each} for each row.`);
    }
  }

  scaleOf(row, column) {
    return this.scales[row * this.each + (this.each === 2 && column >= this.leading ? 1 : 0)];
  }

  /** Adds weight × row `row` to `out`. */
  addRow(out, row, weight) {
    const start = row * this.length;
    const scale = (column) => weight * this.scaleOf(row, column);
    for (let i = 0; i < this.leading; i++) out[i] += scale(0) * this.values[start + i];
    const factor = scale(this.leading);
    for (let i = this.leading; i < out.length; i++) out[i] += factor * this.values[start + i];
  }

  /** Adds weight × column `column` of the `out.length` rows from `firstRow` on. */
  addColumn(out, firstRow, column, weight) {
    for (let i = 0; i < out.length; i++) {
      const row = firstRow + i;
      out[i] += weight * this.scaleOf(row, column) * this.values[row * this.length + column];
    }
  }
}
