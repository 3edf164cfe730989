"""A hook of MkDocs: the command-line reference, made from the options of the commands at each build.

A page per verb in `reference/cli/`, from what ``qpert VERB --help`` is made of, and a page that lists the verbs. The
page `contributing.md` is CONTRIBUTING.md from the top of the repository. None of these pages is a file in `docs/`.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from jobs.cli import verbs
from jobs.cli.fields import Option, options

FOLDER = "reference/cli"
INDEX = f"{FOLDER}/index.md"
ROOT = Path(__file__).parents[2]

EVERY_VERB = """
## Options of every verb

`--config FILE`{ #config }
:   A YAML file of options by their names, nested ones below the name of their group. Options on the command line win.

`--print-config`{ #print-config }
:   Print all options with their values as YAML, in the form that `--config` reads, and stop.

`--help`{ #help }
:   Explain the verb and its options, and stop.

The same command as a file:

```yaml
# run.yaml; qpert index photos/ --config run.yaml
out: features/
encoder: coca
detector:
  model: yolo11n.pt
  confidence: 0.3
exclude: [raw, "*.tmp.*"]
```

## Exit codes

| code | |
|---|---|
| 0 | done |
| 1 | photos failed and `--strict` was given; `verify` or `doctor` found something; or an error of qpert's own |
| 2 | wrong use or input, or something failed; the last line says what |
| 130 | interrupted |
"""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds the pages of the verbs to the navigation, below the page that lists them."""
    pages = [{verb: f"{FOLDER}/{page_of(verb)}"} for verb in verbs()]
    for section in _sections(config.nav or []):
        if INDEX in section:
            section += pages
            return config
    raise ValueError(f"mkdocs.yml has no place for {INDEX} in its navigation")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    pages = {INDEX: index_page(), "contributing.md": contributing_page()}
    pages |= {f"{FOLDER}/{page_of(verb)}": verb_page(verb) for verb in verbs()}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def page_of(verb: str) -> str:
    """The file name of a verb's page; not the verb alone, since `index` would be the first page of its folder."""
    return f"qpert-{verb}.md"


def index_page() -> str:
    """Lists the verbs, each with the first line of its help."""
    lines = ["# Command line", "", "`qpert VERB [arguments] [--option value ...]`, or `python -m jobs VERB ...`.", ""]
    lines += ["| verb | |", "|---|---|"]
    lines += [f"| [`{verb}`]({page_of(verb)}) | {escaped(line)} |" for verb, line in verbs().items()]
    return "\n".join(lines) + "\n" + EVERY_VERB


def verb_page(verb: str) -> str:
    """The help of a verb and all its options."""
    module = importlib.import_module(f"jobs.{verb.replace('-', '_')}")
    known = list(options(module.Config))
    arguments = [option for option in known if "positional" in option.extra]
    words = ["qpert", verb, *(option.shown for option in arguments), "[--option value ...]"]
    parts = [f"# qpert {verb}", f"```text\n{' '.join(words)}\n```", *help_blocks(inspect.getdoc(module) or "")]
    if arguments:
        parts += ["## Arguments", *map(entry, arguments)]
    groups = {"": [option for option in known if "." not in option.name and option not in arguments]}
    for option in known:
        if option.nested is not None:
            groups[option.name] = []
        elif "." in option.name:
            groups[option.name.rpartition(".")[0]].append(option)
    by_name = {option.name: option for option in known}
    for name, members in groups.items():
        parts.append(f"## Options of {name}" if name else "## Options")
        if name:
            parts.append(escaped(sentence(by_name[name].field.description or "")))
        parts += [entry(option) for option in members if option.nested is None]
    parts.append("Further: `--config`, `--print-config` and `--help`, [as for every verb](index.md).")
    return "\n\n".join(filter(None, parts)) + "\n"


def help_blocks(text: str) -> Iterator[str]:
    """The paragraphs of a command's help; its examples as code."""
    for block in re.split(r"\n\s*\n", text.strip()):
        first, _, rest = block.partition("\n")
        if first == "Examples:":
            yield "## Examples\n\n```bash\n" + inspect.cleandoc(rest) + "\n```"
        else:
            yield escaped(block)


def entry(option: Option) -> str:
    """An option as an entry of a definition list: names and value, then what it does."""
    text = sentence(option.field.description or "")
    if option.field.is_required():
        text += " Required."
    elif option.default and "default:" not in text:
        text += f" Default: {option.default}."
    return f"`{term(option)}`{{ #{option.name} }}\n:   {escaped(text)}"


def term(option: Option) -> str:
    """How an option is written: ``-k N, --k N``, ``--strict / --no-strict``, ``SOURCE``."""
    several = " ..." if option.takes_several else ""
    if "positional" in option.extra:
        return option.shown + several
    if bool in option.types:
        names = ", ".join(option.flags)
        return names if len(option.flags) > 1 else f"{names} / --no-{names.removeprefix('--')}"
    return f"{', '.join(option.flags)} {option.metavar.replace(',', '|')}{several}"


def contributing_page() -> str:
    """CONTRIBUTING.md, with its links as seen from `docs/`."""
    return (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").replace("](docs/", "](")


def sentence(text: str) -> str:
    """`text` with a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?')) else '.'}" if text else ""


def escaped(text: str) -> str:
    """`text` without what Markdown would format, except for words in backquotes."""
    parts = re.split(r"(`[^`\n]+`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*_<>|\[\]\\])", r"\\\1", part) for part in parts)


def _sections(nav: list[Any]) -> Iterator[list[Any]]:
    """All lists of a navigation, the whole and those in it."""
    yield nav
    for item in nav:
        if isinstance(item, dict):
            for value in item.values():
                if isinstance(value, list):
                    yield from _sections(value)
