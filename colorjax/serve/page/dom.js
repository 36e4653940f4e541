// Elements by name, and pictures whose memory is given back.

export const at = (id) => document.getElementById(id);

const urls = {};

// Shows a file in an image's place and frees what was there.
export function show(image, blob) {
  if (urls[image.id]) URL.revokeObjectURL(urls[image.id]);
  urls[image.id] = URL.createObjectURL(blob);
  image.src = urls[image.id];
  return urls[image.id];
}

export function tell(text) {
  at("status").textContent = text;
}

export function press(button, isPressed) {
  button.setAttribute("aria-pressed", String(isPressed));
}

export function isPressed(button) {
  return button.getAttribute("aria-pressed") === "true";
}

// A button with a picture and a line below it.
export function tile(blob, text, onClick) {
  const button = document.createElement("button");
  const image = document.createElement("img");
  button.type = "button";
  image.alt = "";
  image.src = URL.createObjectURL(blob);
  image.addEventListener("load", () => URL.revokeObjectURL(image.src));
  button.append(image, text);
  button.addEventListener("click", onClick);
  return button;
}
