"""The command-line reference has a page per verb with every option that the parser takes."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

from jobs import cli
from jobs.cli import verbs
from tests.docs.hooks import load_hook

pytest.importorskip("mkdocs")


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    return load_hook("cli_reference")


@pytest.mark.parametrize("verb", verbs())
def test_a_page_has_the_options_of_the_help(hook: ModuleType, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main([verb, "--help"])
    shown = flags("\n".join(re.findall(r"^  (-.*?)(?:   |$)", capsys.readouterr().out, re.MULTILINE)))
    page = hook.verb_page(verb)
    assert flags("\n".join(re.findall(r"^`(-.*)`\{", page, re.MULTILINE))) == shown - {"-h", "--help", *COMMON}
    assert page.startswith(f"# qpert {verb}\n")


COMMON = ("--config", "--print-config")
"""Explained once, on the page that lists the verbs."""


def flags(text: str) -> set[str]:
    """The options in a text, without their negations."""
    return {flag for flag in re.findall(r"(?<![\w-])--?[a-z][\w.-]*", text) if not flag.startswith("--no-")}


def test_an_option_has_its_names_value_and_default(hook: ModuleType) -> None:
    page = hook.verb_page("index")
    assert "`--detector, --detector.model TEXT`{ #detector.model }" in page
    assert "`--strict / --no-strict`{ #strict }" in page
    assert "Default: float16." in page
    assert "## Options of perturbation" in page
    assert "```bash\nqpert index photos/ --out features/" in page


def test_a_further_name_comes_first(hook: ModuleType) -> None:
    page = hook.verb_page("search")
    assert "`-k, --k N`{ #k }\n:   Photos per query. Default: 10." in page
    assert "`--json, --print-json`{ #print_json }" in page


def test_markdown_in_help_is_escaped(hook: ModuleType) -> None:
    assert hook.escaped("`*.tmp` and *.tmp, a_b") == r"`*.tmp` and \*.tmp, a\_b"


def test_the_list_has_every_verb(hook: ModuleType) -> None:
    page = hook.index_page()
    assert all(f"[`{verb}`](qpert-{verb}.md)" in page for verb in verbs())


def test_links_of_contributing_are_those_of_its_page(hook: ModuleType) -> None:
    assert "](architecture.md)" in hook.contributing_page()
