/** The panel of filters. */

import { button, make } from "./dom.js";
import { Press } from "./press.js";
import { ValueList } from "./value_list.js";

const LABELS = "labels";
const FOLD = 0.98;

export class FilterPanel {
  /**
   * @param {HTMLFormElement} form the empty panel.
   * @param {(changes: object) => void} changed called with the `filters`, `minScore`, `fold` and `exact` of a new state.
   */
  constructor(form, changed) {
    this.form = form;
    this.changed = changed;
    // What a click on the panel ends (an input that loses the focus) may add chips above, which move the panel.
    const press = new Press();
    const tell = () => press.after(() => this.#tell());
    this.labels = make("datalist", { id: LABELS });
    this.lists = {
      has: new ValueList({ id: "has", label: "Shows", hint: "a label, such as dog", suggestions: LABELS, press }, tell),
      without: new ValueList(
        { id: "without", label: "Does not show", hint: "a label", suggestions: LABELS, press },
        tell,
      ),
      path: new ValueList({ id: "path", label: "Path", hint: "a pattern, such as 2024/*", length: 500, press }, tell),
    };
    this.smaller = number("smaller", { min: 0, max: 100, step: "any" });
    this.larger = number("larger", { min: 0, max: 100, step: "any" });
    this.from = make("input", { type: "date", id: "taken_from" });
    this.to = make("input", { type: "date", id: "taken_to" });
    this.width = number("min_width", { min: 1, max: 1000000, step: 1 });
    this.height = number("min_height", { min: 1, max: 1000000, step: 1 });
    this.score = number("min_score", { min: -100, max: 100, step: "any" });
    this.folding = make("input", { type: "checkbox", id: "folding" });
    this.fold = number("fold", { min: 0.5, max: 1, step: 0.01 });
    this.exact = make("input", { type: "checkbox", id: "exact" });
    this.#build();
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", (event) => {
      const listed = Object.values(this.lists).some(({ input }) => input === event.target);
      if (!listed) tell();
    });
  }

  /** Labels to suggest, the most frequent first. */
  suggest(labels) {
    this.labels.replaceChildren(...labels.map((label) => make("option", { value: label })));
  }

  /** Shows what a state filters by. */
  show(state) {
    const { filters } = state;
    for (const [key, list] of Object.entries(this.lists)) list.set(filters[key] ?? []);
    this.smaller.value = percent(filters.smaller);
    this.larger.value = percent(filters.larger);
    this.from.value = filters.taken_from ?? "";
    this.to.value = filters.taken_to ?? "";
    this.width.value = filters.min_width ?? "";
    this.height.value = filters.min_height ?? "";
    this.score.value = state.minScore ?? "";
    this.folding.checked = state.fold !== null;
    this.fold.value = state.fold ?? FOLD;
    this.fold.disabled = !this.folding.checked;
    this.exact.checked = state.exact;
  }

  #tell() {
    this.fold.disabled = !this.folding.checked;
    // A number out of range is marked by the browser, and does not count until it is mended.
    const value = (input) => (input.value !== "" && input.checkValidity() ? Number(input.value) : null);
    const filters = {};
    for (const [key, list] of Object.entries(this.lists)) if (list.values.length) filters[key] = list.values;
    const numbers = {
      smaller: fraction(value(this.smaller)),
      larger: fraction(value(this.larger)),
      min_width: value(this.width),
      min_height: value(this.height),
    };
    for (const [key, each] of Object.entries(numbers)) if (each !== null) filters[key] = each;
    if (this.from.value) filters.taken_from = this.from.value;
    if (this.to.value) filters.taken_to = this.to.value;
    const fold = this.folding.checked ? (value(this.fold) ?? FOLD) : null;
    this.changed({ filters, minScore: value(this.score), fold, exact: this.exact.checked });
  }

  #build() {
    const { lists } = this;
    this.form.append(
      make("h2", {}, "Filters"),
      fields("Objects", lists.has.element, lists.without.element),
      fields("Size of an object, % of the photo", pair(["Smaller than", this.smaller], ["Larger than", this.larger])),
      fields("Taken", pair(["From", this.from], ["To", this.to])),
      fields("Photo", lists.path.element, pair(["Width from, px", this.width], ["Height from, px", this.height])),
      fields(
        "Hits",
        field("Score from", this.score),
        check("Fold photos that are nearly the same", this.folding),
        field("…if their cosine is at least", this.fold),
        check("Compare every photo, without the index", this.exact),
      ),
      make(
        "div",
        { class: "ends" },
        button({ text: "Clear all" }, () => {
          this.changed({ filters: {}, minScore: null, fold: null, exact: false });
        }),
      ),
      this.labels,
    );
  }
}

function number(id, limits) {
  return make("input", { type: "number", id, inputmode: "decimal", ...limits });
}

function fields(title, ...children) {
  return make("fieldset", {}, make("legend", {}, title), ...children);
}

function field(label, input) {
  return make("div", { class: "field" }, make("label", { for: input.id }, label), input);
}

function pair(...both) {
  return make("div", { class: "two-fields" }, ...both.map(([label, input]) => field(label, input)));
}

function check(label, input) {
  return make("label", { class: "check" }, input, make("span", {}, label));
}

function percent(fraction) {
  return fraction === undefined ? "" : String(Number((100 * fraction).toPrecision(6)));
}

function fraction(percentage) {
  return percentage === null ? null : Number((percentage / 100).toPrecision(6));
}
