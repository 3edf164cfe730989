/** The page: one state, its address, and all that shows it. */

import { makeActions } from "./actions.js";
import { Api } from "./api.js";
import { showChips } from "./chips.js";
import { fillSets, plainFirst, showControls } from "./controls.js";
import { DataView } from "./data_view.js";
import { FilterPanel } from "./filters.js";
import { keyOf } from "./hits.js";
import { Images } from "./images.js";
import { Journal } from "./journal.js";
import { listen } from "./listeners.js";
import { noSets, photoIsGone, problemPanel, unknownSet, warningsOf, welcome } from "./messages.js";
import { PhotoView } from "./photo_view.js";
import { requestOf } from "./request.js";
import { Results } from "./results.js";
import { asks, countFilters, readState, writeState } from "./state.js";
import { Toast } from "./toast.js";
import { Uploads } from "./uploads.js";

const NO_FILTERS = { filters: {}, minScore: null, fold: null, exact: false };

export class App {
  /** @param {object} elements the elements of index.html that have an id, by their ids. */
  constructor(elements) {
    this.elements = elements;
    this.api = new Api();
    this.images = new Images(this.api);
    this.uploads = new Uploads();
    this.toast = new Toast(elements.toast);
    this.sets = null;
    this.state = readState(location.search);
    this.journal = new Journal((state, kept) => this.#arrive(state, kept));
    this.actions = makeActions(this);
    this.photo = new PhotoView(elements.photo, { images: this.images, actions: this.actions });
    this.data = new DataView(elements.data, (text) => this.toast.copy(text, "JSON"));
    this.filters = new FilterPanel(elements.filters, (changes) => this.go(changes));
    this.results = new Results(
      {
        section: elements.results,
        status: elements.status,
        about: elements.about,
        notes: elements.notes,
        message: elements.message,
        columns: elements.columns,
        more: elements.more,
      },
      this.api,
      (problem, retry) => this.#explain(problem, retry),
    );
    listen(this);
  }

  /** Asks for the sets, then shows the state of the address. */
  async start() {
    this.#showState();
    try {
      this.sets = await this.api.sets();
    } catch (problem) {
      this.results.fail(problem, () => this.start());
      return;
    }
    const { elements } = this;
    fillSets(
      {
        set: elements.set,
        compare: elements.compare,
        setChoice: elements["set-choice"],
        compareChoice: elements["compare-choice"],
      },
      this.sets,
    );
    elements.warnings.replaceChildren(...warningsOf(this.sets));
    this.#apply();
  }

  /** Goes to another state. @param {object} changes of the present one. */
  go(changes) {
    this.#keep();
    this.state = { ...this.state, ...changes };
    this.journal.push(this.state);
    this.#apply();
  }

  #arrive(state, kept) {
    this.state = state;
    this.#apply(kept);
  }

  /** Shows the state; `kept` is what was shown for it before. */
  #apply(kept) {
    this.#showState();
    if (!this.sets) return;
    const shown = this.#searchKey();
    if (shown !== this.shown) {
      this.shown = shown;
      if (kept?.columns && kept.shown === shown) {
        this.results.restore(kept.columns, this.#page());
        scrollTo({ top: kept.scroll, behavior: "instant" });
      } else this.#search();
    }
    this.#showPhoto();
  }

  #search() {
    const missing = this.state.terms.filter(({ upload }) => upload && !this.uploads.get(upload));
    if (this.sets.length === 0) this.results.replace(noSets(), "No set of photos is served");
    else if (!this.#set) this.#askForSet();
    else if (missing.length) this.#askForPhoto(missing);
    else if (!asks(this.state)) {
      const search = (text) => this.go({ text });
      this.results.replace(welcome(this.#set, countFilters(this.state) > 0, search), "");
    } else {
      scrollTo({ top: 0, behavior: "instant" });
      this.results.run(this.#requests(), this.#page());
    }
  }

  #requests() {
    const { compare } = this.state;
    const own = this.#set.name;
    const upload = (key) => this.uploads.get(key).base64;
    const names = compare && compare !== own ? plainFirst([own, compare], this.sets) : [own];
    return names.map((name, number) => ({
      title: name,
      request: requestOf(this.state, { set: name, compare: names[1 - number] ?? "" }, upload),
    }));
  }

  #page() {
    const clearFilters = countFilters(this.state) ? () => this.go(NO_FILTERS) : null;
    const { images, state, actions, shown: key } = this;
    return {
      images,
      state,
      actions,
      key,
      clearFilters,
      again: () => this.again(),
      arrived: () => this.#describePhoto(),
    };
  }

  #showState() {
    const { elements, state } = this;
    showControls(
      { text: elements.text, set: elements.set, compare: elements.compare, filtersCount: elements["filters-count"] },
      state,
      this.#set?.name ?? "",
    );
    showChips(elements.terms, state, {
      images: this.images,
      uploads: this.uploads,
      set: this.#set?.name,
      change: (changes) => this.go(changes),
    });
    this.filters.show(state);
    this.filters.suggest(this.#set?.labels ?? []);
    document.title = state.text.trim() ? `${state.text.trim()}: qpert` : "qpert: photo search";
  }

  #showPhoto() {
    if (!this.state.photo) {
      if (!this.photo.isOpen) return;
      this.photo.close();
      if (this.viewed) this.results.columns?.focus(this.viewed);
      return;
    }
    const { hit, place, hits } = this.results.find(this.#shownPhoto);
    this.viewed = keyOf(hit);
    const more = this.results.listings.some((listing) => listing.results === hits && listing.unfinished);
    this.photo.show(hit, { before: place > 0, after: place >= 0 && (place + 1 < hits.length || more) });
  }

  /** Says what is known of a photo once results that show it have arrived: a link may have opened it before. */
  #describePhoto() {
    if (this.photo.isOpen && !this.photo.described) this.#showPhoto();
  }

  /** Shows the photo that is `count` places further among the results. */
  async step(count) {
    const { place, hits } = this.results.find(this.#shownPhoto);
    if (place < 0 || place + count < 0) return;
    if (place + count >= hits.length) await this.results.more();
    const hit = hits[place + count];
    if (!hit || !this.state.photo) return;
    this.state = { ...this.state, photo: { set: hit.set, id: hit.image_id } };
    this.journal.replace(this.state); // one step back closes the photo, however many were looked at
    this.#showPhoto();
  }

  closePhoto() {
    if (this.journal.canReturn) history.back();
    else this.go({ photo: null });
  }

  #askForPhoto(missing) {
    const rest = this.state.terms.filter((term) => !missing.includes(term));
    const panel = photoIsGone(
      () => this.elements.file.click(),
      () => this.go({ terms: rest }),
    );
    this.results.replace(panel, "This search was made with a photo that is not part of the link");
  }

  #askForSet() {
    const names = this.sets.map(({ name }) => name);
    const panel = unknownSet(this.state.set, names, (set) => this.go({ set, compare: "" }));
    this.results.replace(panel, "No such set of photos is served");
  }

  /** The photo that is shown large; a link that somebody wrote may leave its set out. */
  get #shownPhoto() {
    const { set, id } = this.state.photo;
    return { set: set || this.#set?.name, id };
  }

  #explain(problem, retry) {
    return problemPanel(problem, {
      retry,
      again: () => this.again(),
      hasToken: Boolean(this.api.token),
      useToken: (token) => {
        this.api.token = token;
        this.start();
      },
    });
  }

  /** The same search from its first page. */
  again() {
    this.shown = null;
    this.start();
  }

  #keep() {
    this.journal.keep({ columns: this.results.kept, shown: this.results.shown, scroll: scrollY });
  }

  /** What the results depend on. */
  #searchKey() {
    return writeState({ ...this.state, photo: null, set: this.#set?.name ?? this.state.set });
  }

  /** The set that is searched: the one named, else the first. */
  get #set() {
    const { set } = this.state;
    return set ? this.sets?.find(({ name }) => name === set) : this.sets?.[0];
  }

  /** Forgets what is shown, so that the same search is made again. */
  forget() {
    this.shown = null;
  }

  /** Keeps the place before a step back or forward, of which the page hears only when it is done. */
  keepScroll() {
    clearTimeout(this.scrolling);
    this.scrolling = setTimeout(() => this.#keep(), 150);
  }
}
