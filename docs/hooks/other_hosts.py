"""A hook of MkDocs: a page that would load anything from another host ends the build. Links to elsewhere are fine."""

from __future__ import annotations

import re
from typing import Any

from mkdocs.exceptions import PluginError

_LOADING = re.compile(r"<(?:script|link|img|iframe|source|video|object|embed)\b[^>]*>")
_ELSEWHERE = re.compile(r"""\b(?:src|href|srcset|data)\s*=\s*["']?(?:https?:)?//""")


def on_post_page(output: str, *, page: Any, config: Any) -> str:
    """Refuses a page with such an element; all others stay as they are."""
    for element in loaded_from_elsewhere(output):
        raise PluginError(f"{page.file.src_uri} loads something from another host: {element}")
    return output


def loaded_from_elsewhere(html: str) -> list[str]:
    """The elements of a page that a browser loads from another host by itself."""
    return [element for element in _LOADING.findall(html) if _ELSEWHERE.search(element)]
