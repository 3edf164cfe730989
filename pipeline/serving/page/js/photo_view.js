/** A photo shown large, with its boxes and what is known of it. */

import { givenAddress, MIDDLE, photoAddress, SMALL, thumbnailAddress } from "./api.js";
import { boxLayer } from "./boxes.js";
import { shape } from "./card.js";
import { button, icon, make, name, printable } from "./dom.js";
import { areaText, labelOf, scoreText, shortName, takenText, viewText } from "./hits.js";

export class PhotoView {
  /**
   * @param {HTMLDialogElement} dialog
   * @param {object} page
   * @param {import("./images.js").Images} page.images
   * @param {object} page.actions `like(hit, {box, label})`, `add(hit, {weight})`, `step(count)`, `close()`, `openId(photo)`,
   *   `copy(text)`.
   */
  constructor(dialog, { images, actions }) {
    this.dialog = dialog;
    this.images = images;
    this.actions = actions;
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault(); // closing is a step back in the history
      actions.close();
    });
    dialog.addEventListener("click", (event) => event.target === dialog && actions.close());
    dialog.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key === "ArrowLeft") actions.step(-1);
      if (event.key === "ArrowRight") actions.step(1);
    });
  }

  get isOpen() {
    return this.dialog.open;
  }

  /** Whether more than the id is known of the photo that is shown. */
  get described() {
    return this.hit?.rank !== undefined;
  }

  /**
   * @param {object} hit a result, or only its `set` and `image_id` where no more is known.
   * @param {{before: boolean, after: boolean}} steps whether there are photos to step to.
   */
  show(hit, steps) {
    this.hit = hit;
    const focused = document.activeElement?.dataset?.step;
    this.dialog.replaceChildren(
      this.#head(hit, steps),
      make("div", { class: "photo-body" }, this.#stage(hit), this.#facts(hit)),
    );
    if (!this.dialog.open) this.dialog.showModal();
    const step = focused && this.dialog.querySelector(`[data-step="${focused}"]:not(:disabled)`);
    (step ?? this.dialog.querySelector("h2")).focus();
  }

  close() {
    this.dialog.close();
    this.dialog.replaceChildren();
  }

  #head(hit, { before, after }) {
    const { actions } = this;
    return make(
      "header",
      {},
      make("h2", { id: "photo-title", tabindex: "-1" }, name(shortName(hit.image_id))),
      // A link cannot send a token.
      !this.images.api.token &&
        make(
          "a",
          {
            class: "button quiet",
            href: givenAddress(hit.photo, photoAddress({ set: hit.set, id: hit.image_id })),
            target: "_blank",
            rel: "noopener",
            "aria-label": "Open the photo alone in a new tab",
            title: "Open the photo alone in a new tab",
          },
          icon("open"),
        ),
      button(
        {
          symbol: "left",
          class: "quiet",
          "data-step": "-1",
          "aria-label": "Photo before",
          title: "Photo before (←)",
          disabled: !before,
        },
        () => actions.step(-1),
      ),
      button(
        {
          symbol: "right",
          class: "quiet",
          "data-step": "1",
          "aria-label": "Next photo",
          title: "Next photo (→)",
          disabled: !after,
        },
        () => actions.step(1),
      ),
      button({ symbol: "close", class: "quiet", "aria-label": "Close", title: "Close (Esc)" }, () => actions.close()),
    );
  }

  #stage(hit) {
    const photo = { set: hit.set, id: hit.image_id };
    const small = make("img", { alt: "", class: "small" });
    const large = make("img", { alt: `Photo ${printable(shortName(hit.image_id))}`, decoding: "async" });
    const frame = make("div", { class: "framed large" }, small, large);
    if (hit.width > 0 && hit.height > 0) shape(frame, hit.width, hit.height);
    else large.addEventListener("load", () => shape(frame, large.naturalWidth, large.naturalHeight), { once: true });
    const whole = make("button", {
      type: "button",
      class: "whole",
      "aria-label": "More like this photo",
      title: "More like this photo",
      on: { click: () => this.actions.like(hit, {}) },
    });
    frame.append(
      whole,
      boxLayer(hit, (box, label) => this.actions.like(hit, { box, label }), { tab: true }),
    );
    this.images.show(small, givenAddress(hit.thumbnail, thumbnailAddress(photo, MIDDLE), MIDDLE), () => small.remove());
    this.images.show(large, givenAddress(hit.photo, photoAddress(photo)), () => {
      frame.classList.add("broken");
      frame.append(make("p", { class: "unshown" }, "This photo cannot be shown. It may have been moved or removed."));
    });
    return make("div", { class: "photo-stage" }, frame);
  }

  #facts(hit) {
    const { actions } = this;
    const facts = [
      [
        "Id",
        [
          name(hit.image_id),
          button({ symbol: "copy", class: "quiet", "aria-label": "Copy the id", title: "Copy the id" }, () =>
            actions.copy(hit.image_id),
          ),
        ],
      ],
      ["Set", [name(hit.set ?? "")]],
      ["Rank", hit.rank && [hit.rank.toLocaleString("en")]],
      ["Score", Number.isFinite(hit.score) && [scoreText(hit.score)]],
      ["Matched", viewText(hit.view) && [viewText(hit.view)]],
      ["Size", hit.width && [`${hit.width} × ${hit.height} px`]],
      ["Taken", hit.taken && [takenText(hit.taken)]],
      ["Place", hit.uri && [name(hit.uri)]],
    ].filter(([, value]) => value);
    return make(
      "div",
      { class: "facts" },
      make(
        "div",
        { class: "ends" },
        button({ text: "More like this", class: "main" }, () => actions.like(hit, {})),
        button({ symbol: "plus", text: "Add", title: "Add to the search: more like this" }, () =>
          actions.add(hit, { weight: 1 }),
        ),
        button({ symbol: "minus", text: "Less", title: "Add to the search: less like this" }, () =>
          actions.add(hit, { weight: -0.5 }),
        ),
      ),
      make("dl", {}, ...facts.flatMap(([term, value]) => [make("dt", {}, term), make("dd", {}, ...value)])),
      ...this.#objects(hit),
      ...this.#folded(hit),
    );
  }

  /** The same choice as the boxes, for those who cannot see or hit them. */
  #objects(hit) {
    if (!hit.objects) return [];
    const objects = hit.objects.map((object) =>
      make(
        "li",
        {},
        make(
          "button",
          {
            type: "button",
            class: "object",
            on: { click: () => this.actions.like(hit, { box: object.box, label: labelOf(object) }) },
          },
          make("span", {}, labelOf(object)),
          make(
            "span",
            { class: "quiet-text" },
            `${areaText(object.box)}${Number.isFinite(object.score) ? `, ${object.score.toFixed(2)}` : ""}`,
          ),
        ),
      ),
    );
    return objects.length
      ? [make("h3", {}, "More like a part of it"), make("ul", { class: "objects" }, ...objects)]
      : [make("p", { class: "quiet-text" }, "No objects were found in this photo.")];
  }

  #folded(hit) {
    if (!hit.folded?.length) return [];
    const photos = hit.folded.map((id) => {
      const image = make("img", { alt: printable(shortName(id)), loading: "lazy" });
      this.images.show(image, thumbnailAddress({ set: hit.set, id }, SMALL));
      return make(
        "li",
        {},
        make(
          "button",
          { type: "button", title: printable(id), on: { click: () => this.actions.openId({ set: hit.set, id }) } },
          image,
        ),
      );
    });
    return [make("h3", {}, "Nearly the same"), make("ul", { class: "alike" }, ...photos)];
  }
}
