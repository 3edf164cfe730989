/** What can be done with a photo: looked at, searched by, added to the search. */

import { Problem } from "./api.js";

/** @param {import("./app.js").App} app */
export function makeActions(app) {
  return {
    open: (hit) => app.go({ photo: { set: hit.set, id: hit.image_id } }),
    openId: (photo) => app.go({ photo }),
    step: (count) => app.step(count),
    close: () => app.closePhoto(),
    copy: (text) => app.toast.copy(text, "Id"),

    /** A new search by a photo of a set, or by a part of it. */
    like(hit, { box, label }) {
      const term = { like: hit.image_id, set: hit.set, weight: 1, ...(box && { box }) };
      app.go({ text: "", terms: [term], photo: null });
      app.toast.say(box ? `Looking for more like this ${label}.` : "Looking for more like this photo.");
    },

    /** The same search, with a photo of a set added to it or taken from it. */
    add(hit, { weight }) {
      const term = { like: hit.image_id, set: hit.set, weight };
      app.go({ terms: [...app.state.terms, term], photo: null });
      app.toast.say(weight > 0 ? "Added: more like this photo." : "Added: less like this photo.");
    },

    /** The same search, with a photo of the user's in place of an earlier one. */
    async take(file) {
      try {
        const upload = await app.uploads.add(file);
        const others = app.state.terms.filter((term) => !term.upload);
        app.go({ terms: [...others, { upload, weight: 1 }], photo: null });
        app.toast.say("Searching with your photo. It cannot be part of a link.");
      } catch (problem) {
        app.toast.say(problem instanceof Problem ? problem.message : "This file cannot be read.");
      }
    },
  };
}
