/** The history of states: each has an address, and what was shown for it comes back at once. */

import { addressOf, readState } from "./state.js";

const KEPT = 20;

export class Journal {
  /** @param {(state: object, kept: object|undefined) => void} arrive called when the user goes back or forward. */
  constructor(arrive) {
    this.kept = new Map();
    this.entry = history.state?.entry ?? newEntry();
    history.replaceState({ entry: this.entry }, "");
    history.scrollRestoration = "manual"; // the photos are not there yet when the browser would scroll
    addEventListener("popstate", (event) => {
      this.entry = event.state?.entry ?? newEntry();
      if (!event.state) history.replaceState({ entry: this.entry }, "");
      arrive(readState(location.search), this.kept.get(this.entry));
    });
  }

  push(state) {
    this.entry = newEntry();
    history.pushState({ entry: this.entry, stepped: true }, "", addressOf(state));
  }

  replace(state) {
    history.replaceState(history.state, "", addressOf(state));
  }

  /** Whether the entry before this one is the page's own. */
  get canReturn() {
    return Boolean(history.state?.stepped);
  }

  /** Keeps what is shown for the present entry. */
  keep(shown) {
    this.kept.delete(this.entry);
    this.kept.set(this.entry, shown);
    if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
  }
}

function newEntry() {
  return `${Date.now()}-${Math.random()}`;
}
