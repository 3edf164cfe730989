/** What is sent to `POST /search` for a state. */

export const PAGE = 24;

/**
 * @param {object} state see state.js.
 * @param {{set: string, compare: string}} sets the names to ask, or "".
 * @param {(key: string) => string|undefined} upload the base64 of an uploaded photo by its key.
 */
export function requestOf(state, { set, compare }, upload) {
  const request = { k: PAGE };
  const text = state.text.trim();
  const terms = state.terms.map((term) => termOf(term, upload));
  if (terms.length === 0) request.text = text;
  else request.terms = text ? [{ text, weight: 1 }, ...terms] : terms;
  if (Object.keys(state.filters).length) request.filters = filtersOf(state.filters);
  if (state.minScore !== null) request.min_score = state.minScore;
  if (state.fold !== null) request.fold = state.fold;
  if (state.exact) request.exact = true;
  if (set) request.set = set;
  if (compare) request.compare = compare;
  return request;
}

function termOf(term, upload) {
  const sent = { weight: term.weight };
  if (term.text !== undefined) sent.text = term.text;
  else if (term.upload !== undefined) sent.image = upload(term.upload);
  else {
    sent.image_id = term.like;
    if (term.set) sent.set = term.set;
  }
  if (term.box) sent.box = term.box;
  return sent;
}

/** Days become moments: the last one counts to its end. */
function filtersOf({ taken_from: from, taken_to: to, ...filters }) {
  if (from) filters.taken_from = `${from}T00:00:00`;
  if (to) filters.taken_to = `${to}T23:59:59.999999`;
  return filters;
}
