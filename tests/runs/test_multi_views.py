"""Further views and other resolutions in the plan of a run: what is refused, and what is recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.cli.parsing import parse
from jobs.index import Config
from pipeline.cluster.machines import Machines
from pipeline.errors import QpertError
from pipeline.features.fingerprint import fingerprint
from pipeline.features.provenance import MadeWith
from pipeline.method.settings import Perturbation
from pipeline.runs.identity import identity
from pipeline.runs.index_plan import IndexPlan
from pipeline.runs.index_run import IndexRun
from pipeline.runs.resume import Resume
from pipeline.runs.spec import IndexSpec, Variants
from pipeline.stages.multi_config import MultiConfig


@pytest.fixture
def spec(tmp_path: Path, make_photos: Callable[[Path, int], list[str]]) -> Callable[..., IndexSpec]:
    make_photos(tmp_path / "photos", 3)
    return lambda **options: IndexSpec(source=str(tmp_path / "photos"), out=str(tmp_path / "out"), **options)


def test_words_of_the_command_line() -> None:
    words = ["photos", "--out", "o", "--multi", "tiles", "regions", "--multi.tiles", "3", "--image-size", "224"]
    config = parse(Config, words, verb="index")
    assert config is not None
    assert config.multi == MultiConfig(kinds=("regions", "tiles"), tiles=(3,))
    assert config.image_size == 224
    with pytest.raises(QpertError, match="--multi"):
        parse(Config, ["photos", "--out", "o", "--multi", "boxes"], verb="index")


def test_only_what_is_asked_for_is_part_of_the_identity(spec: Callable[..., IndexSpec]) -> None:
    plain = identity(spec())
    assert not {"multi", "image_size"} & plain.keys()
    unused = identity(spec(multi=MultiConfig(margin=0.9, seed=3)))
    assert fingerprint(unused) == fingerprint(plain)
    tiled = identity(spec(multi=MultiConfig(kinds=("tiles",))))
    assert {**plain, "multi": {"kinds": ["tiles"], "tiles": [2, 3], "overlap": 0.2}} == tiled
    assert {**plain, "image_size": 224} == identity(spec(image_size=224))
    assert tiled["encoder"] == plain["encoder"]  # so that searches load the same text tower


def test_the_manifest_names_the_kinds_and_the_resolution(spec: Callable[..., IndexSpec]) -> None:
    plan = IndexPlan.of(spec(multi=MultiConfig(kinds=("crops", "clusters")), image_size=224))
    manifest = plan.manifest()
    assert manifest.multi == ["crops", "clusters"]
    assert MadeWith.of(manifest, "out").image_size == 224
    assert MadeWith.of(IndexPlan.of(spec()).manifest(), "out").image_size is None
    both = IndexPlan.of(spec(multi=MultiConfig(kinds=("tiles",))), Variants({"plain": None, "p": Perturbation.paper()}))
    assert (both.manifest().variants, both.manifest().multi) == (["plain", "p"], ["tiles"])


def test_files_hold_fewer_photos_where_each_has_more_vectors(spec: Callable[..., IndexSpec]) -> None:
    machines = Machines.here(2)
    rows = []
    for multi in (MultiConfig(), MultiConfig(kinds=("tiles",)), MultiConfig(kinds=("tiles", "clusters", "regions"))):
        plan = IndexPlan.of(spec(encoder="blip2", multi=multi))
        rows.append(plan.layout(Resume(None, 10**7, 0, 0, plan.photos), machines, None).file_rows)
    assert rows[0] > 5 * rows[1] > 5 * rows[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"multi": MultiConfig(kinds=("crops",)), "detector": {"model": "none"}}, "--multi crops needs objects"),
        ({"image_size": 120}, "patches of 16 pixels: 120 is no multiple, 112 or 128 is"),
        (
            {"encoder": "open_clip", "weights": "ViT-B-32:openai", "multi": MultiConfig(kinds=("regions", "tiles"))},
            "no cross-attention for objects to act on: no --multi regions",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_ray(spec: Callable[..., IndexSpec], options: Any, message: str) -> None:
    with pytest.raises(QpertError, match=message):
        IndexPlan.of(spec(**{"perturbation": {"preset": "none"}, **options}))


def test_tiles_need_neither_objects_nor_cross_attentions(spec: Callable[..., IndexSpec]) -> None:
    plain: dict[str, Any] = {"detector": {"model": "none"}, "perturbation": {"preset": "none"}}
    for encoder in ({"encoder": "coca"}, {"encoder": "open_clip", "weights": "ViT-B-32:openai"}):
        plan = IndexPlan.of(spec(**encoder, **plain, multi=MultiConfig(kinds=("tiles",))))
        assert plan.manifest().multi == ["tiles"]
        assert not plan.perturbs


@pytest.mark.filterwarnings("ignore:.*miniature")
def test_a_dry_run_says_what_the_views_cost(spec: Callable[..., IndexSpec]) -> None:
    lines = IndexRun(spec(multi=MultiConfig(kinds=("crops", "tiles")), image_size=224)).describe().splitlines()
    named = {line.partition(" ")[0]: line.partition(" ")[2].strip() for line in lines}
    assert named["resolution"] == "224 pixels"
    assert named["views"] == "crops, tiles: some 19 more vectors per photo, 45 further tower passes at most"
    assert "views" not in IndexRun(spec()).describe()
