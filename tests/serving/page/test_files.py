"""The page's files keep the rules that its policy and its readers set, which needs no browser to see."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import pipeline.serving

FOLDER = Path(pipeline.serving.__file__).parent / "page"
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
MARKUP = ("innerHTML", "outerHTML =", "insertAdjacentHTML", "document.write", "DOMParser", "eval(", "new Function")
INDEX = (FOLDER / "index.html").read_text(encoding="utf-8")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def tags() -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(INDEX)
    return parser.tags


def name_of(path: Path) -> str:
    return path.relative_to(FOLDER).as_posix()


def test_nothing_is_inline() -> None:
    for tag, attributes in tags():
        assert tag != "style"
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        assert tag != "script" or attributes.get("src")


def test_everything_that_is_linked_is_there_and_the_other_way_round() -> None:
    linked = {value for _, attributes in tags() for key in ("src", "href") if (value := attributes.get(key))}
    linked = {link.removeprefix("page/") for link in linked if link.startswith("page/")}
    for script in SCRIPTS:
        for target in re.findall(r'from "(\./[^"]+)"', script.read_text(encoding="utf-8")):
            linked.add(name_of((script.parent / target).resolve()))
    assert linked == {name_of(path) for path in FILES} - {"index.html"}


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_scripts_make_no_markup_of_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert [word for word in MARKUP if word in text] == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_comes_from_another_host(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"(?:https?:)?//[a-z][\w.-]+\.[a-z]{2,}|@import|url\(", text) == []


def test_symbols_that_are_used_exist() -> None:
    known = set(re.findall(r'<symbol id="i-([a-z]+)"', INDEX))
    used = set(re.findall(r'href="#i-([a-z]+)"', INDEX))
    for script in SCRIPTS:
        text = script.read_text(encoding="utf-8")
        used |= set(re.findall(r'(?:symbol: |icon\(|panel\(\s*)"([a-z]+)"', text))
    assert used <= known
    assert known <= used | {"plus", "minus"}  # chosen by the sign of a weight
