"""Runs a command: finds it by its name, reads its options, and turns what goes wrong into a message and an exit code.

A command is a file ``jobs/NAME.py`` with a docstring (its help), ``class Config`` (its options) and
``run(config) -> exit code``. Only the command that is called is imported: the others are listed from their source.
"""

from __future__ import annotations

import ast
import importlib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

from jobs.cli.messages import did_you_mean, messages_on_stderr
from jobs.cli.output import PrintableStream, printable_output
from jobs.cli.version import version_text
from pipeline.errors import QpertError
from pipeline.io.retrying import full, out_of_space

USAGE = """qpert: find photos by what is in them, small things included

usage: qpert VERB [arguments] [--option value ...]     (or: python -m jobs VERB ...)

{verbs}

qpert VERB --help explains a verb and all its options. qpert doctor checks the installation; qpert --version names it.
Every option can also stand in a YAML file: qpert VERB --config run.yaml; options on the command line win."""

LINEAGE = 256 * 2**20
"""Bytes; enough for all that a run has under way, and no more with every photo."""

logger = logging.getLogger(__name__)


def verbs() -> dict[str, str]:
    """Name of each command -> the first line of its help."""
    commands: dict[str, str] = {}
    for path in sorted(Path(__file__).parents[1].glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        if {"Config", "run"} <= defined:
            commands[path.stem.replace("_", "-")] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 fine, 1 failed, 2 wrong use or input, 130 interrupted."""
    # What Ray remembers of finished work, in the driver; a gigabyte by default. Ray reads it when it is imported.
    os.environ.setdefault("RAY_max_lineage_bytes", str(LINEAGE))
    # No command opens a window, and a notebook's backend may not be installed here: libraries would fail to load.
    os.environ["MPLBACKEND"] = "agg"
    words = list(sys.argv[1:] if arguments is None else arguments)
    with printable_output(), messages_on_stderr(), warnings.catch_warnings():
        # Of a warning people need what it says, not the line of code that says it.
        warnings.showwarning = lambda message, *_, **__: logger.warning(message)
        code = _exit_code(words)
    if sys.stdout is None:  # it was closed, as by `>&-`
        return code
    try:
        sys.stdout.flush()
    except OSError:  # whoever read the output has gone, as `head` does, or the disk is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code or 1
    return code


def _exit_code(words: list[str]) -> int:
    try:
        return _run(words)
    except QpertError as error:
        logger.error(error)
        return 2
    except KeyboardInterrupt as interrupt:
        print(file=sys.stderr)  # ends the line that shows ^C
        logger.info(f"interrupted: {interrupt}".removesuffix(": "))
        return 130
    except BrokenPipeError:
        return 1
    except OSError as error:
        logger.error(_storage_problem(error))
        return 2
    except Exception:  # a fault of ours; its text may quote names from outside, as messages do
        _print_traceback(detailed="--verbose" in words)
        return 1


def _run(words: list[str]) -> int:
    known = verbs()
    if not words or words[0] in ("-h", "--help", "help"):
        width = max(map(len, known))
        print(USAGE.format(verbs="\n".join(f"  {name:<{width}}  {line}" for name, line in known.items())))
        return 0
    if words[0] == "--version":
        print(version_text())
        return 0
    verb = words[0].replace("_", "-")
    if verb not in known:
        hint = did_you_mean(verb, known, f"verbs: {', '.join(known)}", cutoff=0.6)
        raise QpertError(f"unknown verb {words[0]!r}; {hint}")
    for word in words[1:]:
        if any("\ud800" <= letter <= "\udfff" for letter in word):  # bytes that Python could not decode
            raise QpertError(
                f"{word!r} is not valid text; the terminal should send UTF-8, and the locale say so (LC_ALL=C.UTF-8)"
            )
    from jobs.cli.parsing import parse  # loads pydantic and Arrow, which the list of commands does without

    module = importlib.import_module(f"jobs.{verb.replace('-', '_')}")
    config = parse(module.Config, words[1:], verb=verb, help_text=module.__doc__ or "")
    if config is None:
        return 0
    from pipeline.io.s3 import ask_buckets

    ask_buckets(config.model_dump())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, PrintableStream):
            stream.moves = getattr(config, "verbose", False)
    if hasattr(config, "address"):
        from pipeline.cluster.session import check_session  # loads Ray, which --help does without

        check_session(config.address)  # before photos are listed
    return int(module.run(config) or 0)


def _storage_problem(error: OSError) -> str:
    if out_of_space(error):
        return full(error.filename or "what is written")
    if "No usable temporary directory" in str(error):
        return "no folder for temporary files can be written to; name one with room in TMPDIR"
    return f"storage failed: {error}"


def _print_traceback(*, detailed: bool) -> None:
    if not detailed:
        traceback.print_exc()
        return
    from rich.console import Console  # only where it is needed, to start quickly

    Console(file=sys.stderr).print_exception()
