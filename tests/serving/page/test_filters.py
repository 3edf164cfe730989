"""The panel of filters, their chips, and their place in the address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.serving.page.looking import ids, settle, wait_for, wait_for_cards
from tests.serving.page.material import ODD_SET, QUERY, YEARS

pytestmark = pytest.mark.slow
FOUND = f"q={QUERY}&set=plain"


def asked(page: Any) -> dict[str, list[str]]:
    asked = parse_qs(urlsplit(page.url).query)
    return {key: values for key, values in asked.items() if key not in ("q", "set")}


def test_labels_are_suggested_chosen_and_removed(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND)
    wait_for_cards(page)
    assert not page.is_visible("#filters")
    page.click("#filters-button")
    label = page.get_attribute("#labels option", "value")
    page.fill("#has", label)
    page.keyboard.press("Enter")
    wait_for(page, "location.search.includes('has=')")
    settle(page)
    assert asked(page) == {"has": [label]}
    assert page.inner_text("#filters-count") == "1"
    wait_for_cards(page, 1)
    for objects in page.locator(".card .boxes").all():
        assert label in objects.text_content()
    page.click(".chip.filter [aria-label^=Remove]")
    wait_for(page, "!location.search.includes('has=')")
    settle(page)
    assert page.locator("#filters .value").count() == 0
    page.fill("#without", label)
    page.keyboard.press("Enter")
    wait_for(page, "location.search.includes('without=')")
    settle(page)
    wait_for_cards(page, 1)
    for objects in page.locator(".card .boxes").all():
        assert label not in objects.text_content()


def test_all_filters_reach_the_server_and_the_address(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND)
    page.click("#filters-button")
    for field, value in [("smaller", "20"), ("larger", "0.5"), ("min_width", "100"), ("min_height", "90")]:
        page.fill(f"#{field}", value)
    page.fill("#taken_from", "2019-01-01")
    page.fill("#taken_to", "2020-12-31")
    page.fill("#path", "*.jpg")
    page.check("#folding")
    page.check("#exact")
    with page.expect_request("**/search") as sending:
        page.fill("#min_score", "-1")
        page.keyboard.press("Tab")
    request = sending.value.post_data_json
    assert request["filters"] == {
        "path": ["*.jpg"],
        "smaller": 0.2,
        "larger": 0.005,
        "min_width": 100,
        "min_height": 90,
        "taken_from": "2019-01-01T00:00:00",
        "taken_to": "2020-12-31T23:59:59.999999",
    }
    assert (request["fold"], request["exact"], request["min_score"]) == (0.98, True, -1)
    settle(page)
    assert page.is_visible("text=No photo passes all filters.")  # scenes were not taken at any time
    other = open_page(urlsplit(page.url).query)
    settle(other)
    other.click("#filters-button")
    for field in ("smaller", "larger", "min_width", "min_height", "taken_from", "taken_to", "min_score"):
        assert other.input_value(f"#{field}") == page.input_value(f"#{field}") != ""
    assert other.is_checked("#folding")
    assert other.inner_text("#filters .value") == "*.jpg"
    other.click(".message .main")  # "Clear the filters"
    wait_for_cards(other)
    assert asked(other) == {}


def test_dates_select_photos_by_when_they_were_taken(open_page: Callable[..., Any]) -> None:
    page = open_page(f"q=a star&set={quote(ODD_SET)}")
    wait_for_cards(page, len(YEARS))
    page.click("#filters-button")
    page.fill("#taken_from", f"{YEARS[2]}-07-01")
    page.fill("#taken_to", f"{YEARS[4]}-07-01")
    wait_for(page, "location.search.includes('taken_to')")
    settle(page)
    assert len(ids(page)) == 3
    page.locator(".card .open").first.click()
    assert ":30" in page.inner_text("#photo dl")


def test_a_value_out_of_range_does_not_count(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND)
    page.click("#filters-button")
    page.fill("#smaller", "120")
    page.keyboard.press("Tab")
    settle(page)
    assert asked(page) == {}


def test_nearly_equal_photos_are_folded(open_page: Callable[..., Any]) -> None:
    page = open_page(f"{FOUND}&fold=0.5")
    wait_for_cards(page, 1)
    folded = page.locator(".card:has(.folded)").first
    assert "alike" in folded.inner_text()
    folded.locator(".open").click()
    page.locator("#photo .alike button").first.click()
    wait_for(page, "document.querySelector('#photo dl').innerText.includes('Set')")


def test_filters_alone_ask_for_words(open_page: Callable[..., Any]) -> None:
    page = open_page("has=star")
    assert page.is_visible("text=add words or a photo")
