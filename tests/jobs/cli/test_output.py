from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import cli
from jobs.cli import app
from jobs.cli.output import PrintableStream, printable_output


def written(*texts: str, encoding: str = "utf-8", moves: bool = False) -> str:
    raw = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    stream = PrintableStream(raw)
    stream.moves = moves
    stream.writelines(texts)
    stream.flush()
    return raw.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\twith a tab", "two\nlines\twith a tab"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\x9b2J\u202e\u200b", "a\\x9b2J\\u202e\\u200b"),
        ("caf\udce9", "caf\\udce9"),
        ("a\rb", "a\\x0db"),
        ("a\r\nb", "a\nb"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\r\x1b[2K12 of 20\x1b[K", "\r\x1b[2K12 of 20\\x1b[K"),
        ("\r\x1b[2Ka\x1b[2J\n\x1b[?25h\r\x1b[1A\x1b[2K", "\r\x1b[2Ka\\x1b[2J\n\x1b[?25h\r\x1b[1A\x1b[2K"),
        ("a\r\x1b[2Kb", "a\\x0d\\x1b[2Kb"),
        ("星 é", "星 é"),
    ],
)
def test_what_acts_on_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert written(text) == shown


def test_what_the_encoding_lacks_is_escaped() -> None:
    assert written("é 星 👍 ─\n", encoding="ascii") == "\\xe9 \\u661f \\U0001f44d \\u2500\n"
    assert written("é 星", encoding="latin-1") == "é \\u661f"


def test_progress_bars_of_libraries_may_move_and_do_nothing_else() -> None:
    assert written("\r\x1b[A\x1b[2K50 %\x1b]0;title\x07\x1b[5;5H", moves=True) == (
        "\r\x1b[A\x1b[2K50 %\\x1b]0;title\\x07\\x1b[5;5H"
    )


def test_streams_are_put_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with printable_output():
        print("a\x1b[2J")
        print("b\x9b", file=sys.stderr)
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == ("a\\x1b[2J\n", "b\\x9b\n")


def test_errors_and_warnings_quote_names_harmlessly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "\x1b]0;x\x07\u202e.jpg").symlink_to("nowhere")
    assert cli.main(["index", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert "\\x1b]0;x\\x07\\u202e.jpg" in err
    assert all(line.isprintable() for line in err.splitlines())
    assert cli.main(["index", "no\nerror: such", "--out", "x"]) == 2
    assert capsys.readouterr().err == "error: there is no no\n       error: such\n"
    assert cli.main(["in\x1b[2Jdex"]) == 2
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("verbose", [[], ["--verbose"]])
def test_a_fault_of_ours_is_shown_harmlessly(
    verbose: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(words: list[str]) -> int:
        raise ZeroDivisionError("of a\x1b[2Jb")

    monkeypatch.setattr(app, "_run", fault)
    assert cli.main(["index", *verbose]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "ZeroDivisionError: of a\\x1b[2Jb" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["index", "--help"],
        ["caf\u00e9"],
        pytest.param(["index", "星", "--out", "é"], marks=pytest.mark.ray),  # if it found photos
    ],
)
def test_ascii_terminals_get_escapes_and_no_traceback(arguments: list[str]) -> None:
    environment = {
        "PATH": "",
        "PYTHONIOENCODING": "ascii",
        "LANG": "C",
        "PYTHONUTF8": "0",
        "PYTHONPATH": str(Path.cwd()),
    }
    done = subprocess.run(
        [sys.executable, "-m", "jobs", *arguments], env=environment, capture_output=True, check=False, timeout=120
    )
    assert b"Traceback" not in done.stderr
    (done.stdout + done.stderr).decode("ascii")
    assert done.stdout or done.stderr


def test_where_the_output_is_closed_a_command_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", None)
    assert cli.main(["--help"]) == 0
    assert cli.main(["no-such-verb"]) == 2
