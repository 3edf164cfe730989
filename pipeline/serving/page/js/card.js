/** One photo among the results. */

import { givenAddress, MIDDLE, thumbnailAddress } from "./api.js";
import { boxLayer } from "./boxes.js";
import { button, make, name, printable } from "./dom.js";
import { keyOf, objectsText, scoreText, shortName } from "./hits.js";
import { addressOf } from "./state.js";

/**
 * @param {object} hit a result.
 * @param {object} page
 * @param {import("./images.js").Images} page.images
 * @param {object} page.state what is shown now.
 * @param {object} page.actions `open(hit)`, `like(hit, {box, label, weight})`.
 */
export function makeCard(hit, { images, state, actions }) {
  const photo = { set: hit.set, id: hit.image_id };
  const said = `${hit.rank}. ${shortName(hit.image_id)}, score ${scoreText(hit.score)}`;
  const image = make("img", { alt: "", loading: "lazy", decoding: "async", draggable: "false" });
  const frame = make("div", { class: "framed" }, image);
  if (hit.width > 0 && hit.height > 0) shape(frame, hit.width, hit.height);
  else image.addEventListener("load", () => shape(frame, image.naturalWidth, image.naturalHeight), { once: true });
  const link = make(
    "a",
    {
      class: "open",
      href: addressOf({ ...state, photo }),
      on: {
        click: (event) => {
          if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
          event.preventDefault();
          actions.open(hit);
        },
      },
    },
    make("span", { class: "unseen" }, `${printable(said)}; ${objectsText(hit.objects)}`),
    make("span", { class: "unseen spoken-change" }),
  );
  frame.append(
    link,
    boxLayer(hit, (box, label) => actions.like(hit, { box, label }), { tab: false }),
  );
  images.show(image, givenAddress(hit.thumbnail, thumbnailAddress(photo, MIDDLE), MIDDLE), () => {
    frame.classList.add("broken");
    frame.append(make("span", { class: "unshown", "aria-hidden": "true" }, "This photo cannot be shown"));
  });
  const short = shortName(hit.image_id);
  return make(
    "li",
    { class: "card", dataset: { key: keyOf(hit), id: hit.image_id } },
    make("div", { class: "stage" }, frame),
    make(
      "div",
      { class: "caption" },
      make("span", { class: "rank", "aria-hidden": "true" }, String(hit.rank)),
      name(short, { class: "name", title: printable(hit.image_id), "aria-hidden": "true" }),
      make("span", { class: "change", "aria-hidden": "true", hidden: true }),
      make("span", { class: "line-end" }),
      make(
        "span",
        { class: "score", title: "Score: the cosine of query and photo", "aria-hidden": "true" },
        scoreText(hit.score),
      ),
      hit.folded?.length > 0 && make("span", { class: "folded" }, `+${hit.folded.length} alike`),
      make(
        "span",
        { class: "pair" },
        button(
          {
            symbol: "plus",
            class: "quiet",
            "aria-label": `Add more like ${printable(short)} to the search`,
            title: "Add to the search: more like this",
          },
          () => actions.add(hit, { weight: 1 }),
        ),
        button(
          {
            symbol: "minus",
            class: "quiet",
            "aria-label": `Add less like ${printable(short)} to the search`,
            title: "Add to the search: less like this",
          },
          () => actions.add(hit, { weight: -0.5 }),
        ),
      ),
    ),
  );
}

/** Says how the rank of a photo differs from that in the other column; `change` is what `changeOf` returns. */
export function markChange(card, change) {
  const mark = card.querySelector(".change");
  mark.hidden = false;
  mark.className = `change ${change.kind}`;
  mark.textContent = change.text;
  mark.title = change.spoken;
  card.querySelector(".spoken-change").textContent = `; ${change.spoken}`;
}

/** Makes room for a photo of `width` x `height`, as large as its stage allows. */
export function shape(frame, width, height) {
  frame.style.setProperty("--ratio", String(width / height));
  frame.style.aspectRatio = `${width} / ${height}`;
}
