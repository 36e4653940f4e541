// Several photographs: a few at a time, and all of them in one zip.

import { blob, cancel, follow, order } from "./service.js";
import { zipped } from "./zip.js";

const AT_ONCE = 4;
const PICTURES = /\.(png|jpe?g|webp|tiff?|bmp|gif|avif|heic|heif|jxl|jp2)$/i;

// Files of a drop, of whole folders, too; each with its path.
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const files = (await Promise.all(entries.map(walk))).flat().filter(isPicture);
  return files.sort((one, other) => (one.place < other.place ? -1 : 1));
}

export function isPicture(file) {
  return PICTURES.test(file.name);
}

async function walk(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    file.place = entry.fullPath.replace(/^\//, "");
    return [file];
  }
  const reader = entry.createReader();
  const entries = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    entries.push(...some);
  }
  return (await Promise.all(entries.map(walk))).flat();
}

// Colours all; `formOf` makes a photograph's order, `onProgress` gets the share that is done.
// Returns the zip, how many are in it, and a sentence for each that failed.
export async function coloured(files, formOf, onProgress, isWanted) {
  const results = new Map();
  const failed = [];
  const waiting = [...files];
  let done = 0;

  async function work() {
    while (waiting.length && isWanted()) {
      const file = waiting.shift();
      try {
        results.set(file, await one(formOf(file), isWanted));
      } catch (error) {
        failed.push(`${file.name}: ${error.message}`);
      }
      done += 1;
      onProgress(done / files.length);
    }
  }

  await Promise.all(Array.from({ length: AT_ONCE }, work));
  const taken = new Set();
  const named = files.filter((file) => results.has(file)).map((file) => [name(file, taken), results.get(file)]);
  return { zip: isWanted() ? await zipped(named) : null, count: named.length, failed };
}

async function one(form, isWanted) {
  const job = await order(form, isWanted);
  const [picture] = await follow(job, () => isWanted() || cancel(job));
  if (picture.error) throw new Error(picture.error);
  const file = await blob(job.pictures[0]);
  await cancel(job); // nobody asks for it again
  return file;
}

// Where a result is in the zip: as its photograph in the folder, and another name where two are alike.
function name(file, taken) {
  const path = (file.place || file.webkitRelativePath || file.name).replace(/\.[^.]*$/, "");
  let result = `${path}.png`;
  for (let number = 2; taken.has(result); number += 1) result = `${path}-${number}.png`;
  taken.add(result);
  return result;
}
