"""Captions in custom tables."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.data._internal.object_extensions.arrow import ArrowPythonObjectType

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions import caption_table
from pipeline.datasets.captions.reading import read_captions
from pipeline.errors import QpertError
from tests.payloads import Touch

EXPECTED = [CaptionedImage("b.jpg", ['a "b", c', "two"]), CaptionedImage("a.jpg", ["x"])]


def parquet(tmp_path, **columns):
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_rows_of_one_image_are_merged(write):
    text = 'comment,file_name,caption\n1,p/b.jpg,"a ""b"", c"\n\n2,p/a.jpg,x\n3,p/b.jpg,two\n'
    assert read_captions(write(text, "x.csv")) == EXPECTED
    assert read_captions(write(text.replace("\n", "\r\n"), "x.csv")) == EXPECTED


def test_a_list_in_one_row(write, tmp_path):
    assert read_captions(write('image,raw\nb.jpg,"[""a \\""b\\"", c"", ""two""]"\na.jpg,x\n', "x.csv")) == EXPECTED
    lines = '{"path": "b.jpg", "text": ["a \\"b\\", c", "two"]}\n\n{"path": "a.jpg", "text": "x", "more": 1}\n'
    assert read_captions(write(lines, "x.jsonl")) == EXPECTED
    lists = parquet(tmp_path, filename=["b.jpg", "a.jpg"], captions=[['a "b", c', "two"], ["x"]])
    assert read_captions(lists) == EXPECTED


def test_a_column_of_photos_is_not_a_column_of_names(tmp_path):
    names = pa.array(["b.jpg", "a.jpg", "b.jpg"]).dictionary_encode()
    images = [{"bytes": b"x", "path": "?"}] * 3
    path = parquet(tmp_path, image=images, filename=names, sentence=['a "b", c', "x", "two"], image_id=[7, 8, 7])
    assert read_captions(path) == EXPECTED


def test_named_columns(write, tmp_path):
    text = "image,photo,caption,alt\n1,a.jpg,no,yes\n"
    path = write(text, "x.csv")
    found = read_captions(path, image_column="photo", caption_column="alt")
    assert found == [CaptionedImage("a.jpg", ["yes"])]
    table = parquet(tmp_path, photo=["a.jpg"], alt=["yes"], caption=["no"])
    assert read_captions(table, image_column="photo", caption_column="alt") == found
    with pytest.raises(QpertError, match=r"no column 'foto'; name it with image_column\. It has: image, photo"):
        read_captions(path, image_column="foto")


def test_a_split_column_is_used(write):
    path = write("image,caption,split\na.jpg,x,train\nb.jpg,y,test\n", "x.csv")
    assert [image.image_id for image in read_captions(path)] == ["b.jpg"]
    assert [image.image_id for image in read_captions(path, None)] == ["a.jpg", "b.jpg"]
    with pytest.raises(QpertError, match=r"no row in the split 'val'; it has: train \(1\), test \(1\)"):
        read_captions(path, "val")


def test_empty_cells_are_blank_captions(write):
    with pytest.warns(UserWarning, match=r"x\.jsonl: ") as caught:
        images = read_captions(write('{"image": "a.jpg", "caption": null}\n', "x.jsonl"))
    assert images == [CaptionedImage("a.jpg", [])]
    assert "1 blank captions are left out; the first: line 1, caption" in str(caught[0].message)
    with pytest.warns(UserWarning, match="the first: line 3, caption"):
        assert read_captions(write("image,caption\na.jpg,x\na.jpg, \n", "x.csv"))[0].captions == ["x"]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "x.csv", r"no column for the image \(file_name, .*It has: $"),
        ("", "x.jsonl", "no column for the image"),
        ("a,b\n1,2\n", "x.csv", r"no column for the image .* name it with image_column\. It has: a, b"),
        ("image,b\n1,2\n", "x.csv", "no column for the caption"),
        ("image,caption,caption\na,b,c\n", "x.csv", "two columns named 'caption'"),
        ("image,caption\n", "x.csv", "holds no images"),
        ("image,caption\na.jpg,x\na.jpg,one, two\n", "x.csv", "line 3 has 3 cells, the header 2.*must be quoted"),
        ("image,caption\na.jpg\n", "x.csv", "line 2 has 1 cells"),
        (
            'image,caption\na.jpg,"x\nb.jpg,y\nc.jpg,z\n',
            "x.csv",
            "row that starts at line 2 cannot be read: unexpected",
        ),
        ('image,caption\na.jpg,x\nb.jpg,"x"y\n', "x.csv", "row that starts at line 3 cannot be read"),
        (b"image,caption\na.jpg,\xff\n", "x.csv", r"table .*x\.csv: .*utf-8"),
        ("image,caption\n,x\n", "x.csv", "line 2, image names no image"),
        ("image,caption\na.jpg,\"['x', 'y']\"\n", "x.csv", "line 2, caption looks like a list"),
        ('{"image": "a.jpg", "caption": "x"}\n{"image": "b.jpg"}\n', "x.jsonl", "line 2 has no caption"),
        ('{"image": "a.jpg", "caption": 7}\n', "x.jsonl", "line 1, caption is not a caption"),
        ('{"image": "a.jpg", "caption": ["x", 7]}\n', "x.jsonl", "line 1, caption is not a caption"),
        ('{"image": null, "caption": "x"}\n', "x.jsonl", "line 1, image names no image"),
        ('{"image": "a.jpg", "caption": "\\ud800"}\n', "x.jsonl", "line 1, caption is not valid Unicode"),
        ('{"image": "a.jpg", "caption": "x"}\n{"image"\n', "x.jsonl", "line 2 is not valid JSON"),
        ("[1]\n", "x.jsonl", "line 1 is not a JSON object"),
        ("not Parquet at all", "x.parquet", r"x\.parquet"),
        ("image,caption\nx/a.jpg,1\ny/a.jpg,2\n", "x.csv", r"line 3 and line 2 are y/a\.jpg and x/a\.jpg: two images"),
    ],
)
def test_a_bad_table_is_named_with_its_row(write, content, name, message):
    with pytest.raises(QpertError, match=message) as caught:
        read_captions(write(content, name), strict=True)
    assert name in str(caught.value)


def test_a_missing_table_is_named(tmp_path):
    for name in ("nowhere.csv", "nowhere.parquet", "nowhere.jsonl"):
        with pytest.raises(QpertError, match=f"cannot read .*{name}"):
            read_captions(tmp_path / name)


def test_null_names_in_parquet(tmp_path):
    path = parquet(tmp_path, image=["a.jpg", None], caption=["x", "y"])
    with pytest.raises(QpertError, match="row 1, image names no image"):
        read_captions(path, strict=True)
    with pytest.warns(UserWarning, match="1 entries cannot be read and are left out: row 1, image names no image"):
        assert read_captions(path) == [CaptionedImage("a.jpg", ["x"])]


def test_column_names_ignore_case(write):
    assert read_captions(write("IMAGE,Caption\na.jpg,x\n", "x.csv")) == [CaptionedImage("a.jpg", ["x"])]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "image,caption\na.jpg,x" + "y" * 131_072 + "\n", r"x\.csv: the row that starts at line 2 .*limit"),
        ("x.csv", "image,caption\n".encode("utf-16"), r"cannot read the table .*x\.csv"),
        ("x.csv", b"image,caption\n\xff.jpg,x\n", r"cannot read the table .*x\.csv"),
        (
            "x.jsonl",
            '{"image": "a", "image": "b", "caption": "x"}\n',
            r"line 1 is not valid JSON: .* the key 'image' twice",
        ),
        ("x.jsonl", "[" * 10**6, "line 1 is not valid JSON"),
        ("x.jsonl", '{"image": %s, "caption": "x"}' % ("9" * 5000), "line 1 is not valid JSON"),
        ("x.jsonl", '{"image": NaN, "caption": "x"}', "line 1, image names no image: 'nan'"),
        ("x.jsonl", '{"image": "\\ud800.jpg", "caption": "x"}', "line 1 is not valid Unicode"),
        ("x.jsonl", '{"image": "a.jpg", "caption": "\\ud800"}', "line 1, caption is not valid Unicode"),
        ("x.jsonl", '{"image": ["a.jpg"], "caption": "x"}', "line 1, image names no image"),
        ("x.parquet", b"PAR1", r"not a Parquet file that can be read: .*x\.parquet"),
    ],
)
def test_bad_cells_are_named_with_their_place(write, name, content, message):
    with pytest.raises(QpertError, match=message):
        read_captions(write(content, name), strict=True)


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_endless_lines_are_not_kept_in_memory(write, monkeypatch, name):
    monkeypatch.setattr(caption_table, "MAX_LINE", 100)
    first = "image,caption" if name == "x.csv" else '{"image": 1, "caption": "x"}'
    with pytest.raises(QpertError, match="line 2 has more than 100 characters"):
        read_captions(write(f"{first}\n{'x' * 101}", name))


def test_code_in_a_table_never_runs(tmp_path):
    ran = tmp_path / "ran"
    program = pa.array([pickle.dumps(Touch(str(ran)))], pa.large_binary())
    captions = pa.ExtensionArray.from_storage(ArrowPythonObjectType(), program)
    with pytest.raises(QpertError, match=r"column caption is ray\.data\.arrow_pickled_object"):
        read_captions(parquet(tmp_path, image=["a.jpg"], caption=captions))
    assert not ran.exists()


def test_bad_lines_of_json_are_left_out(write):
    lines = [
        '{"image": "a.jpg", "caption": "x"}',
        "[" * 100_000,
        '{"image": "b.jpg"',
        '{"image": "c.jpg"}',
        '{"image": "d.jpg", "caption": ["y", 7]}',
        *['{"image": "e.jpg", "caption": "z"}'] * 9,
    ]
    with pytest.warns(UserWarning, match="cannot be read and are left out") as caught:
        images = read_captions(write("\n".join(lines), "x.jsonl"))
    assert [(image.image_id, len(image.captions)) for image in images] == [("a.jpg", 1), ("d.jpg", 1), ("e.jpg", 9)]
    text = str(caught[0].message)
    assert "4 entries cannot be read and are left out: line 2 is not valid JSON: " in text
    assert "line 3 is not valid JSON: " in text


def test_a_first_line_that_is_bad_does_not_hide_the_columns(write):
    path = write('{"image"\n{"image": "a.jpg", "caption": "x"}\n{"image": "b.jpg", "caption": "y"}\n', "x.jsonl")
    with pytest.warns(UserWarning, match="1 entries cannot be read and are left out: line 1 is not valid JSON"):
        assert [image.image_id for image in read_captions(path)] == ["a.jpg", "b.jpg"]
