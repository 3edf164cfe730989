"""What the pages show is what the project has: commands parse, columns exist, programs are named that are there.

Links between the pages are checked by ``make docs``.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from jobs.cli import verbs
from jobs.cli.parsing import parse
from pipeline.errors import QpertError
from pipeline.features.schema import features_schema
from tests.docs.pages import PAGES, ROOT, commands, name_of

COMMANDS = [(name_of(page), words) for page in PAGES for words in commands(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_commands_parse(page: str, words: list[str]) -> None:
    verb, *options = words
    if verb == "--version":
        return
    assert verb in verbs(), page
    assert parse(importlib.import_module(f"jobs.{verb.replace('-', '_')}").Config, options, verb=verb) is not None


def test_commands_are_found() -> None:
    text = (
        "qpert is not a command here\n\n    qpert search features \\\n        'a dog'   # found\n\n```bash\n"
        "ray job submit -- python -m jobs index a --out b || break\n```\n    qpert index ... --out b"
    )
    assert list(commands(text)) == [["search", "features", "a dog"], ["index", "a", "--out", "b"]]
    assert {"README.md", "docs/guides/clusters.md", "docs/getting-started.md"} <= {page for page, _ in COMMANDS}


def test_commands_with_mistakes_do_not_parse() -> None:
    with pytest.raises(QpertError, match="unknown option"):
        test_commands_parse("a page", ["search", "features", "a dog", "--tpo", "5"])


def test_every_column_is_explained() -> None:
    table = (ROOT / "docs" / "features.md").read_text(encoding="utf-8").partition("## Columns")[2].partition("\n## ")[0]
    columns = features_schema(with_objects=True).names
    assert [column for column in columns if f"`{column}`" not in table] == []


@pytest.mark.parametrize("name", ["coca", "blip2", "internvl", "open_clip"])
def test_results_are_those_of_the_command(name: str) -> None:
    """The pages are reports of ``qpert reproduce`` as they were written; ``make results`` makes them."""
    text = (ROOT / "docs" / "results" / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name} on miniature\n\nMade by `qpert reproduce --encoder {name}` on 20")
    assert "## Table A: baselines and variants, text to image" in text


def test_no_page_is_empty() -> None:
    assert all(len(page.read_text(encoding="utf-8")) > 200 for page in PAGES if isinstance(page, Path))
