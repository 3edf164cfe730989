"""Tables in text: between bars, with quotes that are missing, and with captions that should have some."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.reading import read_captions
from pipeline.errors import QpertError

KAGGLE = (
    "image_name| comment_number| comment\n"
    "1.jpg| 0| Two men | and a dog .\n"
    '1.jpg| 1| A "quoted" man .\n'
    "2199200615.jpg| 3| A black and white dog .\n"
    "2199200615.jpg| 4   A dog runs across the grass .\n"
)


@pytest.mark.parametrize("name", ["results.csv", "results.txt", "x"])
def test_kaggles_flickr30k(write: Callable[..., Path], name: str) -> None:
    with pytest.warns(UserWarning, match="1 rows lack the bar before their caption .*; the first: line 5"):
        images = read_captions(write(KAGGLE, name))
    assert images == [
        CaptionedImage("1.jpg", ["Two men | and a dog .", 'A "quoted" man .']),
        CaptionedImage("2199200615.jpg", ["A black and white dog .", "A dog runs across the grass ."]),
    ]
    with pytest.raises(QpertError, match="line 5 has 2 cells, the header 3"):
        read_captions(write(KAGGLE, name), strict=True)
    assert len(read_captions(write(KAGGLE[: KAGGLE.rindex("2199")], name), strict=True)) == 2


def test_rows_that_lack_a_field_are_left_out(write: Callable[..., Path]) -> None:
    with pytest.warns(UserWarning, match="2 entries cannot be read and are left out: line 6 has 2 cells"):
        assert len(read_captions(write(KAGGLE + "3.jpg| 0\n4.jpg\n", "results.csv"))) == 2


@pytest.mark.parametrize("name", ["captions.txt", "captions.csv", "captions"])
def test_captions_of_flickr8k(write: Callable[..., Path], name: str) -> None:
    text = 'image,caption\n1.jpg,A dog .\n1.jpg,"A dog , again ."\n'
    assert read_captions(write(text, name), strict=True) == [CaptionedImage("1.jpg", ["A dog .", "A dog , again ."])]
    numbered = 'image_name,comment_number,comment\n1.jpg,0," A dog ."\n'
    assert read_captions(write(numbered, name), strict=True) == [CaptionedImage("1.jpg", ["A dog ."])]


@pytest.mark.parametrize("mark", [",", "\t", ";"])
def test_the_delimiter_is_found(write: Callable[..., Path], mark: str) -> None:
    text = "number,image,caption\n1,a.jpg,x\n".replace(",", mark)
    assert read_captions(write(text, "x.csv"), strict=True) == [CaptionedImage("a.jpg", ["x"])]


def test_captions_with_a_delimiter_that_is_not_quoted_are_whole(write: Callable[..., Path]) -> None:
    path = write("image,caption\na.jpg,one, two, three\nb.jpg,x\n", "x.csv")
    with pytest.warns(UserWarning, match="1 rows have captions with a delimiter that should be quoted; .*line 2"):
        assert read_captions(path)[0].captions == ["one, two, three"]
    inner = write("image,caption,number\na.jpg,one, two,1\nb.jpg,x,2\n", "y.csv")
    with pytest.warns(UserWarning, match="1 entries cannot be read and are left out: line 2 has 4 cells"):
        assert read_captions(inner) == [CaptionedImage("b.jpg", ["x"])]


def test_a_quotation_mark_that_nobody_closes_ends_its_own_row(write: Callable[..., Path]) -> None:
    rows = [f"{number}.jpg,caption {number}\n" for number in range(200)]
    rows[3] = '3.jpg,"never closed\n'
    rows[7] = '7.jpg,"x"y\n'
    rows[9] = '9.jpg,"two\nlines"\n'
    with pytest.warns(UserWarning, match="cannot be read and are left out") as caught:
        images = read_captions(write("image,caption\n" + "".join(rows), "x.csv"))
    assert [image.image_id for image in images] == [f"{number}.jpg" for number in range(200) if number not in (3, 7)]
    assert images[7].captions == ["two\nlines"]
    text = str(caught[0].message)
    assert "2 entries cannot be read and are left out: the row that starts at line 5 cannot be read: " in text
    assert "; the row that starts at line 9 cannot be read: " in text


def test_a_line_that_is_not_utf_8_is_left_out(write: Callable[..., Path]) -> None:
    path = write(b"image,caption\na.jpg,caf\xe9\n\xff.jpg,x\nb.jpg,y\n", "x.csv")
    with pytest.warns(UserWarning, match="2 entries cannot be read and are left out: line 2, caption is not valid"):
        images = read_captions(path)
    assert [image for image in images if image.captions] == [CaptionedImage("b.jpg", ["y"])]


cells = st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=8)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=5), st.sampled_from([("x.csv", ","), ("x.tsv", "\t")]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_the_csv_module_writes_is_read_back(
    write: Callable[..., Path], rows: list[tuple[str, str]], form: tuple[str, str]
) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=form[1])
    captions = [f"c {text} c" for _, text in rows]
    writer.writerows([("file_name", "caption"), *((f"n{n}.jpg", text) for n, text in enumerate(captions))])
    images = read_captions(write(stream.getvalue(), form[0]), strict=True)
    assert [image.captions for image in images] == [[text] for text in captions]
    assert images == read_captions(write(stream.getvalue(), form[0]))
