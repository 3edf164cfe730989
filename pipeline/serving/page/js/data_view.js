/** What is shown, as JSON to read, copy and save. */

import { button, make } from "./dom.js";

export class DataView {
  /** @param {HTMLDialogElement} dialog @param {(text: string) => void} copy */
  constructor(dialog, copy) {
    this.dialog = dialog;
    this.copy = copy;
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => dialog.replaceChildren());
  }

  show(data) {
    const text = JSON.stringify(data, null, 2);
    const title = make("h2", { id: "data-title", tabindex: "-1" }, "What is shown, as JSON");
    this.dialog.replaceChildren(
      make(
        "header",
        {},
        title,
        button({ symbol: "close", class: "quiet", "aria-label": "Close", title: "Close (Esc)" }, () =>
          this.dialog.close(),
        ),
      ),
      make(
        "div",
        { class: "ends" },
        button({ symbol: "save", text: "Save", class: "main" }, () => save(text)),
        button({ symbol: "copy", text: "Copy" }, () => this.copy(text)),
      ),
      make("pre", { tabindex: "0", role: "region", "aria-label": "JSON" }, text),
    );
    this.dialog.showModal();
    title.focus();
  }
}

/** The request without the photos of the user's, and all results. */
export function dataOf(listings, address) {
  return {
    address,
    answers: listings.map(({ request, answer, results }) => ({
      request: withoutImages(request),
      set: answer?.set,
      index: answer?.index,
      notes: answer?.notes,
      results,
    })),
  };
}

function withoutImages(request) {
  if (!request.terms) return request;
  return {
    ...request,
    terms: request.terms.map((term) => (term.image ? { ...term, image: "(a photo of your own)" } : term)),
  };
}

function save(text) {
  const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  make("a", { href: address, download: "photos.json" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
