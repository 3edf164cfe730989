"""Decoding in other processes: what they make, and what becomes of photos that end them."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from pipeline.io.images import ImageError
from pipeline.serving import pictures
from pipeline.serving.photo_files import Picture, PictureCache
from pipeline.serving.picture_program import JPEG, PIXELS, picture_of
from pipeline.serving.pictures import PictureMaker


@pytest.fixture
def maker() -> Iterator[PictureMaker]:
    made = PictureMaker(1)
    yield made
    made.close()


def png(size: tuple[int, int], mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 50).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_pixels_of_a_query_are_kept(maker: PictureMaker) -> None:
    data = png((37, 21))
    made = Image.open(io.BytesIO(maker.pixels(data)))
    assert made.format == "PPM"
    np.testing.assert_array_equal(np.asarray(made), np.asarray(Image.open(io.BytesIO(data))))


def test_a_picture_has_a_largest_side() -> None:
    for side, size in ((0, (300, 100)), (150, (150, 50)), (1000, (300, 100))):
        assert Image.open(io.BytesIO(picture_of(png((300, 100)), 10**6, side, JPEG))).size == size
    with pytest.raises(ImageError, match="image too large"):
        picture_of(png((300, 100)), 1000, 0, PIXELS)


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"<svg/>", png((50, 50))[:40], b"BM" + b"\xff" * 100])
def test_what_is_no_photo_is_refused(maker: PictureMaker, data: bytes) -> None:
    with pytest.raises(ImageError):
        maker.pixels(data)
    assert maker.jpeg(png((5, 5)), 100)


def bomb() -> bytes:
    """81 megapixels in 10 kB."""
    buffer = io.BytesIO()
    Image.new("1", (9_000, 9_000)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_bomb_is_refused(maker: PictureMaker) -> None:
    with pytest.raises(ImageError, match="image too large: 9000x9000"):
        maker.pixels(bomb())


def child(maker: PictureMaker) -> int:
    (process,) = maker._alive
    return process._child.pid


def test_a_process_that_dies_is_replaced(maker: PictureMaker) -> None:
    maker.jpeg(png((5, 5)), 100)
    os.kill(child(maker), signal.SIGKILL)
    with pytest.raises(ImageError, match="ends the decoder"):
        maker.jpeg(png((5, 5)), 100)
    assert maker.jpeg(png((5, 5)), 100)


def test_a_process_that_hangs_is_ended() -> None:
    maker = PictureMaker(1, patience=1.5)
    try:
        maker.jpeg(png((5, 5)), 100)
        hanging = child(maker)
        os.kill(hanging, signal.SIGSTOP)
        with pytest.raises(ImageError, match="takes too long"):
            maker.jpeg(png((2000, 2000)), 100)
        with pytest.raises(ProcessLookupError):
            os.kill(hanging, 0)
    finally:
        maker.close()


def test_too_little_memory_is_a_reason() -> None:
    maker = PictureMaker(1, memory=350 * 2**20)
    try:
        with pytest.raises(ImageError, match=r"memory|ends the decoder"):
            maker.jpeg(bomb(), 100)
        assert maker.jpeg(png((5, 5)), 100)
    finally:
        maker.close()


def test_photos_wait_for_a_process(maker: PictureMaker) -> None:
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda side: Image.open(io.BytesIO(maker.jpeg(png((90, 90)), side))).size, range(20, 60)))
    assert sizes == [(side, side) for side in range(20, 60)]
    assert len(maker._alive) == 1


def test_a_closed_maker_starts_nothing(maker: PictureMaker) -> None:
    maker.close()
    with pytest.raises(ImageError, match="is ending"):
        maker.jpeg(png((5, 5)), 100)


def test_kept_pictures_take_no_more_than_the_limit() -> None:
    cache = PictureCache(limit=100)
    for number in range(20):
        cache.put((number,), Picture(b"x" * 10, ""))
        cache.get((0,))
    assert cache.size == 100
    assert cache.get((0,)) is not None
    assert cache.get((1,)) is None
    cache.put(("large",), Picture(b"x" * 50, ""))
    assert cache.get(("large",)) is None
    cache.put((0,), Picture(b"y" * 20, ""))
    assert cache.size <= 100


def test_the_cache_may_be_used_by_several_threads() -> None:
    cache = PictureCache(limit=1000)

    def work(first: int) -> None:
        for number in range(first, first + 300):
            cache.put((number % 50,), Picture(bytes(number % 90), ""))
            cache.get((number % 37,))

    threads = [threading.Thread(target=work, args=(7 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.size == sum(len(picture.data) for picture in cache._pictures.values()) <= 1000


def test_limits_fit_together() -> None:
    assert 3 * pictures.MAX_QUERY_PIXELS < pictures._MAX_ANSWER
    assert pictures.MAX_SHOWN**2 * 3 < pictures.MEMORY
