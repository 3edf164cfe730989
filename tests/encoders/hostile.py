"""Harmless code for model folders: it creates a file, so that a test can see whether it ran."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

AUTO_MAP = {"AutoTokenizer": ["evil.Tokenizer", None], "AutoConfig": "evil.Config", "AutoModel": "evil.Model"}


def plant(folder: Path) -> Path:
    """Put the code beside a model.

    Returns:
        The file that is there once it has run.
    """
    ran = folder.parent / f"{folder.name}-ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()\nTokenizer = Config = Model = None\n")
    return ran


def change_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrite a JSON file, or start from {} if there is none."""
    values = json.loads(path.read_text()) if path.is_file() else {}
    change(values)
    path.write_text(json.dumps(values))
