"""What tests of the page look at, and how they watch it."""

from __future__ import annotations

import time
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


def wait_for(page: Any, expression: str, argument: Any = None, seconds: float = 30) -> None:
    """Waits until a JavaScript expression, or a function of `argument`, is true.

    Playwright's own `wait_for_function` evaluates text within the page, which the page's policy forbids.
    """
    end = time.monotonic() + seconds
    while not page.evaluate(expression, argument):
        if time.monotonic() > end:
            raise AssertionError(
                f"never true: {expression} ({argument!r}); {page.url}: {page.inner_text('body')[:500]}"
            )
        page.wait_for_timeout(25)


def wait_for_cards(page: Any, count: int = 24) -> None:
    wait_for(page, "count => document.querySelectorAll('.card').length >= count", count)
    wait_for(page, "document.querySelector('#results').ariaBusy === 'false'")


def settle(page: Any) -> None:
    """Waits until no search runs."""
    wait_for(page, "document.querySelector('#results').ariaBusy === 'false'")
    page.wait_for_load_state("networkidle")
