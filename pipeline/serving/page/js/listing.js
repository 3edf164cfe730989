/** The answers to one request, page after page. */

export class Listing {
  /**
   * @param {import("./api.js").Api} api
   * @param {object} request see request.js.
   */
  constructor(api, request) {
    this.api = api;
    this.request = request;
    this.results = [];
    this.answer = null;
  }

  /** Whether there may be more. */
  get unfinished() {
    return this.answer === null || Boolean(this.answer.cursor);
  }

  /** Fetches the next page; returns its results. */
  async next(signal) {
    const cursor = this.answer?.cursor;
    const answer = await this.api.search(cursor ? { ...this.request, cursor } : this.request, signal);
    this.answer = answer;
    this.results.push(...answer.results);
    return answer.results;
  }
}
