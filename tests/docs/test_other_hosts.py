from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("mkdocs")

from mkdocs.exceptions import PluginError

from tests.docs.hooks import load_hook

HOOK = load_hook("other_hosts")
PAGE = SimpleNamespace(file=SimpleNamespace(src_uri="page.md"))


@pytest.mark.parametrize(
    "element",
    [
        '<link rel="stylesheet" href="https://fonts.example.com/css">',
        "<script src=//cdn.example.com/mermaid.js>",
        '<img alt="" src="http://example.com/photo.jpg">',
    ],
)
def test_what_is_loaded_from_another_host_is_refused(element: str) -> None:
    with pytest.raises(PluginError, match=r"page\.md loads something from another host: <"):
        HOOK.on_post_page(f"<html>{element}</html>", page=PAGE, config=None)


def test_links_and_own_files_are_fine() -> None:
    html = (
        '<a href="https://www.ray.io">Ray</a><script src="../assets/bundle.js"></script><img src="images/search.webp">'
    )
    assert HOOK.on_post_page(html, page=PAGE, config=None) == html
