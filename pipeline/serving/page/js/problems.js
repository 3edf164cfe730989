/** What went wrong, in words, and what can be done about it. */

import { printable } from "./dom.js";

const RETRY = { action: "retry", label: "Try again" };

/**
 * @param {import("./api.js").Problem|Error} problem
 * @param {boolean} hasToken whether a token was sent.
 * @returns {{symbol: string, title: string, text: string, action: string|null, label: string}} `action` is "retry",
 *   "again" (a new search from its first page), "token" or null.
 */
export function describeProblem(problem, hasToken) {
  const said = printable(problem.message ?? "");
  switch (problem.status) {
    case 0:
      if (problem.kind === "upload")
        return { symbol: "photo", title: "This photo cannot be used", text: said, action: null };
      return {
        symbol: "offline",
        title: navigator.onLine ? "The server does not answer" : "You are offline",
        text: "Your search is kept. It goes on as soon as there is a connection, or try it yourself.",
        ...RETRY,
      };
    case 401:
      return {
        symbol: "lock",
        title: hasToken ? "This token is not accepted" : "This server asks for a token",
        text: "Whoever runs it can give it to you. It is kept in this tab alone, until you close it.",
        action: "token",
      };
    case 404:
      return { symbol: "none", title: "Not found", text: said || "The server has no such set or photo.", action: null };
    case 409:
      return {
        symbol: "wait",
        title: "The photos have changed since this search",
        text: "Photos were added or removed, so there is no going on where it was.",
        action: "again",
        label: "Search again",
      };
    case 413:
      return { symbol: "photo", title: "The photo is too large", text: said || "Choose a smaller one.", action: null };
    case 429:
      return {
        symbol: "wait",
        title: "Too many requests",
        text: said || "The server asks you to wait a moment.",
        ...RETRY,
      };
    case 503:
      return {
        symbol: "wait",
        title: "The server is busy",
        text: said || "It may be starting, or reading its sets.",
        ...RETRY,
      };
    case 400:
    case 415:
    case 422:
      return { symbol: "warning", title: "The server does not understand this search", text: said, action: null };
    default:
      return {
        symbol: "warning",
        title: "Something went wrong",
        text: said || `The server answered ${problem.status ?? "something unexpected"}.`,
        ...RETRY,
      };
  }
}
