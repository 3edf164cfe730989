"""Boxes, areas and the tokens under them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from pipeline.errors import QpertError
from pipeline.method.native_grid import NativeGrid
from pipeline.method.objects import Objects, TokenGrid, batch_coverage, token_coverage

SQUASH = TokenGrid(image_size=28, patch=7, mode="squash")
CROP = TokenGrid(image_size=28, patch=7, mode="center_crop")


def box(x0: float, y0: float, x1: float, y1: float, size: tuple[int, int] = (100, 100)) -> Objects:
    return Objects(torch.tensor([[x0, y0, x1, y1]]), ["thing"], [1.0], size)


def patches(objects: Objects, grid: TokenGrid) -> torch.Tensor:
    coverage = token_coverage(objects, grid)
    assert not coverage[:, : grid.prefix].any()
    return coverage[:, grid.prefix :].view(-1, grid.side, grid.side)


def test_grid_counts_tokens() -> None:
    assert (SQUASH.side, SQUASH.tokens) == (4, 17)
    assert TokenGrid(224, 14, "squash", prefix=0).tokens == 256
    assert TokenGrid(30, 7, "center_crop").side == 4  # two pixels are left over
    with pytest.raises(QpertError, match="squash"):
        TokenGrid(28, 7, "longest")  # type: ignore[arg-type]
    with pytest.raises(QpertError, match="patches of 32"):
        TokenGrid(28, 32, "squash")


def test_squash_by_hand() -> None:
    got = patches(box(0.125, 0.25, 0.5, 0.375), SQUASH)[0]
    want = torch.zeros(4, 4)
    want[1, 0], want[1, 1] = 0.25, 0.5  # half of the first column, all of the second; half of the row
    torch.testing.assert_close(got, want)


def test_squash_ignores_the_aspect_ratio() -> None:
    sides = [(100, 100), (1000, 10), (3, 700)]
    first, *others = (token_coverage(box(0.1, 0.2, 0.7, 0.9, size), SQUASH) for size in sides)
    assert all(torch.equal(first, other) for other in others)


def test_whole_photo_covers_every_patch() -> None:
    for grid in (SQUASH, CROP, TokenGrid(364, 14, "squash")):
        assert torch.equal(patches(box(0, 0, 1, 1, (640, 427)), grid), torch.ones(1, grid.side, grid.side))


def test_remainder_pixels_belong_to_no_token() -> None:
    grid = TokenGrid(30, 7, "squash")
    assert torch.equal(patches(box(0, 0, 28 / 30, 28 / 30), grid), torch.ones(1, 4, 4))
    assert not patches(box(28.5 / 30, 0, 1, 1), grid).any()


def test_the_smallest_box_covers_a_token() -> None:
    got = patches(box(0.6, 0.6, 0.6001, 0.6001), SQUASH)[0]
    assert got.nonzero().tolist() == [[2, 2]]
    assert got[2, 2].item() == pytest.approx((4 * 1e-4) ** 2, rel=1e-2)


@pytest.mark.parametrize("width", [364, 480, 500, 640, 1333])
def test_a_box_that_ends_on_a_patch_border_touches_no_further_patch(width: int) -> None:
    grid = TokenGrid(364, 14, "squash")
    for first in range(0, 26, 3):
        for last in range(first + 1, 27, 4):
            edges = [first * width / 26, 0, last * width / 26, 10]
            coverage = patches(Objects.from_pixels([edges], [""], [1], (width, 364)), grid)[0]
            assert (coverage[0] > 0).nonzero().flatten().tolist() == list(range(first, last))


def test_center_crop_by_hand() -> None:
    # 100 x 50 becomes 56 x 28, of which columns 14 to 42 stay: a quarter is cut off on either side.
    assert CROP.placement((100, 50)) == (56, 28, 14, 0)
    assert CROP.placement((50, 100)) == (28, 56, 0, 14)
    assert torch.equal(patches(box(0.25, 0, 0.75, 1, (100, 50)), CROP), torch.ones(1, 4, 4))
    got = patches(box(0, 0, 0.375, 1, (100, 50)), CROP)[0]
    assert torch.equal(got, torch.tensor([[1.0, 0, 0, 0]]).expand(4, 4))


def test_an_object_outside_the_crop_covers_nothing_and_keeps_its_area() -> None:
    gone = box(0, 0, 0.25, 1, (100, 50))
    assert not token_coverage(gone, CROP).any()
    assert gone.areas.tolist() == [0.25]


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 900), height=st.integers(1, 900), size=st.integers(8, 230))
def test_placement_equals_torchvision(width: int, height: int, size: int) -> None:
    if max(width, height) / min(width, height) > 40:
        return
    new_width, new_height, left, top = TokenGrid(size, 1, "center_crop").placement((width, height))
    resized = Resize(size, interpolation=InterpolationMode.NEAREST)(Image.new("L", (width, height)))
    assert resized.size == (new_width, new_height)
    where = Image.fromarray(np.add.outer(np.arange(new_height) * 10000, np.arange(new_width)).astype(np.int32), "I")
    corner = CenterCrop(size)(where).getpixel((0, 0))
    assert corner == top * 10000 + left


def test_center_crop_follows_the_pixels() -> None:
    transform = Compose([Resize(28, interpolation=InterpolationMode.BOX), CenterCrop(28)])
    for size in ((90, 61), (61, 90), (400, 28), (57, 57)):
        width, height = size
        x0, y0, x1, y1 = width // 3, height // 4, width // 3 + width // 4 + 1, height // 4 + height // 3 + 1
        canvas = np.zeros((height, width), np.uint8)
        canvas[y0:y1, x0:x1] = 255
        seen = np.asarray(transform(Image.fromarray(canvas))) / 255
        seen = seen.reshape(4, 7, 4, 7).mean((1, 3))
        got = patches(Objects.from_pixels([[x0, y0, x1, y1]], [""], [1], size), CROP)[0].numpy()
        assert np.abs(got - seen).max() < 0.05, size  # one pixel is 0.14


corners = st.floats(0, 1, width=32)


@settings(max_examples=80, deadline=None)
@given(a=corners, b=corners, c=corners, d=corners, width=st.integers(1, 2000), height=st.integers(1, 2000))
def test_coverage_is_the_exact_overlap(a: float, b: float, c: float, d: float, width: int, height: int) -> None:
    thing = box(min(a, b), min(c, d), max(a, b), max(c, d), (width, height))
    for grid in (SQUASH, CROP):
        new_width, new_height, left, top = grid.placement((width, height))
        x0, y0, x1, y1 = thing.boxes[0].double().tolist()
        x0, x1 = ((x * new_width - left) / 7 for x in (x0, x1))
        y0, y1 = ((y * new_height - top) / 7 for y in (y0, y1))
        got = patches(thing, grid)[0]
        for row in range(4):
            for column in range(4):
                across = max(0.0, min(x1, column + 1) - max(x0, column))
                down = max(0.0, min(y1, row + 1) - max(y0, row))
                assert math.isclose(got[row, column].item(), across * down, abs_tol=5e-5)
    assert math.isclose(thing.areas.item(), abs((b - a) * (d - c)), abs_tol=1e-5)


def test_batches_are_padded_with_zero_coverage() -> None:
    three = Objects(torch.rand(3, 4).sort().values[:, [0, 1, 2, 3]], list("abc"), [1, 1, 1], (30, 20))
    batch = [Objects.empty((7, 9)), three, box(0, 0, 0.5, 0.5)]
    coverage, areas = batch_coverage(batch, CROP)
    assert coverage.shape == (3, 3, 17)
    assert areas.shape == (3, 3)
    assert coverage.dtype == areas.dtype == torch.float32
    assert torch.equal(coverage[1], token_coverage(three, CROP))
    assert torch.equal(areas[1], three.areas)
    assert not coverage[0].any()
    assert not coverage[2, 1:].any()
    assert not areas[2, 1:].any()
    assert batch_coverage([Objects.empty((7, 9))], CROP)[0].shape == (1, 0, 17)
    assert batch_coverage([], CROP)[0].shape == (0, 0, 17)


def test_boxes_land_on_the_tokens_of_each_photos_own_shape() -> None:
    """By hand: 12 patches of 16 pixels are 3 x 4 of the wide photo, 4 x 3 of the tall one, and 1 x 12 of the strip."""
    grid = NativeGrid(patch=16, max_patches=12, prefix=1)
    sizes = [(80, 60), (60, 80), (3000, 100), (50, 50)]
    assert [grid.shape(size) for size in sizes] == [(3, 4), (4, 3), (1, 12), (3, 3)]
    coverage, areas = batch_coverage([box(0.25, 0, 0.75, 0.5, size) for size in sizes], grid)
    assert coverage.shape == (4, 1, 13)
    wide = [0, 1, 1, 0] + [0, 0.5, 0.5, 0] + [0] * 4
    tall = [0.25, 1, 0.25] * 2 + [0] * 6
    strip = [0.0] * 3 + [0.5] * 6 + [0] * 3
    square = [0.25, 1, 0.25, 0.125, 0.5, 0.125, 0, 0, 0] + [0] * 3
    for got, want in zip(coverage[:, 0], (wide, tall, strip, square), strict=True):
        assert got.tolist() == [0, *want]
    assert areas.flatten().tolist() == [0.25] * 4


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), min_size=1, max_size=4))
def test_a_batch_of_many_shapes_has_the_coverage_of_its_photos(sizes: list[tuple[int, int]]) -> None:
    grid = NativeGrid(patch=14, max_patches=50)
    boxes = [[0.1, 0.2, 0.33, 0.9], [0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 0.5, 0.7]]
    batch = [Objects(boxes[: 1 + row], [""] * (1 + row), [1] * (1 + row), size) for row, size in enumerate(sizes[:3])]
    coverage, _ = batch_coverage(batch, grid)
    for row, photo in enumerate(batch):
        rows, columns = grid.shape(photo.size)
        alone = token_coverage(photo, grid)
        assert torch.equal(coverage[row, : len(photo)], alone)
        assert not coverage[row, len(photo) :].any()
        assert not coverage[row, :, rows * columns :].any()  # padding
        x0, y0, x1, y1 = photo.boxes[0].double().tolist()
        for token in range(rows * columns):
            down, across = divmod(token, columns)
            want = max(0.0, min(x1 * columns, across + 1) - max(x0 * columns, across))
            want *= max(0.0, min(y1 * rows, down + 1) - max(y0 * rows, down))
            assert math.isclose(alone[0, token].item(), want, abs_tol=5e-5)
        if len(photo) > 1:
            assert alone[1].sum() == rows * columns  # the whole photo


def test_from_pixels_clips_to_the_photo() -> None:
    objects = Objects.from_pixels([[-5, 10, 50, 300], [150, 0, 170, 10]], ["a", "b"], torch.ones(2), (100, 200))
    torch.testing.assert_close(objects.boxes, torch.tensor([[0, 0.05, 0.5, 1], [1, 0, 1, 0.05]]))
    torch.testing.assert_close(objects.areas, torch.tensor([0.475, 0.0]))
    assert not token_coverage(objects, SQUASH)[1].any()


def test_empty() -> None:
    nothing = Objects.empty((640, 480))
    assert len(nothing) == 0
    assert nothing.areas.shape == (0,)
    assert nothing.boxes.shape == (0, 4)
    assert token_coverage(nothing, SQUASH).shape == (0, 17)
    assert len(Objects([], [], [], (1, 1))) == 0


@pytest.mark.parametrize(
    ("boxes", "labels", "scores", "size", "message"),
    [
        ([[0, 0, math.nan, 1]], ["a"], [1], (9, 9), "not finite"),
        ([[0, 0, math.inf, 1]], ["a"], [1], (9, 9), "not finite"),
        ([[0.5, 0, 0.4, 1]], ["a"], [1], (9, 9), "inverted"),
        ([[0, 0.5, 1, 0.4]], ["a"], [1], (9, 9), "inverted"),
        ([[0, 0, 5, 5]], ["a"], [1], (9, 9), "from_pixels"),
        ([[-0.1, 0, 1, 1]], ["a"], [1], (9, 9), "from_pixels"),
        ([[0, 0, 1]], ["a"], [1], (9, 9), "shape"),
        ([0, 0, 1, 1], ["a"], [1], (9, 9), "shape"),
        ([[0, 0, 1, 1]], [], [1], (9, 9), "one label"),
        ([[0, 0, 1, 1]], ["a"], [1, 1], (9, 9), "2 scores"),
        ([[0, 0, 1, 1]], ["a"], [math.nan], (9, 9), "scores"),
        ([[0, 0, 1, 1]], ["a"], [1], (0, 9), "size"),
        ([[0, 0, 1, 1]], ["a"], [1], (9.5, 9), "size"),
    ],
)
def test_bad_objects_are_refused(boxes: object, labels: object, scores: object, size: object, message: str) -> None:
    with pytest.raises(QpertError, match=message):
        Objects(torch.tensor(boxes), labels, scores, size)  # type: ignore[arg-type]


def test_objects_do_not_change_with_the_callers_tensor() -> None:
    boxes = torch.tensor([[0.0, 0.0, 0.5, 0.5]])
    objects = Objects(boxes, ["a"], [1.0], (10, 10))
    boxes += 0.5
    assert objects.boxes.tolist() == [[0, 0, 0.5, 0.5]]
