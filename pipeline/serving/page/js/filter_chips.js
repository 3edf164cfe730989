/** The filters of a search as chips that can be removed. */

import { button, make, name, printable } from "./dom.js";

/** @param {object} state @param {(changes: object) => void} change */
export function filterChips(state, change) {
  const { filters } = state;
  const without = (key, value) => {
    const rest = { ...filters };
    const values = Array.isArray(rest[key]) ? rest[key].filter((each) => each !== value) : [];
    if (values.length) rest[key] = values;
    else delete rest[key];
    return () => change({ filters: rest });
  };
  const parts = [];
  for (const value of filters.has ?? []) parts.push(["shows ", value, without("has", value)]);
  for (const value of filters.without ?? []) parts.push(["without ", value, without("without", value)]);
  for (const value of filters.path ?? []) parts.push(["path ", value, without("path", value)]);
  const percent = (fraction) => `${Number((100 * fraction).toPrecision(4))} %`;
  if (filters.smaller !== undefined) parts.push(["object < ", percent(filters.smaller), without("smaller")]);
  if (filters.larger !== undefined) parts.push(["object > ", percent(filters.larger), without("larger")]);
  if (filters.taken_from) parts.push(["from ", filters.taken_from, without("taken_from")]);
  if (filters.taken_to) parts.push(["to ", filters.taken_to, without("taken_to")]);
  if (filters.min_width) parts.push(["width ≥ ", `${filters.min_width} px`, without("min_width")]);
  if (filters.min_height) parts.push(["height ≥ ", `${filters.min_height} px`, without("min_height")]);
  if (state.minScore !== null) parts.push(["score ≥ ", String(state.minScore), () => change({ minScore: null })]);
  if (state.fold !== null) parts.push(["folded at ", String(state.fold), () => change({ fold: null })]);
  if (state.exact) parts.push(["", "without the index", () => change({ exact: false })]);
  return parts.map(([kind, value, remove]) =>
    make(
      "div",
      { class: "chip filter" },
      make("span", { class: "what" }, kind, name(value)),
      button(
        { symbol: "close", class: "quiet", "aria-label": `Remove the filter: ${kind}${printable(value)}` },
        remove,
      ),
    ),
  );
}
