"""Arrays on disk: NumPy reads what is written, and only what is expected is opened."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import QpertError
from pipeline.vectors.array_file import ArrayFile, writing_array


@pytest.mark.parametrize(
    ("dtype", "shape"), [(np.float16, (7, 3)), (np.float32, (5,)), (np.int64, (0,)), (np.float16, (0, 4))]
)
def test_numpy_reads_what_is_written_in_pieces(tmp_path, dtype, shape):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    path = str(tmp_path / "array.npy")
    with writing_array(path, dtype, shape[1:]) as file:
        for row in array:
            file.write(np.ascontiguousarray(row).data)
    assert np.array_equal(np.load(path, allow_pickle=False), array)
    opened = ArrayFile(path, dtype, shape)
    assert len(opened) == len(array)
    assert np.array_equal(opened.rows(0, len(array)), array)
    if len(array) > 3:
        assert np.array_equal(opened.rows(2, 2), array[2:4])
        opened.want(0, 3)


def test_a_row_that_is_not_whole_is_a_mistake_of_ours(tmp_path):
    with pytest.raises(ValueError, match="whole"), writing_array(str(tmp_path / "a.npy"), np.float32, (2,)) as file:
        file.write(b"\0" * 12)


@pytest.mark.parametrize("place", [0, 6, 8, 10, 30, 66, 100, 127])
@pytest.mark.parametrize("byte", [b"\xff", b"(", b"\n"])
def test_damaged_headers_are_refused(tmp_path, place, byte):
    path = tmp_path / "a.npy"
    with writing_array(str(path), np.float32, ()) as file:
        file.write(np.ones(3, np.float32).data)
    data = path.read_bytes()
    damaged = data[:place] + byte + data[place + 1 :]
    path.write_bytes(damaged)
    if damaged == data:
        ArrayFile(str(path), np.float32, (3,))
        return
    with pytest.raises(QpertError, match="damaged"):
        ArrayFile(str(path), np.float32, (3,))


def test_other_arrays_are_refused(tmp_path):
    path = str(tmp_path / "a.npy")
    np.save(path, np.ones((3, 2), np.float32))
    for dtype, shape in ((np.float16, (3, 2)), (np.float32, (2, 3)), (np.float32, (3,))):
        with pytest.raises(QpertError, match="damaged"):
            ArrayFile(path, dtype, shape)
    np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(QpertError, match="damaged"):
        ArrayFile(path, np.float32, (3, 2))
    with pytest.raises(QpertError, match="cannot be read"):
        ArrayFile(str(tmp_path / "none.npy"), np.float32, (3, 2))
