"""What is drawn for the runs on hosts; the runs themselves take too long for here."""

from __future__ import annotations

from collections import Counter

import pytest

pytest.importorskip("boto3", reason="the S3 server of the runs on hosts is in the extra dev")


@pytest.mark.parametrize("first", [0, 5, 12])
def test_twelve_seeds_in_a_row_do_every_harm_in_a_folder_and_in_a_bucket(first: int) -> None:
    from tests.hosts.chaos import KINDS, draw

    drawn = [draw(seed, 96, ("encode", "write")) for seed in range(first, first + 12)]
    assert Counter((fault.kind, remote) for fault, remote in drawn) == {
        (kind, remote): 1 for kind in KINDS for remote in (False, True)
    }
    assert all(0 < fault.after < 96 for fault, _ in drawn)
    assert drawn == [draw(seed, 96, ("encode", "write")) for seed in range(first, first + 12)]
