"""`qpert search`: its output, files and errors. The text encoder here is a bag of words."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from jobs import search
from jobs.cli import main
from pipeline.encoders import load_encoder
from pipeline.errors import QpertError
from pipeline.features.store import FeatureStore
from tests.encoders.hostile import AUTO_MAP, plant

WORDS = ("red", "blue", "star", "circle", "dog")
SCENES = ["red star", "blue circle", "red circle", "dog"]


class WordEncoder:
    """A text's vector counts its words."""

    dim = len(WORDS)

    def embed_text(self, texts):
        return torch.tensor([[float(text.split().count(word)) for word in WORDS] for text in texts])


@pytest.fixture
def features(write_features, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.queries.encoding.load_text_encoder", lambda features, **_: WordEncoder())
    for i in range(3):
        Image.new("RGB", (64, 48), (80 * i, 0, 0)).save(tmp_path / f"{i:06d}.jpg")
    box = {"x0": 0.1, "y0": 0.2, "x1": 0.3, "y1": 0.4, "label": "star", "score": 0.9}
    vectors = WordEncoder().embed_text([*SCENES, "dog"]).numpy()[:, None]
    objects = [[box], [], [], [], []]
    return write_features(vectors, objects=objects, folder=tmp_path, failed=["000004.jpg"]).root


def test_ranks_scores_and_paths(features, tmp_path, capsys):
    assert main(["search", features, "red star", "-k", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "red star",
        f"   1   1.000  {tmp_path}/000000.jpg",
        f"   2   0.500  {tmp_path}/000002.jpg",
    ]


def test_json_is_the_only_output(features, tmp_path, capsys):
    html = tmp_path / "r.html"
    (tmp_path / "queries.txt").write_text("\ufeffdog\n\n  blue circle \n", encoding="utf-8")
    words = ["search", features, "red", "--queries", str(tmp_path / "queries.txt"), "--json", "-k", "1"]
    assert main([*words, "--html", str(html)]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [answer["query"] for answer in answers] == ["red", "dog", "blue circle"]
    assert [[hit["image_id"] for hit in answer["results"]] for answer in answers] == [
        ["000000.jpg"],  # ties with 000002.jpg
        ["000003.jpg"],
        ["000001.jpg"],
    ]
    assert answers[0]["results"][0] == {
        "rank": 1,
        "score": pytest.approx(0.5**0.5),
        "image_id": "000000.jpg",
        "uri": f"{tmp_path}/000000.jpg",
        "width": 64,
        "height": 48,
        "taken": None,
        "objects": [{"label": "star", "score": 0.9, "box": [0.1, 0.2, 0.3, 0.4]}],
        "folded": [],
    }
    assert html.exists()


def test_a_query_without_hits_above_min_score_is_reported(features, capsys):
    assert main(["search", features, "red star", "star dog", "--min-score", "0.8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert "no photo scores high enough" in lines[-1]


def test_the_report_shows_the_hits_with_their_boxes(features, tmp_path, capsys):
    html = tmp_path / "found.html"
    assert main(["search", features, "red star", "--html", str(html), "-k", "4"]) == 0
    page = html.read_text()
    assert page.count("<img ") == 3  # the fourth photo's file is missing
    assert page.count('title="star 0.90"') == 1
    assert "file not found" in page
    assert f"report: {html}" in capsys.readouterr().out


def test_browse_needs_no_encoder_and_shows_failures(features, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.queries.encoding.load_text_encoder", None)
    html = tmp_path / "boxes.html"
    assert main(["search", features, "--browse", "10", "--html", str(html)]) == 0
    page = html.read_text()
    assert "The first 5 photos" in page
    assert "could not be indexed: truncated image" in page
    assert main(["search", features, "--browse", "2", "--html", str(html)]) == 0
    assert "The first 2 photos" in html.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to look for"),
        (["red", "  "], "query 2 is empty"),
        (["--queries", "/nowhere/q.txt"], "/nowhere/q.txt"),
        (["--queries", "EMPTY"], "holds no query"),
        (["--browse", "3"], "--html"),
        (["red", "-k", "0"], "-k|--k"),
        (["red", "--html", "/proc/nowhere/x.html"], "there is no folder /proc/nowhere"),
    ],
)
def test_wrong_use_is_refused_with_advice(features, tmp_path, capsys, words, message):
    (tmp_path / "EMPTY").write_text("\n \n")
    words = [str(tmp_path / word) if word == "EMPTY" else word for word in words]
    assert main(["search", features, *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert any(part in error for part in message.split("|"))


def test_a_folder_without_features_is_named(tmp_path, capsys):
    assert main(["search", str(tmp_path / "nowhere"), "red"]) == 2
    assert "nowhere" in capsys.readouterr().err
    with pytest.raises(QpertError, match="no manifest"):
        search.run(search.Config(out=str(tmp_path), text=["red"]))


def test_weights_that_are_gone_are_named(write_features, tmp_path, capsys):
    gone = str(tmp_path / "gone")
    out = write_features(np.ones((1, 1, 4)), weights=gone).root
    assert main(["search", out, "red"]) == 2
    error = capsys.readouterr().err
    assert gone in error
    assert "--weights" in error


def test_the_code_of_a_strangers_model_never_runs_even_if_the_user_names_it(write_features, tmp_path, capsys):
    """A manifest that names a folder with code beside its weights; then the same folder named by the user."""
    folder = tmp_path / "model"
    folder.mkdir()
    ran = plant(folder)
    config = {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"text_cfg": config}}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": AUTO_MAP}))
    (folder / "open_clip_model.safetensors").touch()
    out = write_features(np.ones((1, 1, 4)), weights=str(folder)).root
    assert main(["search", out, "red"]) == 2
    assert f"add to the command: --weights {folder}" in capsys.readouterr().err
    assert main(["search", out, "red", "--weights", str(folder)]) == 2
    assert "trust_remote_code" in capsys.readouterr().err
    assert not ran.exists()


def test_truncated_and_unknown_queries_are_reported(write_features, capsys):
    encoder = load_encoder("coca")
    out = write_features(encoder.embed_text(["red star"]).numpy()[:, None], encoder={"name": "coca"}).root
    assert main(["search", out, "zebra xylophone", "red " * 50, "red", "--json"]) == 0
    text = capsys.readouterr()
    assert len(json.loads(text.out)) == 3
    cut, unknown = text.err.splitlines()
    assert cut.startswith("warning: 1 of 3 texts are longer than the 40 tokens that coca reads")
    assert unknown.startswith("warning: none of the words of 'zebra xylophone' is known to this small coca")


@pytest.mark.parametrize("score", ["1.5", "-2", "nan"])
def test_an_impossible_score_is_refused(capsys: pytest.CaptureFixture[str], score: str) -> None:
    assert main(["search", "features", "a star", f"--min-score={score}"]) == 2
    assert "--min-score: " in capsys.readouterr().err


def test_several_unquoted_words_are_probably_one_query() -> None:
    hint = search.quotes_hint(["a", "red", "star"])
    assert hint == '3 queries of one word each; did you mean "a red star"?'
    assert search.quotes_hint(["star"]) is None
    assert search.quotes_hint(["a red star", "circle"]) is None


@pytest.mark.parametrize("words", [["red star"], ["--browse", "2"]], ids=["search", "browse"])
@pytest.mark.parametrize("scenes", [False, True, None])
def test_miniatures_on_photos_are_warned_of_before_and_after(features, tmp_path, capsys, words, scenes):
    manifest = FeatureStore(features).find_manifest()
    encoder = {"name": "coca", "weights": {"name": "coca", "digest": "0" * 16}}
    FeatureStore(features).write_manifest(manifest.model_copy(update={"encoder": encoder, "scenes": scenes}))
    html = tmp_path / "r.html"
    assert main(["search", features, *words, "--html", str(html)]) == 0
    lines = capsys.readouterr().err.splitlines()
    where = {False: "REAL PHOTOS", None: "PHOTOS THAT MAY NOT BE SCENES"}
    if scenes:
        assert lines == []
        assert "MINIATURE" not in html.read_text()
    else:
        assert lines[0] == f"warning: MINIATURE MODEL ON {where[scenes]}"
        assert lines[-1] == "warning: miniature models and real photos do not go together: see the warning above"
        assert f"MINIATURE MODEL ON {where[scenes]}" in html.read_text()


@pytest.fixture
def parts(features, write_features, tmp_path, monkeypatch):
    """The set `features` and another, `circle`, of the same encoder, in the current folder."""
    write_features(
        WordEncoder().embed_text(["red red star", "dog"]).numpy()[:, None],
        ["m0.jpg", "m1.jpg"],
        folder=tmp_path,
        name="circle",
    )
    monkeypatch.chdir(tmp_path)
    return ["features", "circle"]


def test_several_sets_are_one_ranking_with_their_names(parts, tmp_path, capsys):
    expected = [
        "red star",
        f"   1   1.000  features  {tmp_path}/000000.jpg",
        f"   2   0.949  circle    {tmp_path}/m0.jpg",
    ]
    for words in (
        ["features", "circle", "red star"],
        ["features", "./circle", "red star"],
        ["red star", "--in", "features", "circle"],
        ["--in", "features", "--in", "circle", "--text", "red star"],
    ):
        assert main(["search", *words, "-k", "2"]) == 0
        output = capsys.readouterr()
        assert output.out.splitlines() == expected
        assert output.err.startswith("searching features: ")
    assert main(["search", *parts, "red star", "--json", "-k", "1"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["results"][0]["set"] == "features"


def test_a_text_that_is_called_like_a_set_is_a_text_behind_its_option(parts, capsys):
    assert main(["search", "features", "--text", "circle", "-k", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "circle"
    assert main(["search", "features", "dog", "circle"]) == 2
    assert "circle is a feature set, but comes after 'dog'" in capsys.readouterr().err


def test_pages_go_on_where_the_last_one_ended(parts, capsys):
    whole = []
    for page in (["--page", "1"], ["--page", "2"], ["--skip", "4"]):
        assert main(["search", *parts, "red star", "-k", "2", "--format", "jsonl", *page]) == 0
        whole += [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["rank"] for row in whole] == [1, 2, 3, 4, 5, 6]
    assert main(["search", *parts, "red star", "--format", "jsonl"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == whole
    assert main(["search", *parts, "red star", "--page", "9"]) == 0
    assert "no further photo" in capsys.readouterr().out


def test_terms_are_added_and_taken_away(features, capsys):
    words = ["search", features, "red", "--plus", "circle", "--plus", "blue", "--minus", "2:red", "-k", "1", "--json"]
    assert main(words) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["query"] == "red + circle + blue - 2 x red"
    assert answer["results"][0]["image_id"] == "000001.jpg"


def test_indexed_photos_need_no_encoder(features, monkeypatch, capsys):
    monkeypatch.setattr("pipeline.queries.encoding.load_text_encoder", None)
    assert main(["search", features, "--like", "000002.jpg", "-k", "2", "--format", "csv"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].startswith("query,rank,score,")
    assert rows[1].startswith("photos like 000002.jpg,1,1.0")
    assert main(["search", features, "--like", "000009.jpg"]) == 2
    assert "no photo with the id '000009.jpg' has vectors" in capsys.readouterr().err


def test_answers_go_to_a_file(features, tmp_path, capsys):
    path = tmp_path / "found.csv"
    assert main(["search", features, "red star", "--format", "csv", "--output", str(path), "-k", "1"]) == 0
    assert capsys.readouterr().out == ""
    assert path.read_text(encoding="utf-8").splitlines()[1].startswith("red star,1,1.0")


def test_filters_and_near_duplicates_are_options_of_the_search(parts, capsys):
    assert main(["search", *parts, "dog", "--has", "star", "--format", "jsonl"]) == 0
    assert [json.loads(line)["image_id"] for line in capsys.readouterr().out.splitlines()] == ["000000.jpg"]
    assert main(["search", *parts, "dog", "--fold", "0.99", "--format", "jsonl", "-k", "1"]) == 0
    output = capsys.readouterr()
    (row,) = [json.loads(line) for line in output.out.splitlines()]
    assert (row["image_id"], row["folded"]) == ("000003.jpg", ["m1.jpg"])
    assert main(["search", *parts, "dog", "--has", "zebra"]) == 0
    assert "zebra" in capsys.readouterr().err


def test_the_report_shows_sets_filters_near_duplicates_and_the_photo_that_was_looked_for(parts, tmp_path, capsys):
    html = tmp_path / "found.html"
    words = ["--like", "000000.jpg", "--has", "star", "--fold", "0.9", "--html", str(html)]
    assert main(["search", *parts, *words]) == 0
    page = html.read_text()
    assert page.count("<img ") == 2  # the photo that was looked for, and found
    assert 'alt="looked for: photos like 000000.jpg"' in page
    assert "in features" in page
    assert "with star" in page
    assert main(["search", *parts, "dog", "--fold", "0.9", "--html", str(html)]) == 0
    assert "and 1 near-duplicate" in html.read_text()


def test_a_feature_set_must_be_named(capsys):
    for words in ([], ["--text", "red"]):
        assert main(["search", *words]) == 2
        assert "OUT is missing: name a feature set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["red", "--page", "1", "--skip", "2"], "--page and --skip"),
        (["red", "--box", "0,0,1,1"], "--box is a part of one photo"),
        (["--image", "/nowhere/x.jpg"], "--image /nowhere/x.jpg: there is no such file; texts stand before --image"),
        (["--image", "/etc"], "cannot search for the photo /etc: cannot read the file: it is a folder"),
        (["--image", "http://localhost/x.jpg"], "scheme not allowed: http (--allow-scheme http)"),
        (["--minus", "red"], "not only what they should not"),
        (["red", "--minus", "red"], "cancel each other out"),
        (["red", "--json", "--format", "csv"], "two formats"),
        (["red", "--output", "/proc/nowhere/x"], "there is no folder"),
        (["/nowhere/more", "red"], "holds no features"),
        (["red", "-k", "2000000"], "less than or equal to 1000000"),
    ],
)
def test_wrong_queries_are_refused_with_advice(features, capsys, words, message):
    assert main(["search", features, *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
