"""Names and labels of others: markup, signs of addresses, other directions of writing, great length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from tests.serving.page.looking import ids, settle, wait_for, wait_for_cards
from tests.serving.page.material import LABEL, MARKUP, ODD_NAMES, ODD_SET

pytestmark = pytest.mark.slow
FOUND = f"q=a star&set={quote(ODD_SET)}"


@pytest.mark.parametrize("width", [1280, 320])
def test_all_names_are_shown_as_text_and_all_photos_load(open_page: Callable[..., Any], width: int) -> None:
    page = open_page(FOUND, width=width)
    wait_for_cards(page, len(ODD_NAMES))
    assert sorted(ids(page)) == sorted(ODD_NAMES)
    page.evaluate("document.querySelectorAll('.card img').forEach(image => { image.loading = 'eager'; })")
    wait_for(page, "[...document.querySelectorAll('.card img')].every(image => image.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert "hit" not in page.title()
    assert page.locator("main img[src='x'], main script").count() == 0


@pytest.mark.parametrize("name", ODD_NAMES, ids=range(len(ODD_NAMES)))
def test_each_is_opened_linked_and_searched_by(open_page: Callable[..., Any], name: str) -> None:
    page = open_page(FOUND)
    wait_for_cards(page, len(ODD_NAMES))
    page.locator(".card .open").nth(ids(page).index(name)).click()
    wait_for(page, "document.querySelector('#photo img:last-of-type').naturalWidth > 0")
    assert parse_qs(urlsplit(page.url).query)["photo"] == [name]
    assert "\u202e" not in page.inner_text("#photo")
    page.click("#photo .facts .main")
    page.wait_for_selector("#photo", state="hidden")
    settle(page)
    wait_for_cards(page, 1)
    assert "hit" not in page.title()
    other = open_page(urlsplit(page.url).query)
    wait_for_cards(other, 1)
    assert ids(other) == ids(page)


def test_labels_are_text_everywhere(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND)
    wait_for_cards(page, len(ODD_NAMES))
    page.locator(".card .open").nth(ids(page).index(ODD_NAMES[0])).click()
    assert LABEL in page.inner_text("#photo .object")
    assert LABEL in page.inner_text("#photo .box")
    page.keyboard.press("Escape")
    page.click("#filters-button")
    page.fill("#has", LABEL)
    page.keyboard.press("Enter")
    wait_for(page, "location.search.includes('has=')")
    settle(page)
    assert LABEL in page.inner_text(".chip.filter")
    assert "hit" not in page.title()


def test_addresses_of_strangers_are_harmless(open_page: Callable[..., Any]) -> None:
    values = [
        ("q", MARKUP),
        ("term", '{"text": "' + LABEL + '"}'),
        ("term", '{"like": "../../etc/passwd", "set": "plain", "weight": 1e999, "box": [0, 0, 9, "x"]}'),
        ("term", "[not json"),
        ("term", "null"),
        ("term", '{"__proto__": {"polluted": 1}, "text": "a", "weight": "2"}'),
        ("smaller", "NaN"),
        ("fold", "many"),
        ("taken_from", "yesterday"),
        ("path", LABEL),
    ]
    page = open_page(urlencode(values), allow=("Failed to load resource",))
    settle(page)
    assert "hit" not in page.title().replace(MARKUP, "")
    assert page.input_value("#text") == MARKUP
    assert page.evaluate("({}).polluted") is None
    assert page.locator(".chip").count() == 4


def test_addresses_in_answers_that_lead_elsewhere_are_not_followed(open_page: Callable[..., Any]) -> None:
    def twist(route: Any) -> None:
        answer = route.fetch().json()
        for result in answer["results"]:
            result["thumbnail"] = "https://example.org/spy.gif"
            result["photo"] = "javascript:document.title='hit'"
        route.fulfill(json=answer)

    page = open_page(FOUND, prepare=lambda page: page.route("**/search", twist))
    wait_for_cards(page, len(ODD_NAMES))
    page.locator(".card .open").first.click()
    wait_for(page, "document.querySelector('#photo img:last-of-type').naturalWidth > 0")
    assert "hit" not in page.title()
