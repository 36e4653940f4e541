// The brush on the canvas, moved by mouse, finger or keys, and what it does told in words.

import { at, isPressed } from "./dom.js";

const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const FAR = 1 / 25; // of the photograph, for a press of an arrow key
const NEAR = 1 / 200; // with Shift
const state = { place: [0.5, 0.5], byKeys: false, isDown: false };
let hand = null;

// `to` paints: canPaint(), begin(place) -> whether a line begins, extend(place), end(), undo(),
// draw(), and name(), what is painted.
export function begin(to) {
  hand = to;
  const canvas = at("canvas");
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    lift();
    Object.assign(state, { place: pointed(event), byKeys: false });
    lower();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (state.isDown && !state.byKeys) move(pointed(event));
  });
  for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, lift);
  canvas.addEventListener("keydown", byKey);
  canvas.addEventListener("blur", () => { lift(); hand.draw(); });
  canvas.addEventListener("focus", () => {
    state.byKeys = canvas.matches(":focus-visible");
    hand.draw();
    if (state.byKeys) say();
  });
}

// Where the keys' brush is, to be drawn; null where it is moved by something that is seen anyway.
export function shown() {
  return state.byKeys && document.activeElement === at("canvas") ? state.place : null;
}

// Ends the line, as lifting a pen does.
export function lift() {
  state.isDown = false;
  hand.end();
}

function lower() {
  state.isDown = hand.begin(state.place);
}

function move(place) {
  state.place = place;
  if (state.isDown) hand.extend(place);
  else hand.draw();
}

function pointed(event) {
  const box = at("canvas").getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

function byKey(event) {
  const isUndo = event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey);
  const step = MOVES[event.key];
  if (!step && !isUndo && ![" ", "Escape"].includes(event.key)) return;
  event.preventDefault();
  state.byKeys = true;
  if (step) {
    const length = event.shiftKey ? NEAR : FAR;
    move(state.place.map((value, axis) => Math.min(1, Math.max(0, value + step[axis] * length))));
    say();
  } else if (!event.repeat) press(event.key, isUndo);
}

function press(key, isUndo) {
  if (isUndo) {
    lift();
    say(hand.undo() ? "Taken back." : "There is nothing to take back.");
  } else if (state.isDown) {
    lift();
    say("The line ends.");
  } else if (key === " ") {
    const picks = isPressed(at("dropper"));
    lower();
    say(state.isDown ? "A line begins." : picks ? `Picked ${at("ink").value}.` : "");
  }
  hand.draw();
}

// For those who do not see the brush: what happened, where it is, and whether it paints.
function say(happened = "") {
  if (!hand.canPaint()) {
    at("brush").textContent = "There is no photograph to paint on yet.";
    return;
  }
  const [across, down] = state.place.map((value) => Math.round(100 * value));
  const paints = state.isDown ? `Painting ${hand.name()}` : "The brush is up";
  at("brush").textContent = `${happened} ${paints}, ${across} % across, ${down} % down.`.trim();
}
