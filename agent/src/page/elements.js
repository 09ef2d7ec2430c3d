// Elements made and kept up to date. Whatever is shown goes through `textContent`, so that what a label holds is never markup.

import { ago, until } from "./texts.js";

const SVG = "http://www.w3.org/2000/svg";

export const find = (id) => document.getElementById(id);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) set(element, name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// An element with attributes; texts among the children become text.
export function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function draw(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

// Changes an attribute, or takes it away. What is the same is left alone, so that nothing flickers or is read out again.
export function set(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) {
    element.setAttribute(name, value === true ? "" : String(value));
  }
}

export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Makes the children of `parent` those of `list`, in its order: one that is there by its key is updated and keeps its focus.
export function arrange(parent, list, key, create, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const one of list) {
    const name = String(key(one));
    let child = known.get(name);
    if (child) {
      known.delete(name);
    } else {
      child = create(one);
      child.dataset.key = name;
    }
    update(child, one);
    if (child === place) {
      place = place.nextElementSibling;
    } else {
      parent.insertBefore(child, place);
    }
  }
  known.forEach((child) => child.remove());
}

// Terms and values of a list of descriptions. A value is a text or an element.
export function describe(list, pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined);
  arrange(
    list,
    shown,
    ([term]) => term,
    ([term]) => make("div", {}, make("dt", {}, term), make("dd")),
    (child, [, value, kind]) => {
      const place = child.lastElementChild;
      set(place, "class", kind ?? null);
      if (typeof value === "string") {
        if (place.firstElementChild) place.replaceChildren();
        write(place, value);
      } else if (place.textContent !== value.textContent || place.firstElementChild?.dataset.time !== value.dataset.time) {
        place.replaceChildren(value);
      }
    },
  );
}

// The difference between the agent's clock and the browser's, milliseconds.
let ahead = 0;

export function setNow(time) {
  ahead = time - Date.now();
}

export const now = () => Date.now() + ahead;

// A time that is counted: `form` is ago or until.
export function moment(time, form = "ago") {
  const element = make("time");
  setMoment(element, time, form);
  return element;
}

export function setMoment(element, time, form = "ago") {
  if (time === null) {
    set(element, "data-time", null);
    set(element, "title", null);
    write(element, "–");
    return;
  }
  const exact = new Date(time).toISOString();
  set(element, "datetime", exact);
  set(element, "title", exact);
  set(element, "data-time", time);
  set(element, "data-form", form);
  count(element);
}

function count(element) {
  const form = element.dataset.form === "until" ? until : ago;
  write(element, form(Number(element.dataset.time), now()));
}

// Once a second, what is in sight of the reader goes on counting.
export function countAll() {
  document.querySelectorAll("time[data-time]").forEach(count);
}

// Says it to whoever listens instead of looking.
export function announce(text) {
  write(find("announcement"), text);
}
