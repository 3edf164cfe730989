"""Settings of an index by the size of the set."""

from __future__ import annotations

import pytest

from pipeline.errors import QpertError
from pipeline.vectors.settings import chosen_settings, code_bytes, sample_size


def test_kinds_follow_the_number_of_vectors():
    kinds = {count: chosen_settings("auto", count, 256).kind for count in (10, 99_999, 100_000, 999_999, 1_000_000)}
    assert list(kinds.values()) == ["exact", "exact", "ivf-sq8", "ivf-sq8", "ivf-pq"]


def test_a_million_photos_of_32_vectors_fit_into_four_gigabytes():
    settings = chosen_settings("auto", 32_000_000, 256)
    assert (settings.kind, settings.lists, settings.pieces) == ("ivf-pq", 16384, 128)
    assert 32_000_000 * code_bytes(settings, 256) < 3e9
    assert sample_size(settings) * 256 * 4 < 1e9


def test_a_smaller_share_of_the_lists_of_a_larger_set_is_looked_into():
    """Half of them at 100,000 vectors, 36 % at a million: with 256 of 2,048 lists a recall of 0.885 was measured."""
    found = [chosen_settings("ivf-pq", vectors, 768) for vectors in (10, 10_000, 100_000, 10**6, 10**7)]
    assert [settings.lists for settings in found] == [16, 256, 1024, 2048, 8192]
    assert [settings.probes for settings in found] == [16, 177, 512, 742, 2150]


@pytest.mark.parametrize(("dim", "pieces"), [(256, 128), (6, 3), (9, 3), (7, 1), (1, 1)])
def test_pieces_divide_the_dimension(dim, pieces):
    assert chosen_settings("ivf-pq", 1000, dim).pieces == pieces


def test_values_that_do_not_fit_are_refused():
    with pytest.raises(QpertError, match="pieces"):
        chosen_settings("ivf-pq", 1000, 8, pieces=3)
    with pytest.raises(QpertError, match="probes"):
        chosen_settings("ivf-pq", 1000, 8, lists=4, probes=5)
    with pytest.raises(QpertError, match="lists"):
        chosen_settings("ivf-pq", 1000, 8, lists=-1)
    with pytest.raises(QpertError, match="exact"):
        chosen_settings("exact", 1000, 8, keep_vectors=False)
    assert sample_size(chosen_settings("exact", 1000, 8)) == code_bytes(chosen_settings("exact", 1000, 8), 8) == 0


def test_photos_of_many_vectors_are_looked_at_as_a_whole():
    assert chosen_settings("auto", 99_999, 256, 1_000).kind == "exact"
    assert chosen_settings("auto", 16 * 10_000, 256, 10_000).kind == "photo-pq"
    assert chosen_settings("auto", 15 * 10_000, 256, 10_000).kind == "ivf-sq8"
    settings = chosen_settings("auto", 32_000_000, 256, 1_000_000)
    assert (settings.kind, settings.lists, settings.pieces, settings.shortlist) == ("photo-pq", 1, 128, 0.022)
    shares = [chosen_settings("photo-pq", 32 * photos, 256, photos).shortlist for photos in (10, 10_000, 10**5, 10**7)]
    assert shares == [0.2, 0.11, 0.05, 0.01]
    assert sample_size(settings) * 256 * 4 < 1e9
    with pytest.raises(QpertError, match="no lists to choose"):
        chosen_settings("photo-pq", 1000, 8, lists=4)
