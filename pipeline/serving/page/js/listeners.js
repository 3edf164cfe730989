/** What the controls around the photos do. */

import { dataOf } from "./data_view.js";
import { watchForPhotos } from "./intake.js";
import { asks } from "./state.js";

/** @param {import("./app.js").App} app */
export function listen(app) {
  const { elements } = app;
  elements.search.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = elements.text.value.trim();
    if (asks({ ...app.state, text })) app.forget(); // the same words again: ask again
    app.go({ text });
  });
  elements.set.addEventListener("change", () => {
    const { compare } = app.state;
    app.go({ set: elements.set.value, compare: compare === elements.set.value ? "" : compare });
  });
  elements.compare.addEventListener("change", () => app.go({ compare: elements.compare.value }));
  elements["filters-button"].addEventListener("click", () => {
    elements.filters.hidden = !elements.filters.hidden;
    elements["filters-button"].setAttribute("aria-expanded", String(!elements.filters.hidden));
  });
  elements.boxes.addEventListener("click", () => {
    const hidden = document.body.classList.toggle("no-boxes");
    elements.boxes.setAttribute("aria-pressed", String(!hidden));
  });
  elements.link.addEventListener("click", () => {
    const own = app.state.terms.some(({ upload }) => upload);
    if (own) app.toast.say("There is no link to this search: a photo of your own is not part of it.");
    else app.toast.copy(location.href, "Link");
  });
  elements.json.addEventListener("click", () => app.data.show(dataOf(app.results.listings, location.href)));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input:not([type=checkbox]), select, textarea, dialog")) return;
    event.preventDefault();
    elements.text.focus({ preventScroll: true });
    elements.text.select();
  });
  addEventListener("online", () => app.again());
  addEventListener("scroll", () => app.keepScroll(), { passive: true });
  watchForPhotos({ chooser: elements.choose, input: elements.file, veil: elements.veil }, (file) =>
    app.actions.take(file),
  );
}
