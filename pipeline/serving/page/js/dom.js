/** Elements without markup: whatever a text holds, it is shown as text. */

/**
 * Makes an element.
 * @param {string} tag
 * @param {object} properties attributes (false and null: left out; true: without a value), and `on` (event -> listener),
 *   `style` (CSS property -> value, which a strict policy allows from scripts alone) and `dataset`.
 * @param {...(Node|string|null|false)} children
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "style") {
      for (const [property, setting] of Object.entries(value)) element.style.setProperty(property, setting);
    } else if (name === "dataset") {
      Object.assign(element.dataset, value);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** One of the symbols of index.html, for decoration. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** A button with an icon, a text or both. */
export function button({ symbol, text, ...properties }, listener) {
  return make(
    "button",
    { type: "button", ...properties, on: { click: listener } },
    symbol && icon(symbol),
    text && make("span", {}, text),
  );
}

const ACTING = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;
const JOINERS = new Set(["\u200c", "\u200d"]);

/** Text of others, with control characters and direction marks made visible, so that no name can pass for another. */
export function printable(text) {
  return String(text).replace(ACTING, (letter) =>
    JOINERS.has(letter) ? letter : `\\u{${letter.codePointAt(0).toString(16)}}`,
  );
}

/** A name of others, whose direction of writing stays its own. */
export function name(text, properties = {}) {
  return make("bdi", properties, printable(text));
}

/** `1 photo`, `1,234 photos`. */
export function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}
