"""`qpert verify` and `qpert compact` on sets on disk: what they say and how they exit."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs import cli
from pipeline.features.ledger import Ledger
from pipeline.features.store import FeatureStore
from pipeline.io.locations import Folder
from pipeline.runs.resume import inspect
from tests.features.stored import IDENTITY, Source, damage_page, ids_in, make_set, some_photos


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return some_photos(tmp_path / "photos", 6)


@pytest.fixture
def out(tmp_path: Path, source: Source) -> str:
    make_set(str(tmp_path / "out"), source)
    return str(tmp_path / "out")


def test_a_set_in_order(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", out]) == 0
    said = capsys.readouterr()
    assert said.out == f"{out}: 3 files with 6 photos are intact\n"
    assert said.err == ""


def test_what_is_wrong_is_said_with_what_to_do(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    damage_page(Path(out) / "features" / "run_0-0.parquet")
    (Path(out) / "features" / "run_1-0.parquet").unlink()
    assert cli.main(["verify", out]) == 1
    said = capsys.readouterr()
    assert "wrong: features/run_1-0.parquet (gone, 2 photos)" in said.err
    assert "wrong: features/run_0-0.parquet (" in said.err
    assert "2 problems; run the same qpert index again" in said.err
    ledger = Ledger.find(Folder.open(out))
    assert ledger is not None
    assert ledger.damaged == {"run_0-0.parquet"}
    for verb in (["search", out, "a star"], ["compact", out]):
        assert cli.main(verb) == 2
        error = capsys.readouterr().err
        assert "2 of its 3 files are lost or damaged, with 4 photos" in error
        assert "the same qpert index again" in error


def test_rows_that_count_no_more_are_counted_and_then_compacted(
    out: str, source: Source, capsys: pytest.CaptureFixture[str]
) -> None:
    (source.folder / "0.jpg").unlink()
    inspect(FeatureStore(out), IDENTITY, source.listing()).write(FeatureStore(out))
    assert cli.main(["verify", out]) == 0
    assert "with 5 photos are intact, 1 more rows no longer count (qpert compact" in capsys.readouterr().out
    assert cli.main(["compact", out]) == 0
    assert capsys.readouterr().out == "replaced 3 files by 1, without 1 rows that no longer count\n"
    assert ids_in(out) == source.names()
    assert cli.main(["compact", out]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert cli.main(["verify", out]) == 0


def test_where_nothing_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("verify", "compact"):
        assert cli.main([verb, str(tmp_path / "none")]) == 2
        assert "holds no features" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
