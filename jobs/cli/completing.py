"""Completion scripts for shells, made by shtab from the parsers of all commands."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

import shtab

from jobs.cli.fields import Option, options
from jobs.cli.parsing import build_parser
from pipeline.detectors import list_detectors
from pipeline.encoders import list_encoders


def completion_script(shell: str, verbs: dict[str, str]) -> str:
    """The script that completes verbs, options, choices and paths in a shell.

    Args:
        shell: `bash`, `zsh` or `fish`.
        verbs: name of each command -> a line about it.
    """
    parser = argparse.ArgumentParser(prog="qpert", allow_abbrev=False)
    parser.add_argument("--version", action="store_true", help="print the versions and stop")
    commands = parser.add_subparsers(dest="verb")
    for verb, line in verbs.items():
        known = {option.name: option for option in options(_model(verb))}
        own = build_parser(known, verb, "", _complete)
        commands.add_parser(verb, parents=[own], add_help=False, allow_abbrev=False, help=line.replace("%", "%%"))
    return shtab.complete(parser, shell)


def _model(verb: str) -> Any:
    return importlib.import_module(f"jobs.{verb.replace('-', '_')}").Config


def _complete(option: Option | None, action: argparse.Action) -> None:
    """Has a value completed by its choices, by the names that a registry knows, or by files."""
    if option is None or option.is_path or option.name.endswith("weights"):
        action.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks for it
    elif option.name == "encoder":
        action.choices = list_encoders()
    elif option.name == "detector.model":
        action.choices = list_detectors()
    elif option.choices:
        action.choices = option.choices
