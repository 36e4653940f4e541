// What was made earlier, kept in this browser's own database and sent nowhere.

import { at, tile } from "./dom.js";

const MOST = 20;

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("colorjax", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("pictures", { autoIncrement: true });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function within(mode, work) {
  const database = await opened();
  try {
    const transaction = database.transaction("pictures", mode);
    const request = work(transaction.objectStore("pictures"));
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
    return request?.result;
  } finally {
    database.close();
  }
}

// Keeps a picture: { name, prompt, before, after }, the files as Blobs.
export async function keep(picture) {
  await within("readwrite", (store) => {
    store.add(picture);
    store.getAllKeys().onsuccess = (event) => {
      for (const key of event.target.result.slice(0, -MOST)) store.delete(key);
    };
  });
}

export async function list(onChoose) {
  const pictures = (await within("readonly", (store) => store.getAll())).reverse();
  at("earlier").replaceChildren(
    ...pictures.map((one) => tile(one.after, one.prompt || one.name, () => onChoose(one))));
  at("history").hidden = !pictures.length;
}

export function forget() {
  return within("readwrite", (store) => store.clear());
}
