/** Short news at the edge of the page, read out by screen readers. */

const SHOWN = 8000;

export class Toast {
  /** @param {HTMLElement} element a live region. */
  constructor(element) {
    this.element = element;
  }

  say(text) {
    clearTimeout(this.timer);
    this.element.textContent = text;
    // A dialog covers what lies outside of it.
    (document.querySelector("dialog[open]") ?? document.body).append(this.element);
    this.timer = setTimeout(() => {
      this.element.textContent = "";
    }, SHOWN);
  }

  /** Copies a text; where the browser does not allow that (without HTTPS), shows it to be copied. */
  async copy(text, what) {
    try {
      await navigator.clipboard.writeText(text);
      this.say(`${what} copied.`);
    } catch {
      this.say(`Your browser does not let this page copy. ${what}: ${text.slice(0, 500)}`);
    }
  }
}
