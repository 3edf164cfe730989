"""axe finds no serious fault in any state, and everything fits and can be hit at any width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from tests.serving.page.looking import settle, wait_for
from tests.serving.page.material import ODD_SET, QUERY

pytestmark = pytest.mark.slow
FOUND = f"q={QUERY}&set=perturbed"


def show_photo(page: Any) -> None:
    page.locator(".card .open").first.click()
    wait_for(page, "document.querySelector('#photo img:last-of-type').naturalWidth > 0")


def show_data(page: Any) -> None:
    page.click("#json")


def show_filters(page: Any) -> None:
    page.click("#filters-button")


def nothing(page: Any) -> None:
    """Leaves a page as it is."""


STATES: dict[str, tuple[str, Callable[[Any], None]]] = {
    "welcome": ("", nothing),
    "found": (FOUND, nothing),
    "odd names": (f"q=a&set={quote(ODD_SET)}", nothing),
    "filters": (f"{FOUND}&has=star&smaller=0.2&path=*.jpg", show_filters),
    "terms": (f'{FOUND}&term={{"text":"a moon","weight":-1}}&term={{"like":"000003.jpg","weight":2}}', nothing),
    "comparison": (f"{FOUND}&compare=plain", nothing),
    "photo": (FOUND, show_photo),
    "json": (FOUND, show_data),
    "nothing found": (f"{FOUND}&min_score=1", nothing),
    "unknown set": ("q=a&set=nowhere", nothing),
    "problem": (f"q={'long ' * 500}", nothing),  # refused by the server
    "own photo": (f'{FOUND}&term={{"upload":"gone"}}', nothing),
}


def open_state(open_page: Callable[..., Any], state: str, **options: Any) -> Any:
    query, act = STATES[state]
    page = open_page(query, allow=("Failed to load resource",), **options)
    settle(page)
    act(page)
    settle(page)
    return page


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_axe_finds_nothing_serious(open_page: Callable[..., Any], state: str, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_state(open_page, state, width=width, scheme=scheme)
    found = axe.run(page, options={"rules": {"target-size": {"enabled": True}}}).response["violations"]
    serious = [
        (fault["id"], node["target"], node["failureSummary"])
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
    assert serious == []


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("width", [1280, 320])
def test_everything_fits_and_can_be_hit(open_page: Callable[..., Any], state: str, width: int) -> None:
    page = open_state(open_page, state, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    beyond = page.evaluate("""() => [...document.querySelectorAll('main *, header *, dialog[open] *')]
      .filter((element) => element.checkVisibility() && !element.closest('.unseen, .boxes, svg'))
      .filter((element) => element.getBoundingClientRect().right > innerWidth + 1)
      .map((element) => element.outerHTML.slice(0, 120))""")
    assert beyond == []
    small = page.evaluate("""() => [...document.querySelectorAll('a, button, input, select, summary')]
      .filter((element) => element.checkVisibility() && !element.closest('.boxes, .check, .skip, .unseen'))
      .map((element) => [element.outerHTML.slice(0, 120), element.getBoundingClientRect()])
      .filter(([, { width, height }]) => width > 1 && (width < 24 || height < 24))
      .map(([html]) => html)""")
    assert small == []


def test_motion_is_still_where_that_is_asked_for(open_page: Callable[..., Any]) -> None:
    page = open_page(FOUND, reduced_motion="reduce")
    settle(page)
    moving = page.evaluate("""() => [...document.querySelectorAll('*')].flatMap((element) => [null, '::before'].map(
      (part) => getComputedStyle(element, part))).filter((style) => style.animationName !== 'none'
      || parseFloat(style.transitionDuration) > 0).length""")
    assert moving == 0


def test_the_page_has_landmarks_and_headings(open_page: Callable[..., Any]) -> None:
    page = open_state(open_page, "found")
    for role in ("banner", "main", "search"):
        assert page.get_by_role(role).count() == 1
    assert page.get_by_role("heading", level=1).inner_text() == "Photo search"
    assert page.get_by_role("region", name="Photos found").count() == 1
    assert page.get_by_role("list", name="Photos, best first").count() == 1
    assert page.get_attribute("#status", "role") == "status"
