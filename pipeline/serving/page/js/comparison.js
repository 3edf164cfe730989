/** How the ranks of two sets differ. */

/**
 * What is shown beside a photo.
 * @param {object} hit a result with `compared_rank`, its rank in the other set; null if it is not found there.
 * @param {string} other name of the other set.
 * @param {"before"|"after"} side the column: what was (plain), or what became of it.
 * @param {number} count photos that both columns show; one beyond them in the other set is new, or lost.
 * @returns {{text: string, spoken: string, kind: string}}
 */
export function changeOf(hit, other, side, count) {
  const there = hit.compared_rank ?? null;
  if (there === null || there > count) {
    const kind = side === "after" ? "new" : "lost";
    const where = there === null ? `not found in ${other}` : `rank ${there.toLocaleString("en")} in ${other}`;
    return { text: kind, spoken: `${kind}: ${where}`, kind };
  }
  // Seen from the first column, a photo that stands higher here goes down there.
  const moved = side === "after" ? there - hit.rank : hit.rank - there;
  if (moved === 0) return { text: "=", spoken: `the same rank in ${other}`, kind: "same" };
  const ranks = Math.abs(moved);
  const words = `${moved > 0 ? "up" : "down"} ${ranks} ${ranks === 1 ? "rank" : "ranks"}`;
  return {
    text: `${moved > 0 ? "▲" : "▼"} ${ranks} ${side === "after" ? "from" : "to"} ${there}`,
    spoken: side === "after" ? `${words}, from ${there} in ${other}` : `${words}, to ${there} in ${other}`,
    kind: moved > 0 ? "up" : "down",
  };
}

/**
 * One sentence about the photos that both columns show.
 * @param {object[]} before results of the first column.
 * @param {object[]} after results of the second.
 */
export function summaryOf(before, after) {
  const count = Math.min(before.length, after.length);
  if (count === 0) return "";
  const first = (hit) => (hit.compared_rank ?? Infinity) <= count;
  const kept = after.slice(0, count).filter(first);
  const moves = kept.map((hit) => hit.compared_rank - hit.rank);
  const up = moves.filter((move) => move > 0).length;
  const down = moves.filter((move) => move < 0).length;
  const parts = [
    `${up} up`,
    `${down} down`,
    `${moves.length - up - down} at the same rank`,
    `${count - kept.length} new`,
    `${before.slice(0, count).filter((hit) => !first(hit)).length} lost`,
  ];
  const mean = moves.reduce((sum, move) => sum + Math.abs(move), 0) / Math.max(1, moves.length);
  const by = moves.length ? `; ${mean.toFixed(1)} ranks on average` : "";
  return `Of the first ${count.toLocaleString("en")}: ${parts.join(", ")}${by}`;
}
