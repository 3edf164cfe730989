"""The gallery: thumbnails and boxes in place, hostile text harmless, missing photos shown, nothing loaded."""

from __future__ import annotations

import base64
import io
import re
import tarfile
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.datasets.photos.shard_reading import read_shard
from pipeline.datasets.photos.source import find_photos
from pipeline.errors import QpertError
from pipeline.features.views import View
from pipeline.reports import Photo, Section, photos_of, write_gallery

BOX = {"x0": 0.25, "y0": 0.5, "x1": 0.75, "y1": 0.625, "label": "red star", "score": 0.875}


class Page(HTMLParser):
    """Elements (tag, attributes) and text of a page."""

    def __init__(self, html):
        super().__init__()
        self.html = html
        self.elements = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag, cls=None):
        return [a for t, a in self.elements if t == tag and (cls is None or cls in (a.get("class") or "").split())]


@pytest.fixture
def render(tmp_path):
    def render(*photos, title="Found", sections=None, **more):
        path = tmp_path / "report.html"
        write_gallery(path, title, sections or [Section("a query", photos)], **more)
        return Page(path.read_text(encoding="utf-8"))

    return render


@pytest.fixture
def photo_file(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (800, 400), (200, 30, 30)).save(path)
    return path


def test_a_photo_with_its_boxes(render, photo_file):
    page = render(Photo("photo.png", str(photo_file), [BOX], rank=1, score=0.4321))
    (image,) = page.all("img")
    kind, _, data = image["src"].partition(",")
    thumbnail = Image.open(io.BytesIO(base64.b64decode(data)))
    assert kind == "data:image/jpeg;base64"
    assert thumbnail.size == (360, 180)
    assert image["alt"] == "photo.png, 1 object: red star"
    (box,) = page.all("div", "box")
    assert re.sub(r"--hue:\d+;", "", box["style"]) == "left:25.000%;top:50.000%;width:50.000%;height:12.500%"
    assert box["title"] == "red star 0.88"
    assert "0.432" in page.text
    assert str(photo_file) in page.text


def test_small_boxes_lie_over_large_ones(render, photo_file):
    small = BOX | {"x1": 0.3, "label": "small"}
    page = render(Photo("p", str(photo_file), [small, BOX, small | {"label": "same"}]))
    assert [box["title"][:-5] for box in page.all("div", "box")] == ["red star", "small", "same"]


def test_equal_labels_are_counted(render, photo_file):
    page = render(Photo("p", str(photo_file), [BOX, BOX, BOX | {"label": "dog"}]))
    assert page.all("img")[0]["alt"] == "p, 3 objects: red star (2), dog"


HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=y>{{ 7 * 7 }}\x1b[31m\u202e.jpg"


def test_hostile_text_stays_text(render, photo_file):
    photo = Photo(HOSTILE, str(photo_file), [BOX | {"label": HOSTILE}])
    missing = Photo("m", "/nowhere/" + HOSTILE)
    failed = Photo("f", "/x", error=HOSTILE)
    sections = [Section(HOSTILE, [photo, missing, failed], HOSTILE)]
    page = render(title=HOSTILE, subtitle=HOSTILE, sections=sections)
    tags = {tag for tag, _ in page.elements}
    assert "script" not in tags
    assert len(page.all("img")) == 1
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert "{{ 7 * 7 }}" in page.text
    assert "\x1b" not in page.html
    assert "\u202e" not in page.html


def test_nothing_is_loaded_from_outside(render, photo_file):
    page = render(Photo("p", str(photo_file), [BOX]))
    links = [a[name] for _, a in page.elements for name in ("src", "href") if name in a]
    assert links
    assert all(link.startswith("data:image/jpeg") for link in links)
    assert "url(" not in page.html
    assert "@import" not in page.html
    policies = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies[0].startswith("default-src 'none'")


def test_photos_that_cannot_be_shown_have_a_reason(render, tmp_path):
    (tmp_path / "text.jpg").write_text("no photo")
    page = render(
        Photo("gone.jpg", str(tmp_path / "gone.jpg"), [BOX]),
        Photo("text.jpg", str(tmp_path / "text.jpg")),
        Photo("bad.jpg", str(tmp_path / "bad.jpg"), error="truncated image"),
    )
    assert not page.all("img")
    assert not page.all("div", "box")
    assert "not found" in page.text
    assert "not an image" in page.text
    assert "could not be indexed: truncated image" in page.text


def colour_of(image):
    photo = Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2])))
    return max((0, 1, 2), key=photo.getpixel((1, 1)).__getitem__)


def test_photos_in_shards_are_shown(render, tmp_path):
    encoded = []
    for colour in ("red", "lime", "blue"):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    columns = {"thumb": encoded[:1] * 3, "id": ["r", "g", "b"], "img": [{"raw": data} for data in encoded]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with tarfile.open(tmp_path / "t.tar.gz", "w:gz") as tar:
        for data, name in zip(encoded, ["same.png", "same.png", "sub/h#1.png"], strict=True):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    for source, options in (("t.parquet", {"bytes_column": "img.raw", "id_column": "id"}), ("t.tar.gz", {})):
        shards = find_photos(str(tmp_path / source), **options).shards
        rows = [row for shard in shards for table in read_shard(shard, 8) for row in table.to_pylist()]
        page = render(*photos_of(rows))
        assert [colour_of(image) for image in page.all("img")] == [0, 1, 2]
    whole = (tmp_path / "t.tar.gz").read_bytes()
    (tmp_path / "t.tar.gz").write_bytes(whole[: len(whole) // 2])
    page = render(*photos_of(rows))
    assert "damaged archive" in page.text


def test_a_section_without_photos_and_rows_of_a_feature_set(render):
    page = render(sections=[Section("nothing like it", [])])
    assert "no photo" in page.text
    rows = [{"image_id": "a", "uri": "/a", "objects": None, "error": "empty file"}]
    assert photos_of(rows) == [Photo("a", "/a", (), error="empty file")]


def test_a_report_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(QpertError, match="cannot write the report"):
        write_gallery(tmp_path / "file" / "x.html", "t", [])


def test_photos_named_by_a_strangers_features_are_read_by_the_rules(tmp_path: Path) -> None:
    places = [
        "http://127.0.0.1/secret",
        "zip::file:///etc/hostname",
        "file:///dev/zero",
        "s3://b/x?endpoint_override=[::1]",
    ]
    photos = [Photo(str(number), uri) for number, uri in enumerate(places)]
    write_gallery(tmp_path / "report.html", "t", [Section("s", photos)])
    page = (tmp_path / "report.html").read_text()
    assert "scheme not allowed: http" in page
    assert "chained URLs are not opened" in page
    assert "it is a device" in page
    assert "address not public" in page


def test_a_warning_of_several_sections_is_one_banner_at_the_top(render):
    warning = "MODELS <b>DO NOT FIT\nuse others\x1b[31m"
    page = render(sections=[Section("one", [], warning=warning), Section("two", [], warning=warning), Section("3", [])])
    assert [attributes["role"] for attributes in page.all("div", "warning")] == ["alert"]
    assert page.html.index('role="alert"') < page.html.index("<header>")
    assert page.text.count("MODELS <b>DO NOT FIT") == 1
    assert "\x1b" not in page.html
    assert not render(sections=[Section("one", [])]).all("div", "warning")


def test_sets_and_near_duplicates_are_named_and_hostile_names_stay_text(render, photo_file):
    names = ["b.jpg", "<script>alert(1)</script>"]
    page = render(Photo("a", str(photo_file), set="part-<1>", folded=names), Photo("c", str(photo_file), folded=["d"]))
    assert "in part-<1>" in page.text
    assert "and 2 near-duplicates" in page.text
    assert "b.jpg, <script>alert(1)</script>" in page.text
    assert "and 1 near-duplicate\n" in page.text
    assert page.all("script") == []


def test_photos_that_were_looked_for_are_shown_with_their_box(render, photo_file, tmp_path):
    box = View("crop", (0.25, 0.0, 0.75, 0.5))
    examples = [
        Photo("by its path", str(photo_file), view=box),
        Photo("by its bytes", "", data=photo_file.read_bytes()),
        Photo("gone", str(tmp_path / "gone.png")),
        Photo("damaged", "", data=b"no photo"),
    ]
    page = render(sections=[Section("query", [Photo("a", str(photo_file))], examples=examples)])
    assert [image["alt"] for image in page.all("img")] == [
        "looked for: by its path",
        "looked for: by its bytes",
        "a, no objects",
    ]
    assert [frame["style"] for frame in page.all("div", "frame")] == [
        "left:25.000%;top:0.000%;width:50.000%;height:50.000%"
    ]
    assert "file not found" in page.text
    assert "not an image" in page.text
