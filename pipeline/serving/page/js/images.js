/** Puts photos into <img> elements: by their address, or fetched with the token where there is one. */

export class Images {
  /** @param {import("./api.js").Api} api */
  constructor(api) {
    this.api = api;
    this.wanted = new WeakMap();
    this.observer = new IntersectionObserver(
      (entries) => {
        for (const entry of entries.filter(({ isIntersecting }) => isIntersecting)) {
          this.observer.unobserve(entry.target);
          this.#fetch(entry.target, this.wanted.get(entry.target));
        }
      },
      { rootMargin: "600px" },
    );
  }

  /** Shows `address` in `image`; `failed` is called if it cannot be shown. */
  show(image, address, failed = () => {}) {
    image.addEventListener("error", failed, { once: true });
    if (!this.api.token) {
      image.src = address;
      return;
    }
    this.wanted.set(image, address);
    this.observer.observe(image);
  }

  async #fetch(image, address) {
    try {
      const blob = URL.createObjectURL(await this.api.blob(address));
      const release = () => URL.revokeObjectURL(blob);
      image.addEventListener("load", release, { once: true });
      image.addEventListener("error", release, { once: true });
      image.src = blob;
    } catch {
      image.dispatchEvent(new Event("error"));
    }
  }
}
