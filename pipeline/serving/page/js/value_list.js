/** An input that takes several values: each is added with Enter, and removed by its own button. */

import { button, make, name, printable } from "./dom.js";

export class ValueList {
  /**
   * @param {object} options
   * @param {string} options.id of the input.
   * @param {string} options.label what the values are.
   * @param {string} options.hint an example.
   * @param {string} [options.suggestions] id of a <datalist>.
   * @param {number} [options.length] most letters of a value.
   * @param {import("./press.js").Press} options.press
   * @param {(values: string[]) => void} changed
   */
  constructor({ id, label, hint, suggestions, press, length = 200 }, changed) {
    this.values = [];
    this.label = label;
    this.changed = changed;
    this.input = make("input", {
      id,
      type: "text",
      list: suggestions,
      placeholder: hint,
      maxlength: length,
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      on: {
        keydown: (event) => {
          if (event.key !== "Enter") return;
          event.preventDefault();
          this.#add();
        },
        // A suggestion that is chosen is not typed, letter by letter.
        input: (event) => (event.inputType ?? "insertReplacementText") === "insertReplacementText" && this.#add(),
        change: () => press.after(() => this.#add()),
      },
    });
    this.shown = make("ul", { class: "values", "aria-label": label, hidden: true });
    this.element = make("div", { class: "field" }, make("label", { for: id }, label), this.input, this.shown);
  }

  set(values) {
    this.values = [...values];
    this.shown.hidden = values.length === 0;
    this.shown.replaceChildren(
      ...values.map((value) =>
        make(
          "li",
          { class: "value" },
          name(value),
          button({ symbol: "close", class: "quiet", "aria-label": `Remove ${printable(value)}` }, () => {
            this.set(this.values.filter((each) => each !== value));
            this.input.focus();
            this.changed(this.values);
          }),
        ),
      ),
    );
  }

  #add() {
    const value = this.input.value.trim();
    this.input.value = "";
    if (!value || this.values.includes(value)) return;
    this.set([...this.values, value]);
    this.changed(this.values);
  }
}
