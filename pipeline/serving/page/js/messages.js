/** What stands where photos would: a welcome, nothing found, or a problem. */

import { button, counted, icon, make, name, printable } from "./dom.js";
import { describeProblem } from "./problems.js";

const EXAMPLES = 6;

/** Milliseconds between looks for a server that does not answer. */
const LOOK = 3000;

function panel(symbol, title, ...children) {
  return make("div", { class: "message" }, icon(symbol), make("h3", {}, title), ...children);
}

/** Before the first search. @param {object} set of /sets. @param {(text: string) => void} search */
export function welcome(set, filtered, search) {
  const labels = (set?.labels ?? []).slice(0, EXAMPLES);
  return panel(
    "search",
    "What are you looking for?",
    make(
      "p",
      {},
      filtered
        ? "Filters narrow a search: add words or a photo."
        : "Describe it in your own words, or drop, paste or choose a photo to find others like it.",
    ),
    labels.length > 0 &&
      make(
        "div",
        { class: "examples", role: "group", "aria-label": "Objects that are often in these photos" },
        ...labels.map((label) => button({ text: printable(label), class: "example" }, () => search(label))),
      ),
    set &&
      make(
        "p",
        { class: "quiet-text" },
        `${counted(set.photos, "photo")} in `,
        name(set.name),
        `, made with ${printable(set.encoder)}.`,
      ),
  );
}

/** No photo was found. @param {object} ways `clearFilters` or null. */
export function nothingFound({ clearFilters }) {
  return panel(
    "none",
    "No photo found",
    make("p", {}, clearFilters ? "No photo passes all filters." : "Try other words, or fewer of them."),
    clearFilters && button({ text: "Clear the filters", class: "main" }, clearFilters),
  );
}

/** A photo of the user's that a link names: it was never sent to anybody. */
export function photoIsGone(choose, remove) {
  return panel(
    "photo",
    "This search was made with a photo of somebody's own",
    make(
      "p",
      {},
      "Such a photo is not part of a link, and is gone when the page is loaded again. Choose it once more to search with it.",
    ),
    make(
      "div",
      { class: "ends" },
      button({ text: "Choose a photo", class: "main" }, choose),
      button({ text: "Search without it" }, remove),
    ),
  );
}

/** The set that a link names is not served. @param {string[]} names of those that are. */
export function unknownSet(set, names, choose) {
  return panel(
    "none",
    "No such set of photos is served",
    make("p", {}, "This search names the set ", name(set), ", which is not there, or no longer."),
    make(
      "div",
      { class: "ends" },
      ...names.map((each) => button({ text: `Search in ${printable(each)}` }, () => choose(each))),
    ),
  );
}

export function noSets() {
  return panel(
    "none",
    "No set of photos is served",
    make("p", {}, "Start the server with a feature set: qpert serve features/"),
  );
}

/**
 * A problem, and what can be done.
 * @param {import("./api.js").Problem} problem
 * @param {object} ways `retry`, `again` (functions) and `useToken(token)`; `hasToken`.
 */
export function problemPanel(problem, { retry, again, useToken, hasToken }) {
  const { symbol, title, text, action, label } = describeProblem(problem, hasToken);
  const element = panel(symbol, title, make("p", {}, text));
  element.classList.add("problem");
  if (action === "token") {
    const form = tokenForm(useToken);
    element.append(form);
    // Else a token that is pasted or typed at once would become a search, and a part of the address.
    requestAnimationFrame(() => form.isConnected && form.elements.token.focus());
  }
  if (problem.kind === "offline") retryWhenAnswered(element, retry);
  if (action === "again") element.append(button({ text: label, class: "main" }, again));
  if (action === "retry")
    element.append(
      problem.retryAfter ? countdown(problem.retryAfter, retry) : button({ text: label, class: "main" }, retry),
    );
  return element;
}

function tokenForm(useToken) {
  const input = make("input", { id: "token", type: "password", autocomplete: "off", required: true, maxlength: 4096 });
  return make(
    "form",
    {
      class: "token",
      on: {
        submit: (event) => {
          event.preventDefault();
          useToken(input.value.trim());
        },
      },
    },
    make("label", { for: "token" }, "Token"),
    input,
    make("button", { type: "submit", class: "main" }, "Go on"),
  );
}

/** Goes on once the server answers again, unless `element` has left the page by then. */
function retryWhenAnswered(element, retry) {
  const timer = setInterval(async () => {
    if (element.isConnected) {
      const response = await fetch("healthz").catch(() => null);
      if (!response || !element.isConnected) return;
      retry();
    }
    clearInterval(timer);
  }, LOOK);
}

/** A button that presses itself after some seconds, unless it has left the page by then. */
function countdown(seconds, retry) {
  const end = Date.now() + 1000 * seconds;
  const element = button({ text: `Try again in ${Math.ceil(seconds)} s`, class: "main" }, retry);
  const timer = setInterval(() => {
    const left = Math.ceil((end - Date.now()) / 1000);
    if (!element.isConnected) clearInterval(timer);
    else if (left > 0) element.querySelector("span").textContent = `Try again in ${left} s`;
    else {
      clearInterval(timer);
      retry();
    }
  }, 250);
  return element;
}

/** The warnings of sets, such as that their models know drawn shapes alone, and what keeps sets from being searched. */
export function warningsOf(sets) {
  const warnings = new Set(sets.map(({ warning }) => warning).filter(Boolean));
  const problems = sets
    .filter(({ problem }) => problem)
    .map((set) => `${set.name} cannot be searched now\n${set.problem}`);
  return [...warnings, ...problems].map((warning) => {
    const [title, ...lines] = warning.split("\n");
    return make(
      "details",
      { class: "warning" },
      make(
        "summary",
        {},
        icon("warning"),
        make("strong", {}, sentence(printable(title))),
        make("span", { class: "why" }, "why"),
      ),
      ...lines.map((line) => make("p", {}, printable(line))),
    );
  });
}

/** `MODELS ON PHOTOS` as `Models on photos`. */
function sentence(title) {
  return title === title.toUpperCase() ? title.charAt(0) + title.slice(1).toLowerCase() : title;
}
