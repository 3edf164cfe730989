/** Results of the server, in words. */

import { printable } from "./dom.js";

/** What tells a photo from others of all sets. */
export function keyOf(hit) {
  return JSON.stringify([hit.set ?? "", hit.image_id]);
}

export function scoreText(score) {
  return Number.isFinite(score) ? score.toFixed(3) : "–";
}

/** `2 stars and 1 circle` for people who cannot see the boxes. */
export function objectsText(objects) {
  const counts = new Map();
  for (const object of objects ?? []) {
    const label = labelOf(object);
    counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  const names = [...counts].map(([label, count]) => (count === 1 ? label : `${label} (${count})`));
  return names.length ? `shows ${names.join(", ")}` : "no objects found";
}

export function labelOf(object) {
  return printable(object.label || "object");
}

/** The last part of an id, which is what people call a photo; the whole id if there is none. */
export function shortName(id) {
  const end = String(id).split("/").filter(Boolean).at(-1);
  return end || String(id);
}

export function viewText(view) {
  if (!view || view.kind === "whole") return "";
  return `${printable(view.kind)}, ${boxText(view.box)}`;
}

export function boxText(box) {
  const [x0, y0, x1, y1] = box.map((side) => Math.round(100 * side));
  return `${x0}–${x1} % across, ${y0}–${y1} % down`;
}

/** `3 % of the photo`. */
export function areaText(box) {
  const area = 100 * Math.max(0, box[2] - box[0]) * Math.max(0, box[3] - box[1]);
  return `${area >= 10 ? Math.round(area) : Number(area.toPrecision(2))} % of the photo`;
}

/** When a photo was taken: date and time as they were written, for there is no time zone. */
export function takenText(taken) {
  const match = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}))?/.exec(taken ?? "");
  return match ? [match[1], match[2]].filter(Boolean).join(" ") : printable(taken ?? "");
}
