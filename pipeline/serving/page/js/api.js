/** The server: searches, sets and photos, with a token where one is asked for. */

const TOKEN = "qpert-token";

/** Sizes of thumbnails that the server makes, in pixels: for chips, and for cards on screens of any density. */
export const SMALL = 160;
export const MIDDLE = devicePixelRatio > 1.4 ? 640 : 320;

/** Why there is no answer. `kind` is a code of the server's, or `offline`. */
export class Problem extends Error {
  constructor(status, kind, message, retryAfter = null) {
    super(message);
    this.status = status;
    this.kind = kind;
    this.retryAfter = retryAfter;
  }
}

export class Api {
  /** @param {Storage} storage where the token is kept: that of the tab, so that it is gone with it. */
  constructor(storage = sessionStorage) {
    this.storage = storage;
  }

  get token() {
    return this.storage.getItem(TOKEN) ?? "";
  }

  set token(value) {
    if (value) this.storage.setItem(TOKEN, value);
    else this.storage.removeItem(TOKEN);
  }

  /** The sets that are served. */
  async sets() {
    const { sets } = await (await this.#fetch("sets")).json();
    return sets;
  }

  /** The answer to a request (see request.js). */
  async search(request, signal) {
    const response = await this.#fetch("search", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(request),
      signal,
    });
    return response.json();
  }

  /** A photo or thumbnail as a blob, for where an <img> could not send the token. */
  async blob(address, signal) {
    return (await this.#fetch(address, { signal })).blob();
  }

  async #fetch(address, { headers = {}, ...options } = {}) {
    const token = this.token;
    let response;
    try {
      response = await fetch(address, {
        ...options,
        headers: token ? { ...headers, Authorization: `Bearer ${token}` } : headers,
        credentials: "same-origin",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, "offline", "The server does not answer.");
    }
    if (!response.ok) throw await problemOf(response);
    return response;
  }
}

/** The address of the photo with an id. A slash in an id is escaped: browsers would resolve the dots of `a/../b`. */
export function photoAddress({ set, id }) {
  return `photos/${escaped(set)}/${escaped(id)}`;
}

/** The same for a small copy, its longer side `size` pixels: one of `SMALL` and `MIDDLE`. */
export function thumbnailAddress({ set, id }, size) {
  return `thumbnails/${escaped(set)}/${escaped(id)}?size=${size}`;
}

/** The address that the server gave, with a `size` if one is named; `otherwise` if it does not lead to the server. */
export function givenAddress(address, otherwise, size = null) {
  if (!address) return otherwise;
  const url = new URL(address, document.baseURI);
  if (url.origin !== location.origin) return otherwise;
  if (size !== null) url.searchParams.set("size", String(size));
  return url.href;
}

function escaped(text) {
  return encodeURIComponent(text.replace(/\p{Cs}/gu, "\ufffd"));
}

async function problemOf(response) {
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // A proxy in between may answer with a page of its own.
  }
  const wait = Number(response.headers.get("Retry-After"));
  return new Problem(
    response.status,
    typeof error.code === "string" ? error.code : String(response.status),
    typeof error.message === "string" ? error.message : "",
    Number.isFinite(wait) && wait > 0 ? wait : null,
  );
}
