"""Further views by a real model: each equals what the encoder makes of that part of the photo by itself."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from pipeline.datasets.photos.shard_reading import PHOTO_SCHEMA
from pipeline.encoders import Encoder, load_encoder
from pipeline.encoders.clusters import cluster_tokens
from pipeline.encoders.masking import embed_masked
from pipeline.encoders.object_embeddings import object_embeddings
from pipeline.features.schema import features_schema
from pipeline.features.views import View
from pipeline.method.cuts import cut_around, tiles
from pipeline.method.objects import Objects, batch_coverage
from pipeline.stages.columns import objects_to_row
from pipeline.stages.encode import EncodeStage
from pipeline.stages.multi_config import MultiConfig
from pipeline.stages.other_views import OtherViews
from pipeline.stages.photo_stage import set_column
from pipeline.stages.probe_photos import probe_photos
from pipeline.workers.reporting import Reporter
from pipeline.workers.worker import Worker

CLOSE = {"atol": 2e-6, "rtol": 0}
PHOTOS = probe_photos(3)
WIDE = (
    Image.new("RGB", (300, 60), "navy"),
    Objects([[0, 0, 0.1, 1], [0.45, 0.2, 0.55, 0.8]], ["", ""], [1, 1], (300, 60)),
)
"""The encoder's centre crop removes the first of its objects."""


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("coca")


def plain(encoder: Encoder, image: Image.Image) -> torch.Tensor:
    return encoder.embed(encoder.backbone(encoder.preprocess(image)[None]))[0]


def made(
    encoder: Encoder, config: MultiConfig, photos: Sequence[tuple[Image.Image, Objects]], most: int | None = None
) -> list[tuple[list[View], torch.Tensor]]:
    views = OtherViews(encoder, config, most)
    tokens = encoder.backbone(torch.stack([encoder.preprocess(image) for image, _ in photos]))
    cuts = [views.cut(image, objects) for image, objects in photos]
    return views.embed(tokens, [objects for _, objects in photos], cuts)


def test_crops_are_the_cut_pictures_encoded_by_themselves(encoder: Encoder) -> None:
    found = made(encoder, MultiConfig(kinds=("crops",), margin=0.3), [*PHOTOS, WIDE])
    assert [len(views) for views, _ in found] == [1, 2, 3, 2]
    for (image, objects), (views, vectors) in zip([*PHOTOS, WIDE], found, strict=True):
        for box, view, vector in zip(objects.boxes.tolist(), views, vectors, strict=True):
            cut = cut_around(box, 0.3, image.size)
            torch.testing.assert_close(vector, plain(encoder, image.crop(cut)), **CLOSE)
            corners = [side * image.size[axis % 2] for axis, side in enumerate(view.box)]
            assert (view.kind, corners) == ("crop", pytest.approx(cut))


def test_tiles_are_the_cut_pictures_encoded_by_themselves(encoder: Encoder) -> None:
    ((views, vectors),) = made(encoder, MultiConfig(kinds=("tiles",), tiles=(1, 2), overlap=0.1), PHOTOS[:1])
    image = PHOTOS[0][0]
    cuts = [*tiles(1, 0.1, image.size), *tiles(2, 0.1, image.size)]
    assert [view.kind for view in views] == ["tile"] * 5
    assert views[0].box == (0, 0, 1, 1)
    for cut, vector in zip(cuts, vectors, strict=True):
        torch.testing.assert_close(vector, plain(encoder, image.crop(cut)), **CLOSE)


def test_regions_are_pooled_from_the_tokens_that_a_box_touches(encoder: Encoder) -> None:
    photos = [PHOTOS[2], WIDE]
    found = made(encoder, MultiConfig(kinds=("regions",)), photos)
    assert [view.box[0] for view in found[1][0]] == pytest.approx([0.45])  # what the crop removes has no view
    for (image, objects), (views, vectors) in zip(photos, found, strict=True):
        tokens = encoder.backbone(encoder.preprocess(image)[None])
        coverage = batch_coverage([objects], encoder.grid)[0][0]
        boxes = [(box, row) for box, row in zip(objects.boxes.tolist(), coverage, strict=True) if row.any()]
        for (box, row), view, vector in zip(boxes, views, vectors, strict=True):
            assert (view.kind, list(view.box)) == ("region", box)
            torch.testing.assert_close(vector, encoder.embed(tokens[:, row > 0])[0], **CLOSE)


def test_objects_are_object_embeddings(encoder: Encoder) -> None:
    photos = [PHOTOS[1], WIDE]
    found = made(encoder, MultiConfig(kinds=("objects",)), photos)
    tokens = encoder.backbone(torch.stack([encoder.preprocess(image) for image, _ in photos]))
    for (views, vectors), want in zip(found, object_embeddings(encoder, tokens, [o for _, o in photos]), strict=True):
        assert torch.equal(vectors, want)
        assert [view.kind for view in views] == ["object"] * len(want)
    assert found[1][0][0].box == pytest.approx((0.45, 0.2, 0.55, 0.8))


def test_clusters_are_pooled_from_their_tokens(encoder: Encoder) -> None:
    image = PHOTOS[0][0]
    ((views, vectors),) = made(encoder, MultiConfig(kinds=("clusters",), clusters=4, seed=5), PHOTOS[:1])
    tokens = encoder.backbone(encoder.preprocess(image)[None])
    members = cluster_tokens(tokens[0, 1:], 4, 5)
    assert len(views) == int(members.max()) + 1 == len(vectors)
    for number, (view, vector) in enumerate(zip(views, vectors, strict=True)):
        visible = torch.cat([torch.zeros(1, dtype=torch.bool), members == number])[None]
        torch.testing.assert_close(vector, embed_masked(encoder, tokens, visible)[0], **CLOSE)
        rows, columns = (members == number).view(7, 7).nonzero().T
        width, height, left, top = encoder.grid.placement(image.size)
        corners = [left + 16 * int(columns.min()), top + 16 * int(rows.min())]
        assert view.box[:2] == pytest.approx((corners[0] / width, corners[1] / height), abs=1e-6)
        assert all(0 <= side <= 1 for side in view.box)


def test_the_most_confident_objects_and_of_equals_the_largest_are_kept(encoder: Encoder) -> None:
    boxes = [[0, 0, 0.2, 0.2], [0, 0, 0.9, 0.9], [0.5, 0.5, 0.6, 0.6], [0.1, 0.1, 0.4, 0.4]]
    image = PHOTOS[0][0]
    for scores, kept in (([0.5] * 4, [1, 3]), ([0.9, 0.1, 0.8, 0.2], [0, 2])):
        objects = Objects(boxes, [""] * 4, scores, image.size)
        ((views, _),) = made(encoder, MultiConfig(kinds=("regions",), max_objects=2), [(image, objects)])
        assert [list(view.box) for view in views] == [pytest.approx(boxes[number]) for number in kept]


def test_photos_without_objects_and_boxes_without_area_have_no_view(encoder: Encoder) -> None:
    image = PHOTOS[0][0]
    flat = Objects([[0.2, 0.2, 0.2, 0.9]], [""], [1], image.size)
    config = MultiConfig(kinds=("regions", "crops", "objects"))
    for views, vectors in made(encoder, config, [(image, Objects.empty(image.size)), (image, flat)]):
        assert views == []
        assert vectors.shape == (0, 1, 128)


def test_views_of_several_kinds_follow_each_other(encoder: Encoder) -> None:
    every = MultiConfig(kinds=("objects", "clusters", "tiles", "crops", "regions"), tiles=(2,), clusters=3)
    ((views, vectors),) = made(encoder, every, PHOTOS[1:2])
    kinds = [view.kind for view in views]
    assert kinds[:8] == ["region"] * 2 + ["crop"] * 2 + ["tile"] * 4
    assert kinds[-2:] == ["object"] * 2
    at = 0
    for kind in every.kinds:
        ((alone, of_kind),) = made(encoder, every.model_copy(update={"kinds": (kind,)}), PHOTOS[1:2])
        assert views[at : at + len(alone)] == alone
        torch.testing.assert_close(vectors[at : at + len(alone)], of_kind, **CLOSE)
        at += len(alone)
    assert at == len(views)


def test_no_call_takes_more_pictures_than_a_micro_batch_and_memory_halves_it(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    embed = encoder.embed

    def limited(tokens: torch.Tensor, *rest: Any) -> torch.Tensor:
        sizes.append(len(tokens))
        if len(tokens) > 3:
            raise MemoryError
        return embed(tokens, *rest)

    config = MultiConfig(kinds=("tiles", "regions"), tiles=(3,))
    want = made(encoder, config, PHOTOS)
    monkeypatch.setattr(encoder, "embed", limited)
    views = OtherViews(encoder, config, 4)
    tokens = encoder.backbone(torch.stack([encoder.preprocess(image) for image, _ in PHOTOS]))
    got = views.embed(tokens, [o for _, o in PHOTOS], [views.cut(image, objects) for image, objects in PHOTOS])
    assert max(sizes) == 4
    assert views.at_once == 2
    for (_, expected), (_, vectors) in zip(want, got, strict=True):
        torch.testing.assert_close(vectors, expected, **CLOSE)
    monkeypatch.setattr(encoder, "embed", lambda *rest: limited(torch.zeros(4)))
    with pytest.raises(MemoryError):  # a single picture that does not fit
        views.embed(tokens, [o for _, o in PHOTOS], [views.cut(image, objects) for image, objects in PHOTOS])


def test_few_photos_at_once_where_each_is_cut_into_many(encoder: Encoder) -> None:
    assert OtherViews(encoder, MultiConfig(kinds=("tiles",)), 32).photos_at_once == 2
    assert OtherViews(encoder, MultiConfig(kinds=("crops",)), 32).photos_at_once == 1
    assert OtherViews(encoder, MultiConfig(kinds=("regions",)), 32).photos_at_once == 32


def table_of(photos: Sequence[tuple[Image.Image, Objects]]) -> pa.Table:
    """As the detect stage leaves it; the last photo is damaged."""
    data = []
    for image, _ in photos:
        stream = io.BytesIO()
        image.save(stream, "PNG")
        data.append(stream.getvalue())
    data[-1] = b"text"
    count = len(photos)
    names = [f"{number}.png" for number in range(count)]
    columns = [names, names, data, [None] * count, [1] * count, [0] * count, ["d"] * count]
    rows = pa.array([objects_to_row(objects) for _, objects in photos], features_schema().field("objects").type)
    return set_column(pa.table(columns, schema=PHOTO_SCHEMA), "objects", rows)


def test_rows_of_a_feature_set_with_views(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def alone(*_: Any) -> None:
        raise AssertionError("photos with different numbers of views run together")

    monkeypatch.setattr("pipeline.workers.micro_batching.MicroBatcher._run_one_by_one", alone)
    config = MultiConfig(kinds=("regions", "tiles"), tiles=(2,))
    photos = [*PHOTOS, PHOTOS[0]]
    stage = EncodeStage(lambda **_: encoder, [None], False, "float32", Worker(), Reporter(), multi=config)
    table = stage(table_of(photos))
    assert table.schema == features_schema("float32", with_views=True)
    rows = table.to_pylist()
    assert rows[-1]["views"] is None
    assert rows[-1]["embedding"] is None
    found = made(encoder, config, PHOTOS)
    for row, (image, _), (views, vectors) in zip(rows, PHOTOS, found, strict=False):
        assert row["views"] == [View("whole").as_row(), *(pytest.approx(view.as_row()) for view in views)]
        stored = np.array(row["embedding"], np.float32).reshape(-1, 128)
        np.testing.assert_allclose(stored[0], plain(encoder, image)[0], atol=2e-6)
        np.testing.assert_allclose(stored[1:], vectors[:, 0], atol=2e-6)


def test_without_further_views_the_rows_are_as_before(encoder: Encoder) -> None:
    table = table_of(PHOTOS)
    before = EncodeStage(lambda **_: encoder, [None], False, "float16", Worker(), Reporter())(table)
    assert before.schema == features_schema()
    with_views = EncodeStage(
        lambda **_: encoder, [None], False, "float16", Worker(), Reporter(), multi=MultiConfig(kinds=("clusters",))
    )(table)
    for plain_row, row in zip(before.to_pylist(), with_views.to_pylist(), strict=True):
        assert plain_row["embedding"] == (row["embedding"] and row["embedding"][:128])
