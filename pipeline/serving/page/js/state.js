/**
 * What is searched for and shown, and the address that says the same.
 *
 * A state is a plain object: `text`; `set` and `compare` (names of sets, or ""); `terms`, each with a `weight` and one of
 * `text`, `like` (id of a photo, with its `set`) or `upload` (key of a photo of the user's), the latter two perhaps with
 * a `box` [x0, y0, x1, y1] of fractions; `filters`; `minScore`, `fold` (numbers or null); `exact`; `photo`, the
 * {set, id} of the photo that is shown large, or null.
 */

const LISTS = ["has", "without", "path"];
const NUMBERS = ["smaller", "larger", "min_width", "min_height"];
const DATES = ["taken_from", "taken_to"];

export function emptyState() {
  return {
    text: "",
    set: "",
    compare: "",
    terms: [],
    filters: {},
    minScore: null,
    fold: null,
    exact: false,
    photo: null,
  };
}

/** The state that the part of an address after `?` stands for; what is not understood is left out. */
export function readState(query) {
  const values = new URLSearchParams(query);
  const state = emptyState();
  state.text = values.get("q") ?? "";
  state.set = values.get("set") ?? "";
  state.compare = values.get("compare") ?? "";
  state.terms = values.getAll("term").map(readTerm).filter(Boolean);
  for (const key of LISTS) {
    const list = values.getAll(key).filter(Boolean);
    if (list.length) state.filters[key] = list;
  }
  for (const key of NUMBERS) {
    const number = readNumber(values.get(key));
    if (number !== null) state.filters[key] = number;
  }
  for (const key of DATES) {
    const date = values.get(key);
    if (date && /^\d{4}-\d{2}-\d{2}$/.test(date)) state.filters[key] = date;
  }
  state.minScore = readNumber(values.get("min_score"));
  state.fold = readNumber(values.get("fold"));
  state.exact = values.get("exact") === "1";
  if (values.has("photo")) state.photo = { id: values.get("photo"), set: values.get("photo_set") ?? state.set };
  return state;
}

/** The part of an address after `?`, or "" for the state without anything. */
export function writeState(state) {
  const values = new URLSearchParams();
  const add = (key, value) => value !== "" && value !== null && value !== undefined && values.append(key, value);
  add("q", state.text);
  add("set", state.set);
  add("compare", state.compare);
  for (const term of state.terms) add("term", JSON.stringify(term));
  for (const key of LISTS) for (const value of state.filters[key] ?? []) add(key, value);
  for (const key of [...NUMBERS, ...DATES]) add(key, state.filters[key]);
  add("min_score", state.minScore);
  add("fold", state.fold);
  if (state.exact) add("exact", "1");
  if (state.photo) {
    add("photo", state.photo.id);
    add("photo_set", state.photo.set);
  }
  return values.toString();
}

/** The address of a state, relative to the page. */
export function addressOf(state) {
  const query = writeState(state);
  return query ? `?${query}` : "./";
}

/** Whether anything is asked: a text or a term. */
export function asks(state) {
  return state.text.trim() !== "" || state.terms.length > 0;
}

/** How many filters are set. */
export function countFilters(state) {
  const { filters } = state;
  const lists = LISTS.reduce((sum, key) => sum + (filters[key]?.length ?? 0), 0);
  const single = [...NUMBERS, ...DATES].filter((key) => filters[key] !== undefined).length;
  return lists + single + [state.minScore, state.fold].filter((value) => value !== null).length + Number(state.exact);
}

function readTerm(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const kind = ["text", "like", "upload"].find((key) => typeof value?.[key] === "string" && value[key] !== "");
  if (!kind) return null;
  const term = { [kind]: value[kind], weight: Number.isFinite(value.weight) && value.weight !== 0 ? value.weight : 1 };
  if (typeof value.set === "string") term.set = value.set;
  if (kind !== "text" && isBox(value.box)) term.box = value.box;
  return term;
}

export function isBox(box) {
  return (
    Array.isArray(box) &&
    box.length === 4 &&
    box.every((side) => Number.isFinite(side) && side >= 0 && side <= 1) &&
    box[0] < box[2] &&
    box[1] < box[3]
  );
}

function readNumber(text) {
  const number = text === null || text.trim() === "" ? NaN : Number(text);
  return Number.isFinite(number) ? number : null;
}
