"""A feature set of several settings is made as `qpert index` makes its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs import index, indexing, variants
from pipeline.cluster.machines import Machines
from pipeline.datasets.photos.source import find_photos
from pipeline.detectors.config import DetectorConfig
from pipeline.encoders import encoder_spec
from pipeline.errors import QpertError
from pipeline.features.file_sizes import FILE_BYTES
from pipeline.method.settings import Perturbation
from pipeline.runs.index_run import Outcome
from pipeline.runs.run_stats import RunStats

BOTH, ONE, NONE = Machines(8.0, Counter(A100=1, V100=1)), Machines(8.0, Counter(V100=1)), Machines(8.0)


@pytest.fixture
def options(tmp_path: Path, make_photos: Callable[[Path, int], list[str]]) -> index.Config:
    make_photos(tmp_path / "photos", 3)
    return index.Config(
        source=str(tmp_path / "photos"),
        out=str(tmp_path / "out"),
        accelerators=["A100", "V100"],
        wait=7,
        patience=3,
        detector=DetectorConfig(model="miniature"),
    )


def settings(count: int) -> dict[str, Perturbation | None]:
    return {str(number): Perturbation(scale=number + 1) for number in range(count)}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a run is asked for, which is not done."""
    found: dict[str, Any] = {}

    def ask(make_graph: Any, manifest: Any, out: str, **how: Any) -> Outcome:
        found.update(how, make_graph=make_graph)
        graph = make_graph(BOTH)
        return Outcome(RunStats(photos=3), {"photos": 3, "failed": 1, "objects": 0}, 1.0, NONE, graph)

    monkeypatch.setattr(variants, "index_photos", ask)
    return found


def test_gpu_types_that_are_lost_are_not_missed(options: index.Config, asked: dict[str, Any]) -> None:
    by_index = indexing.graphs_for(options, find_photos(options.source), indexing.identity(options), 3)
    assert by_index(BOTH).pools["encode"].labels == {"ray.io/accelerator-type": "in(A100,V100)"}
    variants.index_variants(options, settings(2))
    for make_graph in (by_index, asked["make_graph"]):
        assert make_graph(ONE).pools["encode"].labels == {"ray.io/accelerator-type": "V100"}
        with pytest.raises(QpertError, match="no GPU of type A100, V100"):
            make_graph(NONE)


def test_a_command_that_has_begun_takes_what_is_left(
    options: index.Config, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[Any] = []
    monkeypatch.setattr(Machines, "cluster", lambda ask=True: ONE)
    monkeypatch.setattr(
        "pipeline.cluster.waiting.machines_with", lambda kinds, minutes: waited.append((kinds, minutes))
    )
    variants.index_variants(options, settings(2))
    asked["find_machines"]()
    asked["find_machines"]()
    variants.index_variants(options, settings(2), begun=True)
    asked["find_machines"]()
    assert waited == [(["A100", "V100"], 7.0), (["V100"], 7.0), (["V100"], 7.0)]
    graph = asked["make_graph"](ONE)
    assert graph.pools["encode"].labels == {"ray.io/accelerator-type": "V100"}
    assert (graph.patience, graph.worker.patience) == (180, 60)
    assert graph.settings == tuple(settings(2).values())


def test_files_of_many_embeddings_are_no_larger(options: index.Config) -> None:
    single = indexing.graphs_for(options, find_photos(options.source), {}, 10**6)(BOTH).file_rows
    size = 2 * encoder_spec("coca", None).embedding_values
    assert variants._file_rows(options, 10**6, 1) == single
    for count in (100, 1000):
        assert 64 < variants._file_rows(options, 10**6, count) * count * size <= FILE_BYTES


def test_what_index_would_say_is_said(
    options: index.Config, asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert variants.index_variants(options, settings(1)) == 3
    assert asked
    said = capsys.readouterr().err
    assert "GPUs of type A100, V100 were asked for and NOT USED" in said
    assert "NO OBJECTS in any photo" in said
    assert f"1 photos could not be indexed; the column error of {options.out} says why" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": "/no/such/weights"}, "/no/such/weights"),
        ({"source": "/no/such/photos"}, "there is no /no/such/photos"),
        ({"detector": DetectorConfig(model="/no/such/yolo.pt")}, "/no/such/yolo.pt"),
    ],
)
def test_what_index_refuses_at_the_start_is_refused(
    options: index.Config, asked: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(QpertError, match=message):
        variants.index_variants(options.model_copy(update=change), settings(1))
    assert asked == {}
