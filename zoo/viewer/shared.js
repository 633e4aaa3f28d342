"use strict";
// What both pages need. Words of the data reach the page through text nodes alone.

const data = JSON.parse(document.getElementById("data").textContent);

/** Returns a new element with its children; what is no property is an attribute. */
function element(name, properties, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** Returns the weights, from 0 to 1, of base64 of 16 bits each, the low byte first. */
function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float64Array.from(
    { length: bytes.length / 2 },
    (_, place) => view.getUint16(2 * place, true) / 65535,
  );
}

function percent(weight) {
  return `${(100 * weight).toFixed(1)}\u00a0%`;
}

/** Colours an element by a weight; the root makes small weights visible. */
function shade(target, weight) {
  const depth = Math.sqrt(weight);
  target.style.setProperty("--depth", depth.toFixed(3));
  target.classList.toggle("deep", depth > 0.648);
}

/** Returns a group of radio buttons, of which each label holds its content. */
function choices(legend, name, contents, chosen, change) {
  const group = element("fieldset", {}, element("legend", { textContent: legend }));
  contents.forEach((content, place) => {
    const input = element("input", { type: "radio", name, checked: place === chosen });
    input.addEventListener("change", () => change(place));
    group.append(element("label", {}, input, content));
  });
  return group;
}

/** Returns whether a key is for the browser: one pressed with Ctrl, Alt or Meta. */
function modified(event) {
  return event.ctrlKey || event.altKey || event.metaKey;
}

/** Moves the focus among items by the arrow keys; `next` says where a key leads. */
function roving(items, first, next) {
  const move = (to) => items.forEach((item, place) => (item.tabIndex = place === to ? 0 : -1));
  move(first);
  items.forEach((item, place) => {
    item.addEventListener("focus", () => move(place));
    item.addEventListener("keydown", (event) => {
      const to = next(event.key, place);
      if (to === undefined || modified(event)) return;
      event.preventDefault();
      items[Math.min(Math.max(to, 0), items.length - 1)].focus();
    });
  });
}

/** Returns where a key leads in a line of tokens, or undefined. */
function along(key, place, count, leftward) {
  const forward = leftward ? "ArrowLeft" : "ArrowRight";
  const back = leftward ? "ArrowRight" : "ArrowLeft";
  return { [forward]: place + 1, [back]: place - 1, Home: 0, End: count - 1 }[key];
}

/** Returns a legend of the shades. */
function ramp() {
  const scale = element("div", { className: "ramp", role: "img" });
  scale.setAttribute("aria-label", "shades from 0 to 100 percent, darker for more");
  for (const weight of [0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1]) {
    const step = element("span", { textContent: `${100 * weight}` });
    shade(step, weight);
    scale.append(step);
  }
  return element("p", { className: "key" }, scale, " % of the attention");
}

/** Puts the viewer in the place of what stands there for those without scripts. */
function show(...parts) {
  const viewer = document.getElementById("viewer");
  viewer.append(...parts);
  viewer.hidden = false;
  document.getElementById("static").hidden = true;
}
