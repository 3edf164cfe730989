"""The page without a pointer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.serving.page.looking import settle, wait_for_cards
from tests.serving.page.material import QUERY

pytestmark = pytest.mark.slow
FOCUSED = """() => {
  const element = document.activeElement;
  return element.ariaLabel || element.innerText || element.id;
}"""


def test_a_walk_from_the_box_to_a_photo_and_more_like_it(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.keyboard.type(QUERY)
    page.keyboard.press("Enter")
    wait_for_cards(page)
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.card .open')"):
            break
    assert page.evaluate("document.activeElement.closest('.card').querySelector('.rank').textContent") == "1"
    for key, rank in [("ArrowRight", "2"), ("ArrowRight", "3"), ("ArrowLeft", "2"), ("Home", "1")]:
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.closest('.card').querySelector('.rank').textContent") == rank
    below = page.evaluate("""[...document.querySelectorAll('.card')].findIndex(
      (card, place, cards) => place > 0 && card.offsetLeft === cards[0].offsetLeft)""")
    page.keyboard.press("ArrowDown")
    rank = page.evaluate("Number(document.activeElement.closest('.card').querySelector('.rank').textContent)")
    assert rank == below + 1
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_selector("#photo[open]")
    boxes = page.locator("#photo .box").count()
    stops = []
    for _ in range(12 + 2 * boxes):
        page.keyboard.press("Tab")
        stops.append(page.evaluate(FOCUSED))
        if page.evaluate("document.activeElement.matches('#photo .box')"):
            break
    assert "Close" in stops
    assert page.evaluate("document.activeElement.ariaLabel").startswith("More like this")
    page.keyboard.press("Enter")
    page.wait_for_selector("#photo", state="hidden")
    settle(page)
    assert page.locator(".chip").count() == 1
    wait_for_cards(page, 1)


def test_the_list_is_one_stop_and_its_photo_s_buttons_follow(open_page: Callable[..., Any]) -> None:
    page = open_page(f"q={QUERY}")
    wait_for_cards(page)
    assert page.locator(".card :is(a, button):not([tabindex='-1'])").count() == 3
    page.locator(".card .open").nth(4).focus()
    assert page.locator(".card :is(a, button):not([tabindex='-1'])").count() == 3
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED).startswith("Add more like")
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED).startswith("Add less like")


def test_focus_stays_within_the_dialog(open_page: Callable[..., Any]) -> None:
    page = open_page(f"q={QUERY}")
    wait_for_cards(page)
    page.locator(".card .open").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#photo[open]")
    for _ in range(40):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('#photo')")


def test_the_first_stop_skips_to_the_photos(open_page: Callable[..., Any]) -> None:
    page = open_page(f"q={QUERY}")
    wait_for_cards(page)
    page.focus(".skip")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.matches('.card .open')")
    assert "#results" not in page.url or page.locator(".card").count()


def test_every_stop_shows_that_it_has_the_focus(open_page: Callable[..., Any]) -> None:
    page = open_page(f"q={QUERY}")
    wait_for_cards(page)
    page.click("#filters-button")
    page.focus(".brand")
    unseen = []
    for _ in range(45):
        page.keyboard.press("Tab")
        shown = page.evaluate("""() => {
          const rings = [document.activeElement, document.activeElement.closest('.card, .search-box')];
          return rings.some((element) => element && parseFloat(getComputedStyle(element).outlineWidth) >= 2
            && getComputedStyle(element).outlineStyle !== 'none');
        }""")
        if not shown and page.evaluate("document.activeElement !== document.body"):
            unseen.append(page.evaluate(FOCUSED))
    assert unseen == []
