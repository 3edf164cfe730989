"""Sets of ids in little memory, compared with Python's sets."""

from __future__ import annotations

import random

from pipeline.features import id_set
from pipeline.features.id_set import IdSet, digest_of


def test_results_equal_those_of_sets() -> None:
    dice = random.Random(0)
    names = [f"folder {dice.randrange(50)}/é{number}.jpg" for number in range(3000)]
    one, other = names[:2000], names[1500:]
    first, second = IdSet(), IdSet()
    first.add(one[:700])
    first.add(one[700:])
    second.add(other)
    assert (first.count, second.count) == (2000, 1500)
    assert first.shared(second) == second.shared(first) == 500
    assert first.repeated() == set()
    first.add([names[7], names[7], names[1999]])
    assert first.repeated() == {digest_of(names[7]), digest_of(names[1999])}


def test_large_parts_move_to_disk() -> None:
    assert id_set._IN_MEMORY > 8 * 3000  # so the other test stays in memory
    counted = IdSet()
    for start in range(0, 3_000_000, 100_000):
        counted.add(map(str, range(start, start + 100_000)))
    assert any(part._rolled for part in counted._parts)  # type: ignore[attr-defined]
    counted.add(["1234567"])
    assert counted.repeated() == {digest_of("1234567")}


def test_empty_sets_and_odd_names() -> None:
    empty, odd = IdSet(), IdSet()
    odd.add(["", "\udcff", "a\nb"])
    assert (empty.count, empty.shared(odd), odd.shared(empty), empty.repeated()) == (0, 0, 0, set())
    assert odd.shared(odd) == 3
