"""Plain beside Q-Perturbation."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.serving.page.looking import settle, wait_for_cards
from tests.serving.page.material import COUNT, QUERY

pytestmark = pytest.mark.slow
BOTH = f"q={QUERY}&set=perturbed&compare=plain"


def column(page: Any, number: int) -> list[tuple[str, int, str]]:
    """Id, rank and what is said of its change, of each photo of a column."""
    return [
        tuple(card)
        for card in page.eval_on_selector_all(
            f".column[data-number='{number}'] .card",
            "cards => cards.map(card => [card.dataset.id, Number(card.querySelector('.rank').textContent),"
            " card.querySelector('.spoken-change').textContent])",
        )
    ]


def test_the_second_set_is_chosen_and_plain_comes_first(open_page: Callable[..., Any]) -> None:
    page = open_page(f"q={QUERY}&set=perturbed")
    wait_for_cards(page)
    page.select_option("#compare", "plain")
    page.wait_for_selector(".columns.two")
    settle(page)
    assert page.locator(".column h3").all_inner_texts() == ["plain", "perturbed"]
    assert parse_qs(urlsplit(page.url).query)["compare"] == ["plain"]
    page.go_back()
    page.wait_for_selector(".columns.two", state="detached")


def test_ranks_of_the_columns_agree(open_page: Callable[..., Any]) -> None:
    page = open_page(BOTH)
    wait_for_cards(page, 48)
    for _ in range(10):
        page.mouse.wheel(0, 9000)
        page.wait_for_timeout(100)
    settle(page)
    plain, perturbed = column(page, 0), column(page, 1)
    assert len(plain) == len(perturbed) == COUNT
    ranks = {name: rank for name, rank, _ in plain}
    changes = 0
    for name, rank, said in perturbed:
        moved = ranks[name] - rank
        if moved == 0:
            assert said == "; the same rank in plain"
            continue
        changes += 1
        word = "up" if moved > 0 else "down"
        assert re.fullmatch(f"; {word} {abs(moved)} ranks?, from {ranks[name]} in plain", said)
    assert changes > 0
    up, down, same, new, lost = map(int, re.findall(r"(\d+) (?:up|down|at|new|lost)", page.inner_text(".summary")))
    assert (up + down, same, new, lost) == (changes, COUNT - changes, 0, 0)


def test_new_and_lost_photos_are_marked(open_page: Callable[..., Any]) -> None:
    page = open_page(
        BOTH,
        prepare=lambda page: page.add_init_script(
            "window.IntersectionObserver = class { observe() {} unobserve() {} }"
        ),
    )
    wait_for_cards(page, 48)
    plain, perturbed = ({name for name, _, _ in column(page, number)} for number in (0, 1))
    new = {name for name, _, said in column(page, 1) if said.startswith("; new")}
    lost = {name for name, _, said in column(page, 0) if said.startswith("; lost")}
    assert new == perturbed - plain
    assert lost == plain - perturbed
    assert f"{len(new)} new, {len(lost)} lost" in page.inner_text(".summary")
    for mark in page.locator(".change").all():  # in a corner of the photo, whatever it says
        assert mark.bounding_box()["height"] < 40


def test_a_photo_is_marked_in_the_other_column(open_page: Callable[..., Any]) -> None:
    page = open_page(BOTH)
    wait_for_cards(page, 48)
    card = page.locator(".column[data-number='1'] .card").first
    card.hover()
    assert page.get_attribute(".twin", "data-id") == card.get_attribute("data-id")
    page.mouse.move(0, 0)
    assert page.locator(".twin").count() == 0


def test_on_a_phone_one_column_is_shown_at_a_time(open_page: Callable[..., Any]) -> None:
    page = open_page(BOTH, width=390, height=844)
    wait_for_cards(page, 48)
    first, second = page.locator(".column").all()
    assert (first.is_visible(), second.is_visible()) == (False, True)
    page.click(".switch button >> nth=0")
    assert (first.is_visible(), second.is_visible()) == (True, False)


def test_a_photo_of_either_column_opens_from_its_own_set(open_page: Callable[..., Any]) -> None:
    page = open_page(BOTH)
    wait_for_cards(page, 48)
    for number, name in enumerate(["plain", "perturbed"]):
        page.locator(f".column[data-number='{number}'] .open").first.click()
        assert page.locator("#photo dd").nth(1).inner_text() == name
        page.keyboard.press("Escape")
        page.wait_for_selector("#photo", state="hidden")
        settle(page)
