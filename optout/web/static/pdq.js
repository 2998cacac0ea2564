// The codes of a picture, computed here, so that the picture need not leave the device. The same steps as the Python of
// optout/fingerprint/image.py and pdq.py, which says where they come from; tests/browser/test_codes.py compares the two.

const WORKING_SIDE = 4096; // larger pictures are reduced by a whole number first
const SAMPLED_SIDE = 1024; // then the middle one of every n pixels is taken
const GRID = 64; // what every picture is shrunk to; smaller ones have too little in them for a code
const STRIP_PIXELS = 2_000_000; // read at once; phones give a page little memory
const MAX_BYTES = 25_000_000;
const MAX_PIXELS = 80_000_000;
const MIN_QUALITY = 50;

// Why there are no codes: `empty`, `too_large`, `unreadable`, `too_small`, `too_plain`, or `blocked`: this browser does
// not let pages read what they draw, or changes it.
export class NoCodes extends Error {}

export async function codesOf(file) {
  if (file.size === 0) throw new NoCodes("empty");
  if (file.size > MAX_BYTES) throw new NoCodes("too_large");
  requireTrueColours();
  const bitmap = await decoded(file);
  let luma;
  try {
    const { width, height } = bitmap;
    if (width * height > MAX_PIXELS) throw new NoCodes("too_large");
    if (Math.min(width, height) < GRID) throw new NoCodes("too_small");
    luma = sampledLuma(bitmap);
    const { codes, quality } = pdqOf(luma);
    if (quality < MIN_QUALITY) throw new NoCodes("too_plain");
    const sha256 = hex(new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer())));
    return { sha256, codes, quality, width, height };
  } finally {
    bitmap.close();
  }
}

async function decoded(file) {
  try {
    // As the server reads it: upright, and the numbers in the file without its colour profile.
    return await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    try {
      return await createImageBitmap(file);
    } catch {
      throw new NoCodes("unreadable");
    }
  }
}

function surface(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas.getContext("2d", { willReadFrequently: true, alpha: false });
}

// Some browsers blur or replace what a page reads from a canvas. Codes of that would find nothing.
function requireTrueColours() {
  const drawing = surface(16, 16);
  for (let at = 0; at < 256; at += 1) {
    drawing.fillStyle = `rgb(${at}, ${255 - at}, ${(at * 7) % 256})`;
    drawing.fillRect(at % 16, at >> 4, 1, 1);
  }
  const { data } = drawing.getImageData(0, 0, 16, 16);
  for (let at = 0; at < 256; at += 1) {
    if (data[4 * at] !== at || data[4 * at + 1] !== 255 - at || data[4 * at + 2] !== (at * 7) % 256) {
      throw new NoCodes("blocked");
    }
  }
}

// { rows, columns, values }: the grey values of at most 1024 x 1024 pixels of the picture, on white.
function sampledLuma(bitmap) {
  const across = sampling(bitmap.width, bitmap.height);
  const down = sampling(bitmap.height, bitmap.width);
  const values = new Float64Array(down.starts.length * across.starts.length);
  const high = Math.max(down.factor, Math.min(bitmap.height, Math.floor(STRIP_PIXELS / bitmap.width)));
  const drawing = surface(bitmap.width, Math.min(high, bitmap.height));
  let row = 0;
  while (row < down.starts.length) {
    const top = down.starts[row];
    const lines = Math.min(high, bitmap.height - top);
    drawing.fillStyle = "#fff";
    drawing.fillRect(0, 0, bitmap.width, lines);
    drawing.drawImage(bitmap, 0, top, bitmap.width, lines, 0, 0, bitmap.width, lines);
    const { data } = drawing.getImageData(0, 0, bitmap.width, lines);
    for (; row < down.starts.length; row += 1) {
      const first = down.starts[row] - top;
      const last = Math.min(first + down.factor, bitmap.height - top);
      if (last > lines) break; // this row needs lines of the next strip
      across.starts.forEach((start, column) => {
        const end = Math.min(start + across.factor, bitmap.width);
        values[row * across.starts.length + column] = grey(data, bitmap.width, first, last, start, end);
      });
    }
  }
  return { rows: down.starts.length, columns: across.starts.length, values };
}

// Where the pixels that count begin along a side, and how many of the file's pixels each of them is the mean of.
function sampling(length, other) {
  const wanted = Math.ceil(Math.max(length, other) / WORKING_SIDE);
  const factor = Math.min(wanted, Math.max(1, Math.floor(length / GRID)));
  const reduced = Math.ceil(length / factor);
  const step = Math.ceil(reduced / SAMPLED_SIDE);
  const starts = [];
  for (let at = Math.floor(step / 2); at < reduced; at += step) starts.push(at * factor);
  return { starts, factor };
}

function grey(data, width, first, last, start, end) {
  const sums = [0, 0, 0];
  for (let y = first; y < last; y += 1) {
    for (let x = start; x < end; x += 1) {
      const at = 4 * (y * width + x);
      for (let colour = 0; colour < 3; colour += 1) sums[colour] += data[at + colour];
    }
  }
  const count = (last - first) * (end - start);
  const [red, green, blue] = sums.map((sum) => Math.round(sum / count));
  return 0.299 * red + 0.587 * green + 0.114 * blue;
}

// --- PDQ -------------------------------------------------------------------------------------------------------------

function pdqOf({ rows, columns, values }) {
  const weightsDown = neighbours(rows);
  const weightsAcross = neighbours(columns);
  const upright = shrink(values, rows, columns, weightsDown, false);
  const turnedOver = shrink(values, rows, columns, weightsDown, true);
  const across = (lines, backwards) => transposed(shrink(turned(lines, GRID, columns), columns, GRID, weightsAcross, backwards));
  const plain = across(upright, false);
  const upsideDown = across(turnedOver, false);
  const mirrored = across(upright, true);
  const halfTurned = across(turnedOver, true);
  const grids = [
    plain,
    transposed(mirrored),
    halfTurned,
    transposed(upsideDown),
    upsideDown,
    mirrored,
    transposed(plain),
    transposed(halfTurned),
  ];
  return { codes: grids.map((grid) => hex(bits(frequencies(grid)))), quality: qualityOf(plain) };
}

// For each of the 64: the first of the lines that make it, and how much each of them counts.
function neighbours(length) {
  if (length === GRID) return Array.from({ length: GRID }, (_, at) => ({ first: at, weights: [1] }));
  const window = Math.floor((length + 2 * GRID - 1) / (2 * GRID));
  const ahead = Math.floor((window + 2) / 2);
  const box = (line) => [Math.max(line - (window - ahead), 0), Math.min(line + ahead, length)];
  return Array.from({ length: GRID }, (_, at) => {
    const [from, to] = box(Math.floor(((at + 0.5) * length) / GRID));
    const first = box(from)[0];
    const weights = new Array(box(to - 1)[1] - first).fill(0);
    for (let line = from; line < to; line += 1) {
      const [low, high] = box(line);
      for (let other = low; other < high; other += 1) weights[other - first] += 1 / (to - from) / (high - low);
    }
    return { first, weights };
  });
}

// (rows, columns) to (64, columns).
function shrink(values, rows, columns, weights, backwards) {
  const small = new Float64Array(GRID * columns);
  weights.forEach(({ first, weights: counts }, row) => {
    counts.forEach((count, offset) => {
      const line = backwards ? rows - 1 - first - offset : first + offset;
      for (let x = 0; x < columns; x += 1) small[row * columns + x] += count * values[line * columns + x];
    });
  });
  return small;
}

function turned(values, rows, columns) {
  const other = new Float64Array(values.length);
  for (let y = 0; y < rows; y += 1) for (let x = 0; x < columns; x += 1) other[x * rows + y] = values[y * columns + x];
  return other;
}

const transposed = (grid) => turned(grid, GRID, GRID);

function frequencies(grid) {
  const half = new Float64Array(16 * GRID); // DCT along the columns
  for (let i = 0; i < 16; i += 1) {
    for (let x = 0; x < GRID; x += 1) {
      let sum = 0;
      for (let y = 0; y < GRID; y += 1) sum += WAVES[i][y] * grid[y * GRID + x];
      half[i * GRID + x] = sum;
    }
  }
  const found = new Float64Array(256);
  for (let i = 0; i < 16; i += 1) {
    for (let j = 0; j < 16; j += 1) {
      let sum = 0;
      for (let x = 0; x < GRID; x += 1) sum += WAVES[j][x] * half[i * GRID + x];
      found[16 * i + j] = sum;
    }
  }
  return found;
}

const WAVES = Array.from({ length: 16 }, (_, i) =>
  Array.from({ length: GRID }, (__, j) => Math.sqrt(2 / GRID) * Math.cos((Math.PI / 2 / GRID) * (i + 1) * (2 * j + 1))),
);

function bits(values) {
  const median = [...values].sort((one, other) => one - other)[127]; // the lower one of the two in the middle
  const bytes = new Uint8Array(32);
  values.forEach((value, at) => { if (value > median) bytes[31 - (at >> 3)] |= 1 << (at & 7); });
  return bytes;
}

function qualityOf(grid) {
  let steps = 0;
  for (let y = 0; y < GRID; y += 1) {
    for (let x = 0; x < GRID; x += 1) {
      const here = grid[y * GRID + x];
      if (x + 1 < GRID) steps += Math.abs(Math.trunc(((grid[y * GRID + x + 1] - here) * 100) / 255));
      if (y + 1 < GRID) steps += Math.abs(Math.trunc(((grid[(y + 1) * GRID + x] - here) * 100) / 255));
    }
  }
  return Math.min(Math.floor(steps / 90), 100);
}

const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");

// --- the page --------------------------------------------------------------------------------------------------------

const tool = document.getElementById("codes-tool");
if (tool) {
  const file = document.getElementById("codes-file");
  const form = document.getElementById("codes-form");
  const error = document.getElementById("codes-error");
  const status = document.getElementById("codes-status");
  const say = tool.dataset; // the sentences, in the page's language
  let newest = 0;

  const show = (sentence, ready) => {
    error.textContent = sentence;
    error.hidden = !sentence;
    if (sentence) file.setAttribute("aria-invalid", "true"); else file.removeAttribute("aria-invalid");
    form.hidden = !ready;
  };

  file.addEventListener("change", async () => {
    const chosen = file.files[0];
    const mine = ++newest;
    show("", false);
    status.textContent = chosen ? say.working : "";
    if (!chosen) return;
    let found;
    try {
      found = await codesOf(chosen);
    } catch (problem) {
      if (mine !== newest) return; // another picture was chosen meanwhile
      status.textContent = "";
      show(say[problem instanceof NoCodes ? problem.message : "unreadable"] ?? say.unreadable, false);
      return;
    }
    if (mine !== newest) return;
    for (const name of ["sha256", "quality", "width", "height"]) form.elements[name].value = found[name];
    form.elements.codes.value = found.codes.join(" ");
    status.textContent = say.ready;
    show("", true);
  });

  // A page that comes back from the browser's memory must not send the codes of a picture that is no longer chosen.
  addEventListener("pageshow", () => { if (!file.files.length) show("", false); });
  document.documentElement.classList.add("script");
}
