"""How many photos fit, with simulated memories."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.workers.memory import CPU_PHOTOS, GPU_PHOTOS, left_of_share, photos_that_fit


class OutOfMemoryError(Exception):
    """Named like torch's own."""


class Card:
    """A memory with `free` bytes left, of which n photos take `fixed + n * each`."""

    def __init__(self, free: int, each: int, fixed: int = 0) -> None:
        self.free, self.each, self.fixed, self.taken = free, each, fixed, 0

    def run(self, count: int) -> None:
        self.taken = self.fixed + count * self.each
        if self.taken > self.free:
            raise OutOfMemoryError

    def peak(self, run: Callable[[], object]) -> int:
        run()
        return self.taken

    def room(self) -> int:
        return self.free


@pytest.mark.parametrize(
    ("card", "most", "expected"),
    [
        (Card(free=10_000, each=100), None, GPU_PHOTOS),
        (Card(free=10_000, each=100), 16, 16),
        (Card(free=10_000, each=1_000), None, 8),  # 80 % of what is free
        (Card(free=10_000, each=1_000, fixed=5_000), None, 2),
        (Card(free=10_000, each=4_000), None, 2),
        (Card(free=10_000, each=6_000), None, 1),  # two do not fit
        (Card(free=10_000, each=0), None, GPU_PHOTOS),
    ],
)
def test_a_power_of_two_that_fits(card: Card, most: int | None, expected: int) -> None:
    assert photos_that_fit(card.run, card, most) == expected
    card.run(expected)


def test_a_cpu_is_not_limited_and_its_model_not_run() -> None:
    def never(count: int) -> None:
        raise AssertionError

    assert photos_that_fit(never, None) == CPU_PHOTOS
    assert photos_that_fit(never, None, 7) == 7


def test_errors_of_the_model_itself_are_raised() -> None:
    card = Card(free=10, each=20)
    with pytest.raises(OutOfMemoryError):
        photos_that_fit(card.run, card)

    def broken(count: int) -> None:
        if count > 1:
            raise ValueError("no batches")

    with pytest.raises(ValueError, match="no batches"):
        photos_that_fit(broken, Card(free=100, each=1))


def test_actors_that_share_a_gpu_do_not_plan_with_each_others_memory() -> None:
    assert left_of_share(16, 1.0, 6) == 10
    assert 2 * (6 + left_of_share(16, 0.5, 6)) == 16  # both have loaded their model, or will
    assert left_of_share(16, 0.25, 8) == 2  # the model exceeds its share, so others must have less
