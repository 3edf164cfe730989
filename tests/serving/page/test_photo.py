"""A photo shown large, its boxes, and more like it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.serving.page.looking import ids, settle, wait_for, wait_for_cards
from tests.serving.page.material import QUERY

pytestmark = pytest.mark.slow
FOUND = f"q={QUERY}&set=perturbed"


def open_photo(page: Any, place: int = 0) -> str:
    wait_for_cards(page)
    name = ids(page)[place]
    page.locator(".card .open").nth(place).click()
    page.wait_for_selector("#photo[open]")
    return name


def terms(page: Any) -> list[Any]:
    return [json.loads(term) for term in parse_qs(urlsplit(page.url).query).get("term", [])]


def test_a_click_shows_the_photo_large(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND)
    name = open_photo(page, 1)
    wait_for(page, "document.querySelector('#photo img:last-of-type').naturalWidth > 0")
    facts = page.inner_text("#photo dl")
    assert name in facts
    assert "192 \u00d7 192 px" in facts
    assert page.locator("#photo .box").count() == page.locator("#photo .object").count() > 0
    assert parse_qs(urlsplit(page.url).query)["photo"] == [name]
    assert page.evaluate("document.activeElement.id") == "photo-title"


def test_it_is_left_by_the_key_the_button_and_the_way_back(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND)
    for leave in (
        lambda: page.keyboard.press("Escape"),
        lambda: page.click("#photo [aria-label=Close]"),
        lambda: page.go_back(),
    ):
        name = open_photo(page, 2)
        leave()
        page.wait_for_selector("#photo", state="hidden")
        assert "photo" not in parse_qs(urlsplit(page.url).query)
        assert page.evaluate("document.activeElement.closest('.card').dataset.id") == name
    page.go_forward()
    page.wait_for_selector("#photo[open]")


def test_the_arrows_lead_to_the_photos_beside_it_and_past_the_page(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND)
    open_photo(page)
    assert page.is_disabled("#photo [data-step='-1']")
    for _ in range(30):
        shown = page.inner_text("#photo dd")
        page.keyboard.press("ArrowRight")
        wait_for(page, "shown => document.querySelector('#photo dd').innerText !== shown", shown)
    assert ids(page)[30] in page.inner_text("#photo dd")
    page.keyboard.press("ArrowLeft")
    wait_for(page, "name => document.querySelector('#photo dd').innerText.includes(name)", ids(page)[29])
    page.go_back()  # one step, however many photos were looked at
    page.wait_for_selector("#photo", state="hidden")
    assert page.evaluate("document.activeElement.closest('.card').dataset.id") == ids(page)[29]


def test_a_box_finds_more_like_that_part(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND)
    name = open_photo(page)
    box = page.locator("#photo .box").last
    label = box.inner_text().split()[0]
    box.click()
    wait_for(page, f"document.querySelector('#toast').textContent === 'Looking for more like this {label}.'")
    assert not page.is_visible("#photo")
    settle(page)
    (term,) = terms(page)
    assert term["like"] == name
    assert term["set"] == "perturbed"
    assert 0 <= term["box"][0] < term["box"][2] <= 1
    assert "q" not in parse_qs(urlsplit(page.url).query)
    assert f"part of {name}" in page.inner_text(".chip")
    wait_for_cards(page, 1)


def test_the_photo_itself_finds_more_like_it(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND)
    name = open_photo(page)
    page.locator("#photo .whole").click(position={"x": 3, "y": 3})
    page.wait_for_selector("#photo", state="hidden")
    wait_for_cards(page, 1)
    assert terms(page) == [{"like": name, "set": "perturbed", "weight": 1}]


def test_among_the_results_a_click_on_a_box_opens_the_photo_and_one_on_its_name_searches(
    open_page: Callable[..., Any],
) -> None:
    page = open_page(FOUND)
    wait_for_cards(page)
    box = page.locator(".card .box").first
    frame = box.bounding_box()
    page.mouse.click(frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2)
    page.wait_for_selector("#photo[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#photo", state="hidden")
    page.locator(".card").first.hover()
    box.locator("span").click()
    wait_for(page, "location.search.includes('box')")
    settle(page)
    assert terms(page)[0]["box"]


def test_more_and_less_are_added_weighed_turned_and_removed(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND)
    wait_for_cards(page)
    first, second = ids(page)[:2]
    page.locator(".card [aria-label^='Add more']").nth(0).click()
    page.wait_for_selector(".chip")
    settle(page)
    page.locator(f".card[data-id='{second}'] [aria-label^='Add less']").click()
    page.wait_for_selector(".chip >> nth=1")
    settle(page)
    assert [(term["like"], term["weight"]) for term in terms(page)] == [(first, 1), (second, -0.5)]
    assert page.input_value("#text") == QUERY
    page.locator(".chip.less .sign").click()
    page.wait_for_selector(".chip.less", state="detached")
    settle(page)
    page.locator(".chip select").last.select_option("2")
    wait_for(page, "decodeURIComponent(location.search).includes('\"weight\":2')")
    settle(page)
    assert [term["weight"] for term in terms(page)] == [1, 2]
    page.locator(".chip [aria-label^=Remove]").first.click()
    wait_for(page, "document.querySelectorAll('.chip').length === 1")
    settle(page)
    assert [term["like"] for term in terms(page)] == [second]
    assert page.evaluate("document.activeElement.closest('.chip') !== null")


def test_further_words_are_added_and_taken_away(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND)
    wait_for_cards(page)
    page.fill(".adder input", "a blue circle")
    page.keyboard.press("Enter")
    page.wait_for_selector(".chip.more")
    settle(page)
    page.fill(".adder input", "a moon")
    page.click(".adder [aria-label^=Less]")
    page.wait_for_selector(".chip.less")
    settle(page)
    assert terms(page) == [{"text": "a blue circle", "weight": 1}, {"text": "a moon", "weight": -0.5}]
    wait_for_cards(page, 1)


def test_a_link_to_a_photo_shows_it_again(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND)
    open_photo(page, 3)
    facts = page.inner_text("#photo dl")
    other = open_page(urlsplit(page.url).query)
    other.wait_for_selector("#photo[open]")
    wait_for_cards(other)
    wait_for(other, "facts => document.querySelector('#photo dl').innerText === facts", facts)


def test_a_link_in_a_new_tab_is_the_photo(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND)
    wait_for_cards(page)
    with page.context.expect_page() as opened:
        page.locator(".card .open").first.click(modifiers=["Control"])
    opened.value.wait_for_selector("#photo[open]")
    assert not page.is_visible("#photo")
