// The coloured photograph: before and after, its variations, its look, where it is a guess.

import { at, isPressed, press, show, tell, tile } from "./dom.js";
import { blob, call } from "./service.js";

const LOOKS = { vividness: 1, warm: 0, magenta: 0 };
const state = { job: null, number: 0, after: null };

export function begin() {
  at("slider").addEventListener("input", slide);
  let waiting;
  for (const id of Object.keys(LOOKS)) {
    at(id).addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => choose(state.number), 150);
    });
  }
  at("doubtful").addEventListener("click", doubt);
}

// Shows a finished job's pictures; the gray one and what was made, for the history.
export async function reveal(job, pictures, filename) {
  state.job = job;
  for (const [id, value] of Object.entries(LOOKS)) at(id).value = value;
  // Gray in every browser's eyes: the photograph as the service reads it, without its colours.
  const before = await blob(`${job.pictures[0]}?vividness=0`);
  const files = await Promise.all(job.pictures.map(blob));
  at("choices").replaceChildren(
    ...files.map((file, number) => tile(file, `Seed ${pictures[number].seed}`, () => choose(number))));
  at("choices").hidden = files.length === 1;
  at("looks").hidden = false;
  at("doubtful").hidden = files.length === 1;
  at("download").download = `${filename.replace(/\.[^.]*$/, "")}.coloured.png`;
  close();
  open(before, files[0]);
  mark(0);
  return { before, after: files[0] };
}

// Shows two files without a job: nothing of them can be changed.
export function recall(before, after) {
  state.job = null;
  at("choices").hidden = at("looks").hidden = at("doubtful").hidden = true;
  close();
  open(before, after);
}

function open(before, after) {
  show(at("before"), before);
  at("download").href = show(at("after"), after);
  at("result").hidden = false;
  at("preview").hidden = true;
  slide();
}

function close() {
  at("doubt").hidden = true;
  press(at("doubtful"), false);
}

function mark(number) {
  state.number = number;
  [...at("choices").children].forEach((button, i) => press(button, i === number));
}

async function choose(number) {
  const job = state.job;
  if (!job) return;
  mark(number);
  const looks = Object.keys(LOOKS).map((id) => `${id}=${at(id).value}`).join("&");
  try {
    const file = await blob(`${job.pictures[number]}?${looks}`);
    if (job === state.job && number === state.number) at("download").href = show(at("after"), file);
  } catch (error) {
    tell(error.message);
  }
}

async function doubt() {
  const shown = !isPressed(at("doubtful"));
  press(at("doubtful"), shown);
  at("doubt").hidden = true;
  if (!shown) return;
  try {
    const response = await call(`${state.job.events}/doubt`);
    show(at("doubt"), await response.blob());
    at("doubt").hidden = false;
    tell(`The variations lie ${response.headers.get("X-doubt-mean")} apart in the mean, in units of`
      + " CIE Lab; bright is doubtful.");
  } catch (error) {
    press(at("doubtful"), false);
    tell(error.message);
  }
}

function slide() {
  at("before").style.clipPath = `inset(0 ${100 - at("slider").value}% 0 0)`;
}

// The colour of what is shown at a place in fractions, as #rrggbb; null if nothing is.
export function colourAt([x, y]) {
  const image = at("after");
  if (at("result").hidden || !image.naturalWidth) return null;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d");
  const left = Math.min(image.naturalWidth - 1, Math.floor(x * image.naturalWidth));
  const top = Math.min(image.naturalHeight - 1, Math.floor(y * image.naturalHeight));
  context.drawImage(image, left, top, 1, 1, 0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return `#${[red, green, blue].map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}
