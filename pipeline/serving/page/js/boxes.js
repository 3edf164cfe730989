/** The boxes of a photo's objects, laid over the photo. */

import { make } from "./dom.js";
import { areaText, labelOf } from "./hits.js";
import { isBox } from "./state.js";

const HUES = 12;

/**
 * A layer of buttons, one for each object; small ones on top, so that they can be reached.
 * @param {object} hit a result.
 * @param {(box: number[], label: string) => void} choose called with the object that is chosen.
 * @param {{tab: boolean}} options whether the buttons are stops of the tab key.
 */
export function boxLayer(hit, choose, { tab }) {
  const objects = (hit.objects ?? []).map((object) => ({ ...object, box: clamped(object.box) }));
  const drawn = objects.filter(({ box }) => isBox(box)).sort((one, other) => area(other.box) - area(one.box));
  const layer = make("div", { class: "boxes", "aria-hidden": !tab && "true" });
  for (const object of drawn) layer.append(boxButton(object, choose, tab));
  if (hit.view && hit.view.kind !== "whole" && isBox(clamped(hit.view.box))) {
    layer.append(make("div", { class: "frame", style: placed(clamped(hit.view.box)) }));
  }
  return layer;
}

function boxButton({ box, label, score }, choose, tab) {
  const shown = labelOf({ label });
  const [x0, y0, x1, y1] = box;
  const place = y0 >= 0.1 ? "above" : y1 <= 0.9 ? "below" : "inside";
  return make(
    "button",
    {
      type: "button",
      class: `box ${place}${x0 + x1 > 1 ? " leftward" : ""}`,
      style: { ...placed(box), "--hue": String(hueOf(shown)) },
      tabindex: tab ? null : "-1",
      "aria-label": `More like this ${shown}, ${areaText(box)}`,
      on: { click: () => choose(box, shown) },
    },
    make("span", {}, Number.isFinite(score) ? `${shown} ${score.toFixed(2)}` : shown),
  );
}

function placed([x0, y0, x1, y1]) {
  const percent = (fraction) => `${(100 * fraction).toFixed(3)}%`;
  return { left: percent(x0), top: percent(y0), width: percent(x1 - x0), height: percent(y1 - y0) };
}

/** Detectors may put a side a little beyond the photo's. */
function clamped(box) {
  return Array.isArray(box) ? box.map((side) => Math.min(1, Math.max(0, side))) : [];
}

function area([x0, y0, x1, y1]) {
  return (x1 - x0) * (y1 - y0);
}

function hueOf(label) {
  let hash = 0;
  for (const letter of label) hash = (31 * hash + letter.codePointAt(0)) >>> 0;
  return ((hash % HUES) * 360) / HUES;
}
