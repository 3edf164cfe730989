/** A list of photos that is one stop of the tab key: arrow keys move in it, Tab goes on to the photo's own buttons. */

import { make } from "./dom.js";

const STEPS = { ArrowLeft: -1, ArrowRight: 1 };

export class Grid {
  /** @param {string} label what the list holds, for screen readers. */
  constructor(label) {
    this.list = make("ol", { class: "grid", "aria-label": label });
    this.current = null;
    this.list.addEventListener("keydown", (event) => this.#move(event));
    this.list.addEventListener("focusin", (event) => this.#choose(event.target.closest(".card")));
  }

  append(cards) {
    for (const card of cards) {
      stops(card, false);
      this.list.append(card);
    }
    if (!this.current?.isConnected) this.#choose(this.list.firstElementChild);
  }

  /** The card of a photo, by its `data-key`. */
  find(key) {
    return [...this.list.children].find((card) => card.dataset.key === key);
  }

  focus(card) {
    card?.querySelector(".open").focus();
  }

  #choose(card) {
    if (!card || card === this.current) return;
    if (this.current) stops(this.current, false);
    this.current = card;
    stops(card, true);
  }

  #move(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !event.target.closest(".open")) return;
    const cards = [...this.list.children];
    const place = cards.indexOf(event.target.closest(".card"));
    let goal;
    if (event.key in STEPS) goal = place + STEPS[event.key];
    else if (event.key === "ArrowDown") goal = below(cards, place, 1);
    else if (event.key === "ArrowUp") goal = below(cards, place, -1);
    else if (event.key === "Home") goal = 0;
    else if (event.key === "End") goal = cards.length - 1;
    if (goal === undefined) return;
    event.preventDefault();
    if (cards[goal]) this.focus(cards[goal]);
  }
}

function stops(card, on) {
  for (const stop of card.querySelectorAll(".open, .caption button")) stop.tabIndex = on ? 0 : -1;
}

/** The number of the card that lies in the next row (`step` 1) or the one before (-1), as far to the right. */
function below(cards, place, step) {
  const { offsetLeft, offsetTop } = cards[place];
  for (let goal = place + step; goal >= 0 && goal < cards.length; goal += step) {
    if (cards[goal].offsetLeft === offsetLeft && cards[goal].offsetTop !== offsetTop) return goal;
  }
  return step > 0 && cards.at(-1).offsetTop > offsetTop ? cards.length - 1 : undefined;
}
