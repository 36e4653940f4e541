// A zip of files as they are: pictures are compressed already.

const table = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit += 1) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = table[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

// Fields of two and four bytes, the lowest first.
function fields(...pairs) {
  const view = new DataView(new ArrayBuffer(pairs.reduce((sum, [size]) => sum + size, 0)));
  let place = 0;
  for (const [size, value] of pairs) {
    if (size === 2) view.setUint16(place, value, true);
    else view.setUint32(place, value, true);
    place += size;
  }
  return new Uint8Array(view.buffer);
}

const UTF8 = 0x0800; // of names
const DATE = 0x0021; // the first that there is: 1980-01-01

const MOST = 0xffff; // files
const MOST_BYTES = 0xffffffff;

// Takes [name, Blob] pairs whose names differ.
export async function zipped(files) {
  const bytes = files.reduce((sum, [, { size }]) => sum + size, 0);
  if (files.length > MOST || bytes > 0.99 * MOST_BYTES) {
    throw new Error("The pictures are more than a zip holds (4 GB); colour the folder in parts.");
  }
  const parts = [];
  const directory = [];
  let place = 0;
  for (const [name, blob] of files) {
    const bytes = new Uint8Array(await blob.arrayBuffer());
    const text = new TextEncoder().encode(name);
    const about = [[2, 20], [2, UTF8], [2, 0], [2, 0], [2, DATE], [4, crc32(bytes)],
      [4, bytes.length], [4, bytes.length], [2, text.length], [2, 0]];
    const header = fields([4, 0x04034b50], ...about);
    parts.push(header, text, blob);
    const more = [[2, 0], [2, 0], [2, 0], [4, 0], [4, place]];
    directory.push(fields([4, 0x02014b50], [2, 20], ...about, ...more), text);
    place += header.length + text.length + bytes.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const count = files.length;
  const end = fields([4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, size], [4, place], [2, 0]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}
