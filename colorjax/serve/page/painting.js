// What a person paints on the photograph: strokes of colour, and a mask for each phrase.
// Strokes are kept as lines in fractions of the photograph, so that each can be taken back, and
// are drawn at whatever size is asked for.

import * as brush from "./brush.js";
import { at, isPressed, press } from "./dom.js";

const COLOUR = ""; // the layer of strokes; the others are called as their phrases
const SHADE = "#00a0ff";
const MOST = 2048; // pixels of the longer side of what is sent
const state = { base: null, strokes: [], now: null, onPick: null };

export function begin(onPick) {
  state.onPick = onPick;
  const end = () => { state.now = null; };
  const name = () => at("layer").value || at("ink").value;
  brush.begin({ canPaint: hasBase, begin: start, extend, end, undo, draw, name });
  at("undo").addEventListener("click", undo);
  at("clear").addEventListener("click", () => { state.strokes = []; draw(); });
  at("layer").addEventListener("change", draw);
  at("size").addEventListener("input", draw);
  at("dropper").addEventListener("click", () => press(at("dropper"), !isPressed(at("dropper"))));
}

// Another photograph to paint on, without what was painted on the last one.
export function setBase(bitmap) {
  brush.lift();
  state.base = bitmap;
  state.strokes = [];
  draw();
}

export function hasBase() {
  return state.base !== null;
}

// The phrases that can have a mask; what was painted for others is forgotten.
export function setPhrases(phrases) {
  const chosen = at("layer").value;
  at("layer").replaceChildren(new Option("Colour", COLOUR),
    ...phrases.map((phrase) => new Option(`Mask: ${phrase}`, phrase)));
  at("layer").value = phrases.includes(chosen) ? chosen : COLOUR;
  state.strokes = state.strokes.filter(({ layer }) => layer === COLOUR || phrases.includes(layer));
  draw();
}

// What there is to send: a PNG of strokes or null, and one for each phrase or none.
export async function painted(phrases) {
  const layers = new Set(state.strokes.map(({ layer }) => layer));
  const masked = phrases.filter((phrase) => layers.has(phrase));
  if (masked.length && masked.length < phrases.length) {
    const missing = phrases.filter((phrase) => !layers.has(phrase)).join(", ");
    throw new Error(`Paint a mask for each phrase or for none; there is none for: ${missing}.`);
  }
  return {
    strokes: layers.has(COLOUR) ? await png(COLOUR) : null,
    layers: await Promise.all(masked.map(png)),
  };
}

// Begins a line, or takes a colour where the eyedropper is pressed; whether it is a line.
function start(point) {
  if (!state.base) return false;
  if (isPressed(at("dropper"))) {
    press(at("dropper"), false);
    const picked = state.onPick(point);
    if (picked) at("ink").value = picked;
    return false;
  }
  state.now = { layer: at("layer").value, ink: at("ink").value, size: at("size").value / 200, points: [] };
  state.strokes.push(state.now);
  extend(point);
  return true;
}

function extend(point) {
  state.now.points.push(point);
  draw();
}

// Whether there was a line to take back.
function undo() {
  const last = state.strokes.pop();
  draw();
  return last !== undefined;
}

function lines(context, layer, width, height, ink) {
  for (const stroke of state.strokes.filter((one) => one.layer === layer)) {
    context.strokeStyle = ink ?? stroke.ink;
    context.lineWidth = stroke.size * Math.max(width, height);
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    const [first, ...others] = stroke.points.map(([x, y]) => [x * width, y * height]);
    context.moveTo(...first);
    for (const point of others.length ? others : [first]) context.lineTo(...point);
    context.stroke();
  }
}

function draw() {
  at("undo").disabled = at("clear").disabled = !state.strokes.length;
  if (!state.base) return;
  const canvas = at("canvas");
  const shrink = Math.min(1, 1024 / Math.max(state.base.width, state.base.height));
  canvas.width = Math.max(1, Math.round(state.base.width * shrink));
  canvas.height = Math.max(1, Math.round(state.base.height * shrink));
  const context = canvas.getContext("2d");
  context.filter = "grayscale(1)";
  context.drawImage(state.base, 0, 0, canvas.width, canvas.height);
  context.filter = "none";
  const layer = at("layer").value;
  context.globalAlpha = layer === COLOUR ? 1 : 0.5;
  lines(context, layer, canvas.width, canvas.height, layer === COLOUR ? null : SHADE);
  context.globalAlpha = 1;
  const place = brush.shown();
  if (place) ring(context, place, canvas.width, canvas.height);
}

// The keys' brush, in its size; light within dark, to be seen on every photograph.
function ring(context, [x, y], width, height) {
  const pixel = Math.max(1, width / at("canvas").clientWidth); // as wide on a phone
  const radius = Math.max(4 * pixel, (at("size").value / 400) * Math.max(width, height));
  for (const [thickness, colour] of [[5, "#000000"], [2, "#ffffff"]]) {
    context.lineWidth = thickness * pixel;
    context.strokeStyle = colour;
    context.beginPath();
    context.arc(x * width, y * height, radius, 0, 2 * Math.PI);
    context.stroke();
  }
}

function png(layer) {
  const shrink = Math.min(1, MOST / Math.max(state.base.width, state.base.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(state.base.width * shrink));
  canvas.height = Math.max(1, Math.round(state.base.height * shrink));
  lines(canvas.getContext("2d"), layer, canvas.width, canvas.height, layer === COLOUR ? null : "#ffffff");
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
