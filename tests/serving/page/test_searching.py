"""Searching by words: typing, examples, more photos, addresses, going back, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.serving.page.looking import ids, wait_for, wait_for_cards
from tests.serving.page.material import COUNT, QUERY

pytestmark = pytest.mark.slow
FOUND = f"q={QUERY}"


def test_words_are_typed_and_found(open_page: Callable[..., Any]) -> None:
    page = open_page()
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.type(QUERY)
    page.keyboard.press("Enter")
    wait_for_cards(page)
    assert parse_qs(urlsplit(page.url).query) == {"q": [QUERY]}
    assert page.title() == f"{QUERY}: qpert"
    assert "best score" in page.inner_text("#status")
    ranks = page.locator(".rank").all_inner_texts()
    assert ranks == [str(rank) for rank in range(1, len(ranks) + 1)]
    scores = [float(score) for score in page.locator(".score").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
    assert page.evaluate("[...document.images].filter(i => i.closest('.card')).slice(0, 4).every(i => i.complete)")


def test_a_label_of_the_set_is_an_example(open_page: Callable[..., Any]) -> None:
    page = open_page()
    example = page.locator(".example").first
    label = example.inner_text()
    example.click()
    wait_for_cards(page)
    assert page.input_value("#text") == label


def test_scrolling_brings_all_photos_once(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND)
    wait_for_cards(page)
    for _ in range(20):
        page.mouse.wheel(0, 5000)
        page.wait_for_timeout(100)
        if not page.is_visible("#more"):
            break
    assert len(ids(page)) == len({*ids(page)}) == COUNT
    assert "more below" not in page.inner_text("#status")
    assert f"{COUNT} photos" in page.inner_text("#status")


def test_the_button_loads_more_for_the_keyboard(open_page: Callable[..., Any]) -> None:
    page = open_page(
        FOUND,
        height=300,
        prepare=lambda page: page.add_init_script(
            "delete window.IntersectionObserver;window.IntersectionObserver = class { observe() {} unobserve() {} }"
        ),
    )
    wait_for_cards(page)
    assert len(ids(page)) == 24
    page.focus("#more button")
    page.keyboard.press("Enter")
    wait_for_cards(page, 48)
    assert page.evaluate("document.activeElement.closest('.card').querySelector('.rank').textContent") == "25"


def test_an_address_says_what_is_shown(open_page: Callable[..., Any]) -> None:
    first = open_page()
    first.fill("#text", QUERY)
    first.keyboard.press("Enter")
    wait_for_cards(first)
    first.select_option("#set", "perturbed")
    wait_for(first, "location.search.includes('perturbed')")
    wait_for(first, "document.querySelector('#results').ariaBusy === 'false'")
    second = open_page(urlsplit(first.url).query)
    wait_for_cards(second)
    assert ids(second)[:24] == ids(first)[:24]
    assert second.input_value("#set") == "perturbed"


def test_going_back_and_forward(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND)
    wait_for_cards(page)
    before = ids(page)[:24]
    page.evaluate("scrollTo({ top: 900, behavior: 'instant' })")
    page.wait_for_timeout(400)
    scrolled = page.evaluate("scrollY")
    assert scrolled > 0
    page.keyboard.press("Control+A")
    page.keyboard.type("a large blue circle")
    page.keyboard.press("Enter")
    wait_for(page, "before => document.querySelector('.card').dataset.id !== before", before[0])
    assert page.evaluate("scrollY") == 0
    requests = []
    page.on("request", lambda request: requests.append(request) if request.url.endswith("/search") else None)
    page.go_back()
    wait_for(page, "before => document.querySelector('.card').dataset.id === before", before[0])
    assert ids(page)[:24] == before
    assert page.input_value("#text") == QUERY
    assert page.evaluate("scrollY") == pytest.approx(scrolled, abs=2)
    assert [r for r in requests if "cursor" not in r.post_data_json] == []  # what was shown is still known
    page.go_forward()
    wait_for(page, "before => document.querySelector('.card').dataset.id !== before", before[0])
    assert page.input_value("#text") == "a large blue circle"


def test_the_slash_goes_to_the_search_box_and_can_be_typed_there(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND)
    page.focus("#boxes")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.press("End")
    page.keyboard.press("/")
    assert page.input_value("#text") == f"{QUERY}/"


def test_the_json_is_what_is_shown(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND)
    wait_for_cards(page)
    page.click("#json")
    data = json.loads(page.inner_text("#data pre"))
    (answer,) = data["answers"]
    assert [result["image_id"] for result in answer["results"]] == ids(page)
    assert answer["request"]["text"] == QUERY
    assert data["address"] == page.url
    with page.expect_download() as saving:
        page.click("#data .main")
    assert json.loads(saving.value.path().read_text()) == data
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "json"


def test_the_link_can_be_copied(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND, permissions=["clipboard-read", "clipboard-write"])
    wait_for_cards(page)
    page.click("#link")
    wait_for(page, "document.querySelector('#toast').textContent")
    assert page.evaluate("navigator.clipboard.readText()") == page.url


def test_nothing_is_asked_without_words(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.focus("#text")
    page.keyboard.press("Enter")
    assert page.is_visible("text=What are you looking for?")


def test_boxes_can_be_hidden(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND)
    wait_for_cards(page)
    assert page.locator(".card .box").first.is_visible()
    page.click("#boxes")
    assert page.get_attribute("#boxes", "aria-pressed") == "false"
    assert not page.locator(".card .box").first.is_visible()
