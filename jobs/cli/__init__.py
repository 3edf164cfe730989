"""The command line: which command, its options from words and YAML, its messages, its exit code."""

from jobs.cli.app import main, verbs

__all__ = ["main", "verbs"]
