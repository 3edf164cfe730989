"""Shared by the tests of the documentation: its pages, their code and their links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def code_lines(text: str) -> Iterator[str]:
    """The lines of code blocks, indented or fenced, with continued lines joined."""
    fenced = False
    for line in re.sub(r" *\\\n *", " ", text).splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip()


def commands(text: str) -> Iterator[list[str]]:
    """Verb and words of every command of qpert in the code of a page; those that only show a form are left out."""
    for line in code_lines(text):
        found = re.search(r"(?:^(?:\S*/)?qpert|python -m jobs) (.+)", line)
        if found is None:
            continue
        words = shlex.split(found[1], comments=True)
        end = next((place for place, word in enumerate(words) if word in ("|", "||", "&&", ">")), len(words))
        if not any(word == "..." or word.startswith("[") for word in words[:end]):
            yield words[:end]


def links(text: str) -> list[str]:
    """Where the links and pictures of a page lead, outside of its code."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", prose)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as both MkDocs and GitHub make them of plain words."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
