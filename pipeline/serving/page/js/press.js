/** Knows whether a pointer is pressed, so that nothing moves away from under it. */

export class Press {
  /** @param {EventTarget} target where presses are watched. */
  constructor(target = document) {
    this.target = target;
    this.down = false;
    target.addEventListener("pointerdown", () => (this.down = true), true);
    for (const type of ["pointerup", "pointercancel"]) target.addEventListener(type, () => (this.down = false), true);
  }

  /** Acts now, or right after the click that a press becomes. */
  after(act) {
    if (!this.down) act();
    else this.target.addEventListener("pointerup", () => setTimeout(act), { once: true });
  }
}
