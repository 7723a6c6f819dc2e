/**
 * The viewer's file: a header that says all, then arrays and pictures as they are (i2am/outputs/viewer_file.py writes it).
 *
 *   8 bytes "I2AMVIEW"; 4 bytes the version, 4 bytes n, both unsigned; n bytes JSON; then the body. All is little-endian, as
 *   every machine with a browser is. {at, bytes} in the JSON is a stretch of the body.
 *
 * A packed array is {shape, leading, dtype: "uint8" | "uint16", scales, data}. `data` holds the integers, row-major and
 * deflated (zlib); `scales` holds float32 for every row (the last axis): if `leading` is above 0, one for its first `leading`
 * values and one for the others, else one; value = integer × scale.
 */

const MAGIC = "I2AMVIEW";
export const VERSION = 4;
const TYPES = { uint8: Uint8Array, uint16: Uint16Array };

/** The bytes of a base64 string. */
export function bytes(base64) {
  const text = atob(base64);
  const out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
  return out;
}

/** The base64 string of bytes. */
function base64Of(raw) {
  let text = "";
  for (let i = 0; i < raw.length; i += 0x8000) text += String.fromCharCode(...raw.subarray(i, i + 0x8000));
  return btoa(text);
}

async function inflated({ shape, dtype }, deflated) {
  if (!TYPES[dtype]) throw new Error(`Packed array of unknown type "${dtype}".`);
  const stream = new DecompressionStream("deflate");
  const writer = stream.writable.getWriter();
  const written = Promise.all([writer.write(deflated), writer.close()]);
  const out = new Uint8Array(shape.reduce((a, b) => a * b, TYPES[dtype].BYTES_PER_ELEMENT));
  let at = 0;
  const reader = stream.readable.getReader();
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    if (at + value.length > out.length) throw new Error(`Packed array holds more than its shape ${shape} needs.`);
    out.set(value, at);
    at += value.length;
  }
  await written;
  if (at !== out.length) throw new Error(`Packed array holds ${at} bytes, but its shape ${shape} needs ${out.length}.`);
  return out;
}

/** The data of a file, as viewer.js describes it: arrays inflated, pictures as data URLs. */
export async function readFile(file) {
  const raw = new Uint8Array(file);
  const start = new TextDecoder("latin1").decode(raw.subarray(0, 8));
  if (start !== MAGIC || raw.length < 16) throw new Error("These are no I²AM maps for the viewer.");
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const [version, length] = [view.getUint32(8, true), view.getUint32(12, true)];
  if (version !== VERSION) throw new Error(`This viewer reads version ${VERSION} of its files, but got version ${version}.`);
  const data = JSON.parse(new TextDecoder().decode(raw.subarray(16, 16 + length)));
  const part = ({ at, bytes: count }) => {
    const from = 16 + length + at;
    if (from + count > raw.length) throw new Error("The file with the maps is cut off.");
    return raw.subarray(from, from + count);
  };
  const runs = [data, data.second].filter(Boolean);
  for (const picture of [...runs.flatMap((one) => [one.generated, ...one.references]), ...data.pictures]) {
    picture.src = `data:${picture.type};base64,${base64Of(part(picture.src))}`;
  }
  const arrays = runs.flatMap((one) => [...one.marginals, ...one.pairwise]).map((entry) => entry.values);
  await Promise.all(arrays.map(async (packed) => {
    packed.scales = part(packed.scales);
    packed.data = await inflated(packed, part(packed.data));
  }));
  return data;
}

/** A packed array, read as numbers; it stays quantised in memory. */
export class Packed {
  constructor({ shape, leading, dtype, scales, data }) {
    this.shape = shape;
    this.length = shape[shape.length - 1];
    this.leading = leading;
    this.each = leading > 0 ? 2 : 1; // scales of a row
    this.values = new TYPES[dtype](data.buffer);
    this.scales = new Float32Array(scales.slice().buffer); // a copy begins where numbers may begin
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
