/** The part of the page that shows what a search finds, and fetches more of it. */

import { Columns } from "./columns.js";
import { counted, make, printable } from "./dom.js";
import { scoreText } from "./hits.js";
import { Listing } from "./listing.js";
import { nothingFound } from "./messages.js";

/** Milliseconds after which it is said that a search takes longer; earlier, it would only flicker. */
const FADE = 400;

/** Photos until which scrolling fetches more; beyond them the button does, so that the page ends somewhere. */
const BY_ITSELF = 480;

export class Results {
  /**
   * @param {object} places `section`, `status`, `about`, `notes`, `message`, `columns`, `more`: elements of index.html.
   * @param {import("./api.js").Api} api
   * @param {(problem: Error, retry: () => void) => HTMLElement} explain makes the panel of a problem.
   */
  constructor(places, api, explain) {
    this.places = places;
    this.api = api;
    this.explain = explain;
    this.columns = null;
    this.running = null;
    places.more.querySelector("button").addEventListener("click", () => this.more({ focus: true }));
    new IntersectionObserver(
      ([{ isIntersecting }]) => {
        this.near = isIntersecting;
        if (isIntersecting) this.#moreByItself();
      },
      { rootMargin: "700px" },
    ).observe(places.more);
  }

  get listings() {
    return this.columns?.columns.map(({ listing }) => listing) ?? [];
  }

  /** The result that shows a photo, its place, and the results among which it is; without them only what is known. */
  find({ set, id }) {
    for (const { results } of this.listings) {
      const place = results.findIndex((hit) => hit.image_id === id && hit.set === set);
      if (place >= 0) return { hit: results[place], place, hits: results };
    }
    return { hit: { set, image_id: id }, place: -1, hits: [] };
  }

  /** Fetches the first page of each request. What was shown stays until the answer is there. */
  async run(requests, page) {
    this.stop();
    const running = (this.running = new AbortController());
    this.#busy(true);
    this.places.more.hidden = true;
    if (!this.columns) this.#tell("Searching…");
    else this.fading = setTimeout(() => this.#fade(), FADE);
    const columns = requests.map(({ title, request }) => ({ title, listing: new Listing(this.api, request) }));
    try {
      await Promise.all(columns.map(({ listing }) => listing.next(running.signal)));
      if (this.running === running) this.restore(columns, page);
    } catch (problem) {
      running.abort(); // the other column's request, if there is one
      if (this.running === running) this.fail(problem, page.again);
    }
  }

  /** Shows what `kept` returned, without asking the server. */
  restore(columns, page) {
    this.stop();
    this.#show(columns, page);
  }

  /** The key of the search whose results these are. */
  get shown() {
    return this.columns ? this.page.key : null;
  }

  /** What `restore` takes; null if there are no results. */
  get kept() {
    return this.columns?.columns.map(({ title, listing }) => ({ title, listing })) ?? null;
  }

  /** Ends a search that runs. */
  stop() {
    this.running?.abort();
    this.running = null;
    clearTimeout(this.fading);
    this.places.columns.classList.remove("outdated");
    this.#busy(false);
  }

  /** What is shown answers an earlier search. */
  #fade() {
    this.#tell("Searching…");
    this.places.columns.classList.add("outdated");
  }

  /** Shows `panel` (welcome, a problem) in place of photos. */
  replace(panel, spoken) {
    this.stop();
    this.columns = null;
    this.places.columns.replaceChildren();
    this.places.notes.replaceChildren();
    this.places.about.textContent = "";
    this.places.more.hidden = true;
    this.places.message.replaceChildren(panel);
    this.#tell(spoken);
    this.places.status.classList.add("unseen"); // the panel says it to those who see it
  }

  fail(problem, retry) {
    const panel = this.explain(problem, retry);
    this.replace(panel, panel.querySelector("h3").textContent);
  }

  /** Fetches the next page. @param {{focus: boolean}} options whether the first new photo gets the focus. */
  async more({ focus = false } = {}) {
    const waiting = this.listings.filter(({ unfinished }) => unfinished);
    if (this.running || waiting.length === 0) return;
    const running = (this.running = new AbortController());
    const count = this.listings[0].results.length;
    this.#busy(true);
    try {
      await Promise.all(waiting.map((listing) => listing.next(running.signal)));
      if (this.running !== running) return;
      this.#update();
      if (focus) this.columns.focus(count);
    } catch (problem) {
      if (this.running !== running) return;
      this.places.more.hidden = true;
      const panel = this.explain(problem, () => {
        panel.remove();
        this.running = null;
        this.more({ focus: true });
      });
      this.places.columns.append(panel);
      this.#tell(panel.querySelector("h3").textContent);
    } finally {
      if (this.running === running) {
        this.running = null;
        this.#busy(false);
        if (this.near && !this.places.more.hidden) this.#moreByItself();
      }
    }
  }

  #moreByItself() {
    if (this.listings.length && this.listings[0].results.length < BY_ITSELF) this.more();
  }

  #show(columns, page) {
    this.page = page;
    this.places.message.replaceChildren();
    this.places.status.classList.remove("unseen");
    this.columns = new Columns(this.places.columns, columns, page);
    this.#update();
    const [{ answer }] = this.listings;
    const took = Math.max(...this.listings.map((listing) => listing.answer.took_ms));
    const parts = [
      answer.index && printable(answer.index),
      Number.isFinite(took) && `${took < 10 ? took.toFixed(1) : Math.round(took)} ms`,
    ];
    this.places.about.textContent = parts.filter(Boolean).join(" · ");
    const notes = new Set(this.listings.flatMap((listing) => listing.answer.notes ?? []));
    this.places.notes.replaceChildren(...[...notes].map((note) => make("p", { class: "note" }, printable(note))));
    if (this.columns.results.length === 0) {
      this.places.columns.replaceChildren();
      this.places.message.replaceChildren(nothingFound(page));
    }
  }

  #update() {
    this.columns.update();
    const [first] = this.listings;
    const unfinished = this.listings.some((listing) => listing.unfinished);
    this.places.more.hidden = !unfinished;
    const count = first.results.length;
    if (this.columns.results.length === 0) this.#tell("No photo found");
    else {
      const each = this.listings.length === 2 ? " in each set" : "";
      const best = each ? "" : ` · best score ${scoreText(first.results[0].score)}`;
      this.#tell(`${counted(count, "photo")}${each}${unfinished ? ", more below" : ""}${best}`);
    }
    this.page.arrived();
  }

  #tell(text) {
    this.places.status.textContent = text;
  }

  #busy(on) {
    this.places.section.setAttribute("aria-busy", String(on));
  }
}
