"use strict";

const at = (id) => document.getElementById(id);
const state = { photo: null, job: null, shown: 0, urls: {} };

// Calls the service, with its token where it asks for one; errors are its sentences.
async function call(path, options = {}) {
  const token = sessionStorage.getItem("token");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) {
    const entered = window.prompt("The service's token");
    if (!entered) throw new Error("The service asks for its token.");
    sessionStorage.setItem("token", entered);
    return call(path, options);
  }
  if (!response.ok) {
    const said = await response.json().catch(() => null);
    throw new Error(said?.error?.message ?? `The service answers ${response.status}.`);
  }
  return response;
}

function tell(text) {
  at("status").textContent = text;
}

// Shows a file in an image's place and frees what was there.
function show(name, image, blob) {
  if (state.urls[name]) URL.revokeObjectURL(state.urls[name]);
  state.urls[name] = URL.createObjectURL(blob);
  image.src = state.urls[name];
  return state.urls[name];
}

function take(file) {
  if (!file) return;
  state.photo = file;
  at("name").textContent = file.name;
  at("start").disabled = false;
  at("result").hidden = true;
}

function order() {
  const form = new FormData();
  form.append("photo", state.photo);
  const texts = { prompt: "prompt", negative: "negative_prompt", guidance: "guidance_scale" };
  for (const [id, name] of Object.entries(texts)) {
    if (at(id).value.trim()) form.append(name, at(id).value);
  }
  form.append("seed", at("seed").value || "0");
  form.append("variations", at("count").value || "1");
  return form;
}

// Reads server-sent events to their end.
async function follow(job, onEvent) {
  const reader = (await call(job.events)).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (text + value).split("\n\n");
    text = events.pop();
    for (const event of events) onEvent(JSON.parse(event.split("\ndata: ")[1]));
  }
}

async function colour(event) {
  event.preventDefault();
  at("start").disabled = true;
  at("cancel").hidden = false;
  tell("Sending the photograph.");
  try {
    state.job = await (await call("api/colorize", { method: "POST", body: order() })).json();
    const job = state.job;
    let pictures = [];
    await follow(job, (now) => {
      pictures = now.pictures;
      const done = pictures.filter((picture) => picture.done).length;
      const before = now.position ? `, ${now.position} before it` : "";
      tell(`${done} of ${pictures.length} done${before}.`);
    });
    const failed = pictures.find((picture) => picture.error);
    if (state.job !== job) return;
    if (failed) throw new Error(failed.error);
    tell(["Done.", ...job.notes].join(" "));
    await reveal(pictures);
  } catch (error) {
    tell(error.message);
  } finally {
    at("start").disabled = false;
    at("cancel").hidden = true;
  }
}

async function cancel() {
  const job = state.job;
  state.job = null;
  if (job) await call(job.events, { method: "DELETE" }).catch(() => null);
  tell("Cancelled.");
}

async function reveal(pictures) {
  for (const [id, value] of [["vividness", 1], ["warm", 0], ["magenta", 0]]) at(id).value = value;
  at("choices").replaceChildren(...pictures.map((picture, number) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `Seed ${picture.seed}`;
    button.addEventListener("click", () => choose(number));
    return button;
  }));
  at("choices").hidden = pictures.length === 1;
  // Gray in every browser's eyes: the photograph as the service reads it, without its colours.
  show("before", at("before"), await (await call(`${state.job.pictures[0]}?vividness=0`)).blob());
  at("result").hidden = false;
  slide();
  await choose(0);
}

async function choose(number) {
  state.shown = number;
  [...at("choices").children].forEach((button, i) => button.setAttribute("aria-pressed", i === number));
  const looks = ["vividness", "warm", "magenta"].map((id) => `${id}=${at(id).value}`).join("&");
  try {
    const blob = await (await call(`${state.job.pictures[number]}?${looks}`)).blob();
    at("download").href = show("after", at("after"), blob);
  } catch (error) {
    tell(error.message);
  }
}

function slide() {
  at("before").style.clipPath = `inset(0 ${100 - at("slider").value}% 0 0)`;
}

let waiting;
function look() {
  clearTimeout(waiting);
  waiting = setTimeout(() => choose(state.shown), 150);
}

at("form").addEventListener("submit", colour);
at("cancel").addEventListener("click", cancel);
at("photo").addEventListener("change", (event) => take(event.target.files[0]));
at("slider").addEventListener("input", slide);
for (const id of ["vividness", "warm", "magenta"]) at(id).addEventListener("input", look);
at("dice").addEventListener("click", () => {
  at("seed").value = crypto.getRandomValues(new Uint32Array(1))[0];
});
at("examples").addEventListener("click", (event) => {
  if (event.target.tagName === "BUTTON") at("prompt").value = event.target.textContent;
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  at("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files[0]);
  });
}
window.addEventListener("paste", (event) => take(event.clipboardData.files[0]));
