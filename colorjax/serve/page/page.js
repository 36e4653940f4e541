// The page: a photograph and what is wanted of it, to the service and back.

import * as batch from "./batch.js";
import { at, tell } from "./dom.js";
import * as history from "./history.js";
import * as painting from "./painting.js";
import * as result from "./result.js";
import * as service from "./service.js";

const state = { files: [], job: null, methods: [], phrases: [], isBusy: false, isWanted: false, zip: null };

// Where a field's value goes in an order.
const FIELDS = { prompt: "prompt", negative: "negative_prompt", guidance: "guidance_scale", method: "method" };

async function take(files) {
  if (!files.length) {
    tell("There is no photograph among these files.");
    return;
  }
  state.files = files;
  at("name").textContent = files.length === 1 ? files[0].name : `${files.length} photographs`;
  tell(files.length === 1 ? "" : `${files.length} photographs are chosen.`);
  enable();
  at("result").hidden = at("zip").hidden = true;
  at("steer").hidden = files.length > 1;
  // Formats that a browser cannot show are painted on once they are coloured.
  painting.setBase(files.length === 1 ? await createImageBitmap(files[0]).catch(() => null) : null);
}

// One job at a time, whatever is chosen meanwhile.
function enable() {
  at("start").disabled = state.isBusy || !state.files.length;
}

function orderOf(file) {
  const form = new FormData();
  form.append("photo", file);
  for (const [id, name] of Object.entries(FIELDS)) {
    if (at(id).value.trim()) form.append(name, at(id).value);
  }
  form.append("seed", at("seed").value || "0");
  return form;
}

async function orderOfOne(file) {
  const form = orderOf(file);
  form.append("variations", at("count").value || "1");
  if (!painting.hasBase()) return form;
  const { strokes, layers } = await painting.painted(state.phrases);
  if (strokes) form.append("strokes", strokes, "strokes.png");
  for (const layer of layers) form.append("layers", layer, "layer.png");
  return form;
}

async function colour(event) {
  event.preventDefault();
  state.isBusy = state.isWanted = true;
  enable();
  at("cancel").hidden = at("progress").hidden = false;
  at("progress").removeAttribute("value");
  try {
    await (state.files.length === 1 ? colourOne(state.files[0]) : colourAll(state.files));
  } catch (error) {
    if (state.isWanted) tell(error.message);
  } finally {
    state.job = null;
    state.isBusy = false;
    enable();
    at("cancel").hidden = at("progress").hidden = at("preview").hidden = true;
  }
}

async function colourOne(file) {
  tell("Sending the photograph.");
  const job = await service.order(await orderOfOne(file), () => state.isWanted);
  state.job = job;
  if (!state.isWanted) {
    await service.cancel(job);
    return;
  }
  const pictures = await service.follow(job, (name, said) => {
    if (!state.isWanted) return;
    if (name === "preview" && said.picture === 0) {
      at("preview").src = said.image;
      at("preview").hidden = false;
      at("result").hidden = true;
    } else if (said.pictures) told(said);
  });
  if (!state.isWanted) return;
  const failed = pictures.find((picture) => picture.error);
  if (failed) throw new Error(failed.error);
  tell(["Done.", ...job.notes].join(" "));
  const files = await result.reveal(job, pictures, file.name);
  if (!painting.hasBase() && state.files[0] === file) painting.setBase(await createImageBitmap(files.before));
  await history.keep({ name: file.name, prompt: at("prompt").value, ...files });
  await history.list(recall);
}

function told({ position, pictures }) {
  const share = ({ done, step, steps }) => (done ? 1 : steps ? step / steps : 0);
  const sum = pictures.reduce((total, picture) => total + share(picture), 0);
  if (sum) at("progress").value = sum / pictures.length;
  const done = pictures.filter((picture) => picture.done).length;
  const running = pictures.find((picture) => picture.steps && !picture.done);
  const step = running ? `, step ${running.step} of ${running.steps}` : "";
  const before = position ? `, ${position} before it` : "";
  tell(`${done} of ${pictures.length} done${step}${before}.`);
}

async function colourAll(files) {
  tell(`Colouring ${files.length} photographs.`);
  const { zip, count, failed } = await batch.coloured(files, orderOf, (share) => {
    at("progress").value = share;
  }, () => state.isWanted);
  if (!state.isWanted) return;
  tell([`${count} of ${files.length} photographs are coloured.`, ...failed].join(" "));
  if (state.zip) URL.revokeObjectURL(state.zip);
  state.zip = URL.createObjectURL(zip);
  Object.assign(at("zip"), { href: state.zip, download: "coloured.zip", hidden: !count });
}

async function cancel() {
  state.isWanted = false;
  if (state.job) await service.cancel(state.job);
  tell("Cancelled.");
}

function recall({ before, after, prompt, name }) {
  at("prompt").value = prompt;
  describe();
  at("download").download = `${name.replace(/\.[^.]*$/, "")}.coloured.png`;
  result.recall(before, after);
}

async function readPhrases() {
  describe();
  const query = new URLSearchParams({ prompt: at("prompt").value });
  state.phrases = at("prompt").value.trim() ? await service.json(`api/phrases?${query}`) : [];
  painting.setPhrases(state.phrases);
}

async function readMethods() {
  state.methods = await service.json("api/models");
  const titles = state.methods.map(({ title, method }) => new Option(title, method));
  at("method").replaceChildren(new Option("As the release has it", ""), ...titles);
  at("methods").hidden = state.methods.length < 2;
  describe();
}

// The usual values of the chosen method, or of what the release takes with a prompt or without one.
function describe() {
  if (!state.methods.length) return;
  const isChosen = ({ method }) => method === at("method").value;
  const [own] = state.methods;
  const usual = at("prompt").value.trim() ? own : own.unprompted ?? own;
  const chosen = state.methods.find(isChosen) ?? usual;
  const value = (name) => chosen.settings.find((row) => row.name === name)?.value ?? "";
  at("negative").placeholder = value("negative_prompt");
  at("guidance").placeholder = value("guidance_scale");
}

// The field is emptied, so that the same files can be chosen again.
function chosen(event, isWanted) {
  const files = [...event.target.files];
  event.target.value = "";
  if (files.length) take(files.filter(isWanted));
}

function listen() {
  at("form").addEventListener("submit", colour);
  at("cancel").addEventListener("click", cancel);
  at("method").addEventListener("change", describe);
  at("photo").addEventListener("change", (event) => chosen(event, () => true));
  at("folder").addEventListener("change", (event) => chosen(event, batch.isPicture));
  at("sample").addEventListener("click", async () => {
    take([new File([await service.blob("sample.jpg")], "sample.jpg", { type: "image/jpeg" })]);
  });
  at("dice").addEventListener("click", () => {
    at("seed").value = crypto.getRandomValues(new Uint32Array(1))[0];
  });
  at("examples").addEventListener("click", (event) => {
    if (event.target.tagName !== "BUTTON") return;
    at("prompt").value = event.target.textContent;
    readPhrases();
  });
  at("prompt").addEventListener("change", readPhrases);
  at("forget").addEventListener("click", () => history.forget().then(() => history.list(recall)));
  for (const kind of ["dragover", "dragleave", "drop"]) {
    at("drop").addEventListener(kind, async (event) => {
      event.preventDefault();
      at("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop") take(await batch.dropped(event.dataTransfer));
    });
  }
  window.addEventListener("paste", ({ clipboardData }) => {
    if (clipboardData.files.length) take([...clipboardData.files]);
  });
}

listen();
painting.begin(result.colourAt);
result.begin();
readMethods().catch((error) => tell(error.message));
history.list(recall).catch((error) => tell(`What was made earlier cannot be shown: ${error.message}`));
