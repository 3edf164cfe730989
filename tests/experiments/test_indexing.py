"""Feature sets of several settings are made like those of `qpert index`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.machines import Machines
from pipeline.detectors.config import DetectorConfig
from pipeline.encoders import encoder_spec
from pipeline.errors import QpertError
from pipeline.experiments.indexing import index_variants
from pipeline.features.feature_set import FeatureSet
from pipeline.features.file_sizes import FILE_BYTES
from pipeline.features.store import FeatureStore
from pipeline.method.settings import Perturbation
from pipeline.runs import indexing
from pipeline.runs.index_plan import IndexPlan
from pipeline.runs.index_run import IndexRun
from pipeline.runs.outcome import Outcome
from pipeline.runs.resume import Resume
from pipeline.runs.run_stats import RunStats
from pipeline.runs.spec import IndexSpec, Variants

BOTH, ONE, NONE = Machines(8.0, Counter(A100=1, V100=1)), Machines(8.0, Counter(V100=1)), Machines(8.0)


@pytest.fixture
def spec(tmp_path: Path, make_photos: Callable[[Path, int], list[str]]) -> IndexSpec:
    make_photos(tmp_path / "photos", 3)
    return IndexSpec(
        source=str(tmp_path / "photos"),
        out=str(tmp_path / "out"),
        accelerators=["A100", "V100"],
        wait=7,
        patience=3,
        detector=DetectorConfig(model="miniature"),
    )


def settings(count: int) -> Variants:
    return Variants({str(number): Perturbation(scale=number + 1) for number in range(count)})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments of a run that is not carried out."""
    given: dict[str, Any] = {}

    def ask(make_graph: Any, manifest: Any, out: str, **options: Any) -> Outcome:
        given.update(options, make_graph=make_graph)
        graph = make_graph(BOTH)
        return Outcome(RunStats(photos=3), {"photos": 3, "failed": 1, "objects": 0}, 1.0, NONE, graph)

    monkeypatch.setattr(indexing, "index_photos", ask)
    return given


@pytest.mark.parametrize("variants", [None, settings(2)])
def test_later_attempts_do_without_lost_gpu_types(
    spec: IndexSpec, asked: dict[str, Any], variants: Variants | None
) -> None:
    IndexRun(spec, variants).run()
    for machines, kinds in ((BOTH, "in(A100,V100)"), (ONE, "V100")):
        assert asked["make_graph"](machines).pools["encode"].labels == {"ray.io/accelerator-type": kinds}
    with pytest.raises(QpertError, match="no GPU of type A100, V100"):
        asked["make_graph"](NONE)


def test_a_command_under_way_takes_the_remaining_gpu_types(
    spec: IndexSpec, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[Any] = []
    monkeypatch.setattr(Machines, "cluster", lambda ask=True: ONE)
    monkeypatch.setattr(
        "pipeline.cluster.waiting.machines_with", lambda kinds, minutes: waited.append((kinds, minutes))
    )
    index_variants(spec, settings(2))
    asked["find_machines"]()
    asked["find_machines"]()
    index_variants(spec, settings(2), begun=True)
    asked["find_machines"]()
    assert waited == [(["A100", "V100"], 7.0), (["V100"], 7.0), (["V100"], 7.0)]
    graph = asked["make_graph"](ONE)
    assert graph.pools["encode"].labels == {"ray.io/accelerator-type": "V100"}
    assert (graph.patience, graph.worker.patience) == (180, 60)
    assert graph.stages[-1].steps["encode"].arguments[1] == tuple(settings(2).settings.values())


def test_files_of_many_embeddings_are_not_larger(spec: IndexSpec) -> None:
    def file_rows(variants: Variants | None) -> int:
        plan = IndexPlan.of(spec, variants)
        return plan.graph(Resume(None, 10**6, 0, 0, plan.photos), BOTH, None).file_rows

    size = 2 * encoder_spec("coca", None).embedding_values
    assert file_rows(settings(1)) == file_rows(None)
    for count in (100, 1000):
        assert 64 < file_rows(settings(count)) * count * size <= FILE_BYTES


def test_the_warnings_of_index_are_printed(
    spec: IndexSpec, asked: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (Path(spec.source) / "notes.txt").write_text("no photo")
    assert index_variants(spec, settings(1)) == 3
    assert asked
    said = caplog.text
    assert "GPUs of type A100, V100 were asked for and NOT USED" in said
    assert "NO OBJECTS in any photo" in said
    assert f"1 photos could not be indexed; the column error of {spec.out} says why" in said
    assert "left out 1 not photos (.txt): notes.txt" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": "/no/such/weights"}, "/no/such/weights"),
        ({"source": "/no/such/photos"}, "there is no /no/such/photos"),
        ({"detector": DetectorConfig(model="/no/such/yolo.pt")}, "/no/such/yolo.pt"),
        ({"detector": DetectorConfig(model="none")}, "a perturbation needs objects"),
    ],
)
def test_what_index_refuses_is_refused(
    spec: IndexSpec, asked: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(QpertError, match=message):
        index_variants(spec.model_copy(update=change), settings(1))
    assert asked == {}


@pytest.mark.usefixtures("ray_cpu")
def test_the_manifest_counts_the_photos_that_are_left(spec: IndexSpec, caplog: pytest.LogCaptureFixture) -> None:
    """Outcomes are kept by these counts: with the old ones, those measured before a photo went would be used again."""
    caplog.set_level("INFO")
    spec = spec.model_copy(update={"accelerators": None})
    variants = Variants({"plain": None, "best": Perturbation()})
    assert index_variants(spec, variants) == 3
    assert FeatureStore(spec.out).manifest().counts["photos"] == 3
    next(Path(spec.source).rglob("*.jpg")).unlink()
    assert index_variants(spec, variants) == 0
    assert "left out 1 indexed photos that the source no longer has" in caplog.text
    assert FeatureStore(spec.out).manifest().counts["photos"] == 2
    assert len(FeatureSet.open(spec.out, "best")) == 2


@pytest.mark.usefixtures("ray_cpu")
def test_a_limit_is_respected(spec: IndexSpec) -> None:
    spec = spec.model_copy(update={"accelerators": None, "limit": 2})
    assert index_variants(spec, settings(2)) == 2
    assert FeatureStore(spec.out).manifest().state == "complete"
