"""Photos of the user's own: chosen, dropped, pasted; and what a link to such a search says."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.serving.page.looking import ids, settle, wait_for, wait_for_cards

pytestmark = pytest.mark.slow

HAND_OVER = """async ([type, data, name, mime]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: mime }));
  const options = { bubbles: true, cancelable: true };
  const event = type === "paste"
    ? new ClipboardEvent(type, { ...options, clipboardData: transfer })
    : new DragEvent(type, { ...options, dataTransfer: transfer });
  document.querySelector("main").dispatchEvent(event);
}"""


def hand_over(page: Any, kind: str, photo: bytes, name: str = "mine.jpg", mime: str = "image/jpeg") -> None:
    page.evaluate(HAND_OVER, [kind, base64.b64encode(photo).decode(), name, mime])


def test_a_photo_is_dropped(open_page: Callable[..., Any], photo_file: Path) -> None:
    page = open_page()
    hand_over(page, "dragenter", b"x")
    assert page.is_visible("#veil")
    hand_over(page, "drop", photo_file.read_bytes())
    assert not page.is_visible("#veil")
    wait_for_cards(page)
    assert ids(page)[0] == photo_file.name  # nothing is more like a photo than itself
    assert "mine.jpg" in page.inner_text(".chip")


def test_a_photo_is_pasted(open_page: Callable[..., Any], photo_file: Path) -> None:
    page = open_page()
    hand_over(page, "paste", photo_file.read_bytes())
    wait_for_cards(page)
    assert ids(page)[0] == photo_file.name


def test_a_photo_is_chosen_and_joined_with_words(open_page: Callable[..., Any], photo_file: Path) -> None:
    page = open_page("q=a star")
    wait_for_cards(page)
    with page.expect_file_chooser() as choosing:
        page.click("#choose")
    choosing.value.set_files(photo_file)
    page.wait_for_selector(".chip")
    settle(page)
    assert page.input_value("#text") == "a star"
    wait_for_cards(page)


def test_going_back_and_forward_keeps_the_photo(open_page: Callable[..., Any], photo_file: Path) -> None:
    page = open_page()
    hand_over(page, "drop", photo_file.read_bytes())
    wait_for_cards(page)
    page.go_back()
    page.wait_for_selector("text=What are you looking for?")
    page.go_forward()
    wait_for_cards(page)
    assert ids(page)[0] == photo_file.name


def test_there_is_no_link_to_it_and_that_is_said(open_page: Callable[..., Any], photo_file: Path) -> None:
    page = open_page()
    hand_over(page, "drop", photo_file.read_bytes())
    wait_for_cards(page)
    page.click("#link")
    assert "no link" in page.inner_text("#toast")
    page.click("#json")
    assert "(a photo of your own)" in page.inner_text("#data pre")
    other = open_page(urlsplit(page.url).query)
    assert other.is_visible("text=not part of a link")
    with other.expect_file_chooser() as choosing:
        other.click(".message .main")
    choosing.value.set_files(photo_file)
    wait_for_cards(other)
    assert ids(other)[0] == photo_file.name


def test_what_is_no_photo_is_refused(open_page: Callable[..., Any]) -> None:
    page = open_page(allow=("422",))
    hand_over(page, "drop", b"words", "letter.txt", "text/plain")
    wait_for(page, "document.querySelector('#toast').textContent === 'The file is not a photo.'")
    assert page.is_visible("text=What are you looking for?")
    hand_over(page, "drop", b"no photo", "broken.jpg")
    page.wait_for_selector(".message.problem")
    assert page.locator(".card").count() == 0


def test_a_large_photo_is_made_smaller_before_it_is_sent(open_page: Callable[..., Any], tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "large.jpg", quality=95)
    assert (tmp_path / "large.jpg").stat().st_size > 5e6
    page = open_page()
    with page.expect_request("**/search") as sending:
        page.set_input_files("#file", tmp_path / "large.jpg")
    sent = base64.b64decode(sending.value.post_data_json["terms"][0]["image"])
    assert len(sent) < 5e6
    wait_for_cards(page)
