/** The parts of a search beside its text, and its filters, as chips that can be changed and removed. */

import { SMALL, thumbnailAddress } from "./api.js";
import { button, make, name, printable } from "./dom.js";
import { filterChips } from "./filter_chips.js";
import { boxText, shortName } from "./hits.js";

const WEIGHTS = [0.25, 0.5, 1, 2];

/**
 * Fills `place` with the chips of a state.
 * @param {object} page `images`, `uploads` (see uploads.js) and `change(changes)`, called with the changes of the state.
 */
export function showChips(place, state, { images, uploads, change }) {
  const replace = (number, ...terms) => {
    change({ terms: state.terms.toSpliced(number, 1, ...terms) });
    // The chip is gone, and with it the focus.
    place.querySelectorAll(".chip")[number]?.querySelector("button, select").focus();
  };
  const chips = state.terms.map((term, number) => termChip(term, number, { images, uploads, replace, set: state.set }));
  const filters = filterChips(state, change);
  const adder = state.text.trim() || chips.length ? adderOf(state, change) : null;
  place.replaceChildren(...chips, ...(adder ? [adder] : []), ...filters);
  place.hidden = chips.length + filters.length === 0 && !adder;
}

function termChip(term, number, { images, uploads, replace, set }) {
  const { label, spoken, picture } = describe(term, { images, uploads, set });
  const positive = term.weight > 0;
  const size = Math.abs(term.weight);
  const weights = WEIGHTS.includes(size) ? WEIGHTS : [...WEIGHTS, size].sort((one, other) => one - other);
  return make(
    "div",
    {
      class: `chip ${positive ? "more" : "less"}`,
      role: "group",
      "aria-label": `${positive ? "more like" : "less like"} ${spoken}`,
    },
    button(
      {
        symbol: positive ? "plus" : "minus",
        class: "sign",
        "aria-label": positive ? `More like ${spoken}: change to less` : `Less like ${spoken}: change to more`,
        title: positive ? "More like this; press for less" : "Less like this; press for more",
      },
      () => replace(number, { ...term, weight: -term.weight }),
    ),
    picture,
    label,
    make(
      "select",
      {
        "aria-label": `Weight of ${spoken}`,
        title: "Weight",
        on: {
          change: (event) => replace(number, { ...term, weight: Math.sign(term.weight) * Number(event.target.value) }),
        },
      },
      ...weights.map((weight) => make("option", { value: weight, selected: weight === size }, `× ${weight}`)),
    ),
    button({ symbol: "close", class: "quiet", "aria-label": `Remove ${spoken}` }, () => replace(number)),
  );
}

/** How a term is shown and spoken. */
function describe(term, { images, uploads, set }) {
  if (term.text !== undefined)
    return { label: name(term.text, { class: "what" }), spoken: printable(term.text), picture: null };
  const picture = make("img", { alt: "", width: 32, height: 32 });
  const part = term.box ? "part of " : "";
  const place = term.box ? boxText(term.box) : null;
  if (term.upload !== undefined) {
    const upload = uploads.get(term.upload);
    if (upload) picture.src = upload.preview;
    const known = upload ? upload.name : "your photo";
    return {
      label: name(part + known, { class: "what", title: place }),
      spoken: printable(part + known),
      picture: upload ? picture : null,
    };
  }
  images.show(picture, thumbnailAddress({ set: term.set ?? set, id: term.like }, SMALL), () => picture.remove());
  const known = `${part}${shortName(term.like)}`;
  return {
    label: name(known, { class: "what", title: [printable(term.like), place].filter(Boolean).join(", ") }),
    spoken: printable(known),
    picture,
  };
}

/** A small form that adds words. */
function adderOf(state, change) {
  const input = make("input", {
    type: "text",
    "aria-label": "Words to add to the search, or to take away",
    placeholder: "add words",
    maxlength: 500,
    autocomplete: "off",
  });
  const add = (weight) => {
    const text = input.value.trim();
    if (text) change({ terms: [...state.terms, { text, weight }] });
    else input.focus();
  };
  const form = make(
    "form",
    { class: "adder", "aria-label": "Further words", on: { submit: (event) => (event.preventDefault(), add(1)) } },
    input,
    make("button", { class: "quiet", "aria-label": "More like these words", title: "More like these words" }, "+"),
    button({ text: "−", class: "quiet", "aria-label": "Less like these words", title: "Less like these words" }, () =>
      add(-0.5),
    ),
  );
  return form;
}
