"""What tests of the page look at, and how they watch it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Served:
    """A running server."""

    address: str
    folder: Path


@dataclass
class Watch:
    """What a page did that no page may do."""

    address: str
    allowed: tuple[str, ...]
    faults: list[str] = field(default_factory=list)

    def look_at(self, page: Any) -> None:
        page.on("console", lambda message: self._note(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self._note(str(error)))
        page.on("request", lambda request: self._check(request.url))

    def _check(self, url: str) -> None:
        if not url.startswith((self.address, "blob:", "data:")):
            self._note(f"asks another host: {url}")

    def _note(self, fault: str) -> None:
        if not any(text in fault for text in self.allowed):
            self.faults.append(fault)


def ids(page: Any) -> list[str]:
    """Of the photos shown, in their order; of two columns one after the other."""
    return page.eval_on_selector_all(".card", "cards => cards.map(card => card.dataset.id)")


def wait_for_cards(page: Any, count: int = 24) -> None:
    page.wait_for_function("count => document.querySelectorAll('.card').length >= count", arg=count)
    page.wait_for_function("document.querySelector('#results').ariaBusy === 'false'")


def settle(page: Any) -> None:
    """Waits until no search runs."""
    page.wait_for_function("document.querySelector('#results').ariaBusy === 'false'")
    page.wait_for_load_state("networkidle")
