"""Groups equal those of comparing photo by photo, by all ways; what is kept of an interrupted comparison is used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.duplicates import by_index, finding, grouping, sketches
from pipeline.duplicates.finding import Duplicates, find_similar
from pipeline.errors import QpertError
from pipeline.retrieval.photo_similarity import photo_similarity
from pipeline.retrieval.similarity import Float32, unit
from pipeline.vectors.opening import open_snapshot
from pipeline.vectors.snapshot import Snapshot
from tests.duplicates.similar_sets import random_facts, row, similar_photos, write_set

Group = list[tuple[str, float]]


class Indexed(Snapshot):
    """A snapshot that calls its exact search an index."""

    @property
    def approximate(self) -> bool:
        return True


def indexed(snapshot: Snapshot) -> Snapshot:
    return Indexed(**{name: getattr(snapshot, name) for name in Snapshot.__dataclass_fields__})


def groups_of(found: Duplicates) -> list[Group]:
    return [[(photo["image_id"], photo["similarity"]) for photo in photos] for photos in found.rows()]


def one_by_one(rows: Sequence[dict[str, Any]], photos: Sequence[Float32], threshold: float, first: str) -> list[Group]:
    """The groups, by the definition."""

    def worth(number: int) -> tuple[Any, ...]:
        one = rows[number]
        size = one["size"] is None, -(one["size"] or 0)
        largest = (-one["width"] * one["height"], size)
        oldest = (one["taken"] is None, str(one["taken"]))
        return (*((largest, oldest) if first == "largest" else (oldest, largest)), one["image_id"])

    led: dict[int, list[tuple[int, float]]] = {}
    for number in sorted(range(len(rows)), key=worth):
        for leader, members in led.items():
            similarity = photo_similarity(photos[leader], photos[number])
            if similarity >= threshold:
                members.append((number, similarity))
                break
        else:
            led[number] = [(number, 1.0)]
    several = [members for members in led.values() if len(members) > 1]
    several.sort(key=lambda members: -len(members))
    named = [[(rows[number]["image_id"], similarity) for number, similarity in members] for members in several]
    return [[first, *sorted(others, key=lambda photo: -photo[1])] for first, *others in named]


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    shape=st.sampled_from([(1, 4), (1, 80), (2, 6)]),
    threshold=st.sampled_from([0.8, 0.95, 1.0]),
    first=st.sampled_from(["largest", "oldest"]),
    sets=st.integers(1, 2),
)
def test_they_equal_comparing_photo_by_photo(
    tmp_path_factory: pytest.TempPathFactory, seed: int, shape: tuple[int, int], threshold: float, first: Any, sets: int
) -> None:
    photos = similar_photos(seed, 40, *shape)
    rows = [row(number, vectors, **random_facts(seed, number)) for number, vectors in enumerate(photos)]
    folder = tmp_path_factory.mktemp("sets")
    parts = np.array_split(np.arange(40), sets)
    roots = [write_set(folder / f"{at}", [rows[one] for one in part], shape) for at, part in enumerate(parts)]
    read = [unit(vectors.astype(np.float16), "the test") for vectors in photos]
    expected = one_by_one(rows, read, threshold, first)
    snapshots = [open_snapshot(root, cache=False) for root in roots]
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in (
            (grouping, "ROWS", 7),
            (grouping, "COLUMNS", 11),
            (grouping, "_CELLS", 3 * shape[0] * shape[1]),
            (by_index, "QUERIES", 5),
            (by_index, "_NEAREST", 1),
        ):
            patch.setattr(module, name, value)
        found = find_similar(snapshots, threshold, first)
        missing = [] if shape[0] == 1 else ["photos have several vectors"]
        assert [note.partition(":")[0] for note in found.notes] == missing
        assert as_close(groups_of(found)) == as_close(expected)
        assert found.surplus == sum(len(group) - 1 for group in expected)
        if shape[0] == 1:
            by_search = find_similar([indexed(snapshot) for snapshot in snapshots], threshold, first, "index")
            assert "does not find" in by_search.notes[0]
            assert groups_of(by_search) == groups_of(found)


def as_close(groups: list[Group]) -> list[list[tuple[str, float]]]:
    """Similarities to five decimals: they are stored as float32. Equal ones in the order of ids."""
    return [
        [group[0], *sorted(((name, round(float(np.float32(score)), 5)) for name, score in group[1:]), key=_place)]
        for group in groups
    ]


def _place(photo: tuple[str, float]) -> tuple[float, str]:
    return -photo[1], photo[0]


def test_sketches_miss_nothing_and_rule_out_much() -> None:
    photos = np.concatenate(similar_photos(0, 300, 1, 200, clusters=30))
    vectors: Any = InMemory([one[None] for one in photos])
    made = sketches.Sketches.of(vectors, (1, 200))
    assert made.table.shape == (300, sketches.WIDTH + 3)
    everything = np.arange(300)
    for threshold in (0.5, 0.9, 1.0):
        ones, others = made.near(everything, everything, threshold)
        near = set(zip(ones.tolist(), others.tolist(), strict=True))
        exact = photos.astype(np.float64) @ photos.T.astype(np.float64)
        similar = set(map(tuple, np.argwhere(exact >= threshold).tolist()))
        assert similar <= near
        assert len(near) < 3 * len(similar) + 300
    assert (np.diff(others) >= 0).all()


class InMemory:
    """Vectors of photos that are not on disk."""

    def __init__(self, photos: list[Float32]) -> None:
        self.photos = photos
        self.sets, self.numbers = np.zeros(len(photos), np.int64), np.arange(len(photos))

    def __len__(self) -> int:
        return len(self.photos)

    def take(self, photos: Any) -> list[Float32]:
        return [self.photos[photo] for photo in photos]


@pytest.mark.slow
def test_photos_that_are_all_the_same_are_one_group_in_little_memory() -> None:
    """Their 50 million pairs would take more than a gigabyte."""
    import tracemalloc

    photo = similar_photos(0, 1, 1, 8)[0]
    vectors: Any = InMemory([photo] * 10_000)
    tracemalloc.start()
    groups = grouping.Groups.none(10_000)
    grouping.group_all(vectors, sketches.Sketches.of(vectors, (1, 8)), 0.98, groups)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [len(group) for group in groups.several()] == [10_000]
    assert peak < 400 * 2**20


@pytest.fixture
def roots(tmp_path: Path) -> list[str]:
    photos = similar_photos(3, 60, 1, 8)
    return [write_set(tmp_path / "set", [row(number, one) for number, one in enumerate(photos)], (1, 8))]


def test_an_interrupted_comparison_goes_on(roots: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "ROWS", 8)
    snapshots, state = [open_snapshot(root, cache=False) for root in roots], str(tmp_path / "state")
    whole = groups_of(find_similar(snapshots, 0.95))

    def interrupt(photos: int) -> None:
        if photos >= 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_similar(snapshots, 0.95, state=state, grouping=interrupt)
    done: list[int] = []
    with pytest.raises(QpertError, match="another comparison"):
        find_similar(snapshots, 0.9, state=state)
    assert groups_of(find_similar(snapshots, 0.95, state=state, grouping=done.append)) == whole
    assert done[0] == 32
    assert not Path(state).exists()


def test_an_interruption_within_a_block_loses_nothing(
    roots: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grouping, "ROWS", 8)
    snapshots, state = [open_snapshot(root, cache=False) for root in roots], str(tmp_path / "state")
    left = 1000

    def failing(first: Float32, second: Float32) -> float:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return photo_similarity(first, second)

    monkeypatch.setattr(grouping, "photo_similarity", failing)
    whole = groups_of(find_similar(snapshots, 0.95))
    calls = 1000 - left
    assert calls > 20
    for allowed in range(1, calls, 5):
        left = allowed
        monkeypatch.setattr(grouping, "photo_similarity", failing)
        with pytest.raises(KeyboardInterrupt):
            find_similar(snapshots, 0.95, state=state)
        monkeypatch.setattr(grouping, "photo_similarity", photo_similarity)
        assert groups_of(find_similar(snapshots, 0.95, state=state)) == whole


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04junk"])
def test_a_file_that_is_no_state_is_refused(roots: list[str], tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state").write_bytes(content)
    with pytest.raises(QpertError, match="does not hold a comparison to go on with"):
        find_similar([open_snapshot(roots[0], cache=False)], 0.95, state=str(tmp_path / "state"))
    assert (tmp_path / "state").read_bytes() == content


def test_a_state_with_a_pickle_is_refused(roots: list[str], tmp_path: Path) -> None:
    with (tmp_path / "state").open("wb") as file:
        np.savez(file, key=np.array([{}], object), leaders=np.zeros(60), similarities=np.zeros(60), done=np.array(0))
    with pytest.raises(QpertError, match="does not hold a comparison"):
        find_similar([open_snapshot(roots[0], cache=False)], 0.95, state=str(tmp_path / "state"))


def test_an_index_must_be_there_and_fit(roots: list[str], tmp_path: Path) -> None:
    with pytest.raises(QpertError, match="has no approximate index: make one with qpert build-index"):
        find_similar([open_snapshot(roots[0], cache=False)], 0.95, compare="index")
    photos = similar_photos(3, 4, 2, 8)
    several = write_set(tmp_path / "several", [row(number, one) for number, one in enumerate(photos)], (2, 8))
    with pytest.raises(QpertError, match="photos with several vectors"):
        find_similar([indexed(open_snapshot(several, cache=False))], 0.95, compare="index")


def test_an_index_is_used_where_all_pairs_take_long(roots: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots = [open_snapshot(roots[0], cache=False)]
    assert find_similar([indexed(snapshots[0])], 0.95).how == "all pairs"
    monkeypatch.setattr(finding, "_LONG", -1)
    assert find_similar([indexed(snapshots[0])], 0.95).how == "by the nearest photos in the index"
    assert find_similar(snapshots, 0.95).how == "all pairs"


def test_without_duplicates_there_are_no_groups(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", [row(0, similar_photos(0, 1, 1, 8)[0])], (1, 8), files=1)
    found = find_similar([open_snapshot(root, cache=False)], 0.5)
    assert (found.groups, found.surplus, list(found.rows())) == ([], 0, [])


def test_a_set_without_any_embedding_has_no_groups(tmp_path: Path) -> None:
    failed = {**row(0, np.ones((1, 80), np.float32)), "embedding": None, "error": "damaged image"}
    root = write_set(tmp_path / "set", [failed], (1, 80), files=1)
    found = find_similar([open_snapshot(root, cache=False)], 0.5)
    assert (len(found.catalogue), found.groups) == (0, [])
