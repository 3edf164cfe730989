"""What the page says where there is no answer, and how it goes on from there."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.serving.page.looking import settle, wait_for, wait_for_cards
from tests.serving.page.material import QUERY

pytestmark = pytest.mark.slow
FOUND = f"q={QUERY}"
EXPECTED = ("Failed to load resource",)


class Fault:
    """Answers in place of the server, until it is `mended`."""

    def __init__(self, status: int, code: str = "", message: str = "", headers: dict[str, str] | None = None) -> None:
        self.status, self.headers = status, headers or {}
        self.body = json.dumps({"error": {"code": code, "message": message}})
        self.mended = False
        self.asked: list[Any] = []

    def __call__(self, route: Any) -> None:
        self.asked.append(route.request)
        if self.mended:
            route.continue_()
        elif self.status == 0:
            route.abort("connectionrefused")
        else:
            route.fulfill(status=self.status, body=self.body, headers=self.headers, content_type="application/json")

    def on(self, pattern: str) -> Callable[[Any], None]:
        return lambda page: page.route(pattern, self)


@pytest.mark.parametrize(
    ("fault", "title"),
    [
        (Fault(0), "The server does not answer"),
        (Fault(429, "too_many_requests", "wait a little"), "Too many requests"),
        (Fault(503, "unavailable", "starting"), "The server is busy"),
        (Fault(500, "internal", "out of luck"), "Something went wrong"),
    ],
    ids=["no connection", "429", "503", "500"],
)
def test_a_search_that_fails_is_tried_again(open_page: Callable[..., Any], fault: Fault, title: str) -> None:
    page = open_page(FOUND, allow=EXPECTED, prepare=fault.on("**/search"))
    page.wait_for_selector(".message.problem")
    assert page.inner_text(".message h3") == title
    assert page.inner_text("#status") == title  # read out
    fault.mended = True
    page.click(".message .main")
    wait_for_cards(page)
    assert not page.is_visible(".message")


def test_a_page_of_a_proxy_is_an_error_too(open_page: Callable[..., Any]) -> None:
    fault = Fault(502)
    fault.body = "<html>Bad gateway</html>"
    page = open_page(FOUND, allow=EXPECTED, prepare=fault.on("**/search"))
    page.wait_for_selector(".message.problem")
    assert "502" in page.inner_text(".message")


def test_it_tries_again_by_itself_when_the_server_says_when(open_page: Callable[..., Any]) -> None:
    fault = Fault(429, headers={"Retry-After": "2"})
    page = open_page(FOUND, allow=EXPECTED, prepare=fault.on("**/search"))
    page.wait_for_selector(".message.problem")
    assert "Try again in" in page.inner_text(".message .main")
    fault.mended = True
    wait_for_cards(page)


def test_it_goes_on_when_the_connection_is_back(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND, allow=(*EXPECTED, "ERR_INTERNET_DISCONNECTED"))
    wait_for_cards(page)
    page.context.set_offline(True)
    page.fill("#text", "a blue circle")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=You are offline")
    page.context.set_offline(False)
    wait_for_cards(page)
    assert page.input_value("#text") == "a blue circle"


def test_it_goes_on_when_the_server_is_back(open_page: Callable[..., Any]) -> None:
    fault = Fault(0)
    page = open_page(FOUND, allow=EXPECTED, prepare=lambda page: page.route("**/*", fault_of_api(fault)))
    page.wait_for_selector("text=The server does not answer")
    fault.mended = True
    wait_for_cards(page)


def fault_of_api(fault: Fault) -> Callable[[Any], None]:
    """The page itself is loaded, as it was before the server stopped."""
    return lambda route: route.continue_() if route.request.resource_type != "fetch" else fault(route)


def test_a_refused_search_says_why(open_page: Callable[..., Any]) -> None:
    page = open_page(f"q={'long ' * 500}", allow=EXPECTED)
    page.wait_for_selector(".message.problem")
    assert "2000" in page.inner_text(".message p")
    fault = Fault(422, "invalid", "filters.smaller: too <b>large</b>")
    page = open_page(FOUND, allow=EXPECTED, prepare=fault.on("**/search"))
    page.wait_for_selector(".message.problem")
    assert "too <b>large</b>" in page.inner_text(".message")


def test_a_set_that_is_not_served_is_exchanged(open_page: Callable[..., Any]) -> None:
    page = open_page(f"{FOUND}&set=nowhere")
    assert page.inner_text(".message h3") == "No such set of photos is served"
    page.click("text=Search in perturbed")
    wait_for_cards(page)
    assert page.input_value("#set") == "perturbed"


def answer_without_scrolling(fault: Fault, page: Any) -> None:
    """Searches have the fault, and further photos are loaded by the button alone."""
    fault.on("**/search")(page)
    page.add_init_script("window.IntersectionObserver = class { observe() {} unobserve() {} }")


def test_a_set_that_changed_meanwhile_is_searched_again(open_page: Callable[..., Any]) -> None:
    fault = Fault(409, "set_changed", "the set has changed")
    fault.mended = True
    page = open_page(
        FOUND,
        allow=EXPECTED,
        height=400,
        prepare=partial(answer_without_scrolling, fault),
    )
    wait_for_cards(page)
    fault.mended = False
    page.click("#more button")
    page.wait_for_selector("text=The photos have changed since this search")
    assert page.locator(".card").count() == 24  # what is there stays
    fault.mended = True
    page.click("text=Search again")
    page.wait_for_selector("text=The photos have changed since this search", state="detached")
    wait_for_cards(page)
    assert "cursor" not in fault.asked[-1].post_data_json


def test_a_page_that_fails_to_load_is_loaded_again(open_page: Callable[..., Any]) -> None:
    fault = Fault(503)
    fault.mended = True
    page = open_page(
        FOUND,
        allow=EXPECTED,
        prepare=partial(answer_without_scrolling, fault),
    )
    wait_for_cards(page)
    fault.mended = False
    page.click("#more button")
    page.wait_for_selector(".message.problem")
    fault.mended = True
    page.click(".message .main")
    wait_for_cards(page, 48)
    assert page.locator(".message").count() == 0


def test_hits_of_an_earlier_search_fade_while_the_next_one_runs(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND)
    wait_for_cards(page)
    waiting: list[Any] = []
    page.route("**/search", lambda route: waiting.append(route))
    page.fill("#text", "another")
    page.keyboard.press("Enter")
    page.wait_for_selector(".outdated")
    assert page.inner_text("#status") == "Searching…"
    waiting[-1].continue_()  # before it, more photos of the first search may have been asked for
    page.wait_for_selector(".outdated", state="detached")
    assert "photos" in page.inner_text("#status")


def test_an_older_search_never_shows_over_a_newer_one(open_page: Callable[..., Any]) -> None:
    def delay(route: Any) -> None:
        if route.request.post_data_json["text"] == "slow":
            page.wait_for_timeout(300)
        route.continue_()

    page = open_page()
    page.route("**/search", delay)
    page.evaluate("""() => {
      const form = document.querySelector('#search');
      for (const text of ['slow', 'quick']) {
        document.querySelector('#text').value = text;
        form.requestSubmit();
      }
    }""")
    wait_for_cards(page)
    page.wait_for_timeout(500)
    page.click("#json")
    assert '"text": "quick"' in page.inner_text("#data pre")


def test_a_token_is_asked_for_sent_and_forgotten(open_page: Callable[..., Any]) -> None:
    def guard(route: Any) -> None:
        if route.request.headers.get("authorization") == "Bearer right":
            route.continue_()
        else:
            route.fulfill(status=401, body='{"error": {"code": "unauthorised", "message": "no"}}')

    def prepare(page: Any) -> None:
        for pattern in ("**/sets", "**/search", "**/photos/**", "**/thumbnails/**"):
            page.route(pattern, guard)

    page = open_page(FOUND, allow=EXPECTED, prepare=prepare)
    page.wait_for_function("document.activeElement.id === 'token'")
    page.fill("#token", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=This token is not accepted")
    page.fill("#token", "right")
    page.keyboard.press("Enter")
    wait_for_cards(page)
    wait_for(page, "[...document.querySelectorAll('.card img')].slice(0, 4).every(i => i.naturalWidth > 0)")
    assert page.evaluate("document.querySelector('.card img').src").startswith("blob:")
    page.locator(".card .open").first.click()
    wait_for(page, "document.querySelector('#photo img:last-of-type').naturalWidth > 0")
    assert page.evaluate("localStorage.length") == 0
    assert page.evaluate("Object.values(sessionStorage)") == ["right"]


def test_a_photo_that_is_gone_is_said_to_be(open_page: Callable[..., Any]) -> None:
    fault = Fault(404, "not_found", "no such photo")
    page = open_page(
        FOUND, allow=EXPECTED, prepare=lambda page: (fault.on("**/thumbnails/**")(page), fault.on("**/photos/**")(page))
    )
    wait_for_cards(page)
    page.wait_for_selector(".card .unshown")
    page.locator(".card .open").first.click()
    page.wait_for_selector("#photo .unshown")
    settle(page)


def test_no_hit_is_no_error(open_page: Callable[..., Any]) -> None:
    page = open_page(f"{FOUND}&min_score=1")
    page.wait_for_selector("text=No photo found")
    assert page.inner_text("#status") == "No photo found"
    page.click("text=Clear the filters")
    wait_for_cards(page)


def test_warnings_of_sets_are_shown(open_page: Callable[..., Any]) -> None:
    def warn(route: Any) -> None:
        sets = route.fetch().json()
        for each in sets["sets"]:
            each["warning"] = "MINIATURE MODELS ON REAL PHOTOS\nThey only know <i>drawn</i> shapes."
        route.fulfill(json=sets)

    page = open_page(prepare=lambda page: page.route("**/sets", warn))
    page.wait_for_selector(".warning")
    assert page.locator(".warning").count() == 1
    assert page.inner_text(".warning strong") == "Miniature models on real photos"
    page.click(".warning summary")
    assert "They only know <i>drawn</i> shapes." in page.inner_text(".warning")


def test_notes_of_an_answer_are_shown(open_page: Callable[..., Any]) -> None:
    def note(route: Any) -> None:
        answer = route.fetch().json()
        answer["notes"] = ["the index is <b>older</b> than the set"]
        route.fulfill(json=answer)

    page = open_page(FOUND, prepare=lambda page: page.route("**/search", note))
    wait_for_cards(page)
    assert page.inner_text(".note") == "the index is <b>older</b> than the set"
