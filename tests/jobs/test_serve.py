"""`qpert serve`: what is refused before anything starts, and what the server is told."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from jobs import cli, serve
from pipeline.errors import QpertError

pytest.importorskip("fastapi")


def refused(*words: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["serve", *words]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "photos.example", ""])
def test_others_need_a_token(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused("features", "--host", host, capsys=capsys)
    assert "--token-file" in said or "at least 1 character" in said


def test_wrong_options_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "FEATURES is missing" in refused(capsys=capsys)
    assert "64KiB to 1GiB" in refused("features", "--max-request", "1B", capsys=capsys)
    assert "cannot read --token-file" in refused("features", "--token-file", str(tmp_path / "none"), capsys=capsys)
    assert "holds no features" in refused(str(tmp_path), "--port", "0", capsys=capsys)
    assert "holds no features" in refused(str(tmp_path), "--port", "0", "--replicas", "2", capsys=capsys)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "prometheus_client":
            raise ImportError("none", name=name)
        return whole(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(QpertError, match=r"prometheus_client: pip install 'qpert\[serve\]'"):
        serve.run(serve.Config(features=["features"]))


def test_options_reach_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    started: list[tuple[Any, ...]] = []
    monkeypatch.setattr("pipeline.serving.server.serve", lambda *given, **more: started.append((*given, more)))
    words = [
        "a",
        "b",
        "--host",
        "0.0.0.0",
        "--port",
        "1",
        "--token-file",
        str(token),
        "--rate",
        "2",
        "--root",
        "/photos",
    ]
    assert cli.main(["serve", *words, "--name", "x", "y", "--max-request", "1MiB", "--allow-host", "c.d"]) == 0
    ((settings, host, port, more),) = started
    assert (settings.features, settings.names, host, port) == (("a", "b"), ("x", "y"), "0.0.0.0", 1)
    assert (settings.token, settings.rate, settings.burst) == ("0123456789abcdef", 2, 8)
    assert (settings.max_body, settings.rules.root) == (2**20, "/photos")
    assert more == {"hosts": ["c.d"]}
    assert "0123456789abcdef" not in repr(settings)
