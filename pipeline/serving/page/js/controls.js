/** The controls around the photos: they show a state, and say what the user changes of it. */

import { make, printable } from "./dom.js";
import { countFilters } from "./state.js";

/** Fills the choices of sets; they are hidden where there is nothing to choose. */
export function fillSets({ set, compare, setChoice, compareChoice }, sets) {
  const options = sets.map((each) => make("option", { value: each.name }, titleOf(each)));
  set.replaceChildren(...options);
  compare.replaceChildren(make("option", { value: "" }, "nothing"), ...options.map((option) => option.cloneNode(true)));
  setChoice.hidden = sets.length < 2;
  compareChoice.hidden = sets.length < 2;
}

/** Shows a state in the controls. */
export function showControls({ text, set, compare, filtersCount }, state, shownSet) {
  if (text.value !== state.text) text.value = state.text;
  set.value = shownSet;
  for (const option of compare.options) option.disabled = option.value === shownSet;
  compare.value = state.compare;
  const count = countFilters(state);
  filtersCount.textContent = String(count);
  filtersCount.hidden = count === 0;
  filtersCount.setAttribute("aria-label", `${count} set`);
}

/** `name`, and how the set was made where its name does not say so. */
export function titleOf({ name, perturbation }) {
  const how = perturbation ? "Q-Perturbation" : "plain";
  const said = name.toLowerCase().includes(perturbation ? "perturb" : "plain");
  return said ? printable(name) : `${printable(name)} (${how})`;
}

/** The names of two sets, the plain one first. */
export function plainFirst(names, sets) {
  const perturbed = (name) => Boolean(sets.find((each) => each.name === name)?.perturbation);
  return [...names].sort((one, other) => Number(perturbed(one)) - Number(perturbed(other)));
}
