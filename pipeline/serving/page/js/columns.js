/** The photos found: one column, or two sets side by side. */

import { makeCard, markChange } from "./card.js";
import { changeOf, summaryOf } from "./comparison.js";
import { make, name } from "./dom.js";
import { Grid } from "./grid.js";

export class Columns {
  /**
   * @param {HTMLElement} place where they go; what is there is removed.
   * @param {{title: string, listing: import("./listing.js").Listing}[]} columns one or two; of two, plain first.
   * @param {object} page what cards need, see card.js.
   */
  constructor(place, columns, page) {
    this.page = page;
    this.columns = columns.map((column, number) => this.#makeColumn(column, number, columns.length));
    this.comparing = columns.length === 2;
    const wrapper = make(
      "div",
      { class: this.comparing ? "columns two" : "columns", dataset: { shown: "1" } },
      ...this.columns.map(({ section }) => section),
    );
    this.summary = make("p", { class: "summary" });
    if (this.comparing) {
      place.replaceChildren(this.summary, this.#switch(wrapper, columns), wrapper);
      this.#linkColumns(wrapper);
    } else place.replaceChildren(wrapper);
  }

  /** Shows results that the listings have and the page has not yet. */
  update() {
    for (const column of this.columns) {
      const results = column.listing.results.slice(column.cards.length);
      const cards = results.map((hit) => makeCard(hit, this.page));
      column.cards.push(...cards);
      column.grid.append(cards);
      column.none.hidden = column.cards.length > 0;
    }
    if (this.comparing) this.#compare();
  }

  /** All results, column after column. */
  get results() {
    return this.columns.flatMap(({ listing }) => listing.results);
  }

  /** Puts the focus on a photo by its key, or on result number `place` of the first column. */
  focus(keyOrPlace) {
    for (const { grid, cards } of this.columns) {
      const card = typeof keyOrPlace === "number" ? cards[keyOrPlace] : grid.find(keyOrPlace);
      if (card) {
        grid.focus(card);
        return;
      }
    }
  }

  #makeColumn({ title, listing }, number, count) {
    const grid = new Grid(count === 1 ? "Photos, best first" : `Photos of ${title}, best first`);
    const none = make("p", { class: "none", hidden: true }, "Nothing found here.");
    const heading = count === 2 && make("h3", {}, name(title));
    const section = make("section", { class: "column", dataset: { number: String(number) } }, heading, grid.list, none);
    return { title, listing, grid, section, none, cards: [] };
  }

  #compare() {
    const [before, after] = this.columns;
    const count = Math.min(before.cards.length, after.cards.length);
    this.summary.textContent = summaryOf(before.listing.results, after.listing.results);
    for (const [column, other, side] of [
      [before, after, "before"],
      [after, before, "after"],
    ]) {
      column.cards.forEach((card, place) => {
        markChange(card, changeOf(column.listing.results[place], other.title, side, count));
      });
    }
  }

  /** On a narrow screen one column is shown at a time. */
  #switch(wrapper, columns) {
    const buttons = columns.map(({ title }, number) =>
      make(
        "button",
        {
          type: "button",
          "aria-pressed": String(number === 1),
          on: {
            click: () => {
              wrapper.dataset.shown = String(number);
              buttons.forEach((each, place) => each.setAttribute("aria-pressed", String(place === number)));
            },
          },
        },
        name(title),
      ),
    );
    return make("div", { class: "switch", role: "group", "aria-label": "Set that is shown" }, ...buttons);
  }

  /** A photo under the pointer or with the focus is marked in the other column as well. */
  #linkColumns(wrapper) {
    const mark = (event, on) => {
      const card = event.target.closest(".card");
      if (!card) return;
      for (const { cards } of this.columns) {
        const twin = cards.find((each) => each !== card && each.dataset.id === card.dataset.id);
        twin?.classList.toggle("twin", on);
      }
    };
    for (const type of ["pointerover", "focusin"]) wrapper.addEventListener(type, (event) => mark(event, true));
    for (const type of ["pointerout", "focusout"]) wrapper.addEventListener(type, (event) => mark(event, false));
  }
}
