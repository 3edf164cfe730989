"""Names that operating systems and programs keep for themselves."""

from __future__ import annotations

import pytest

from pipeline.datasets.photos.ignored_names import reason_to_ignore, reason_to_ignore_path


@pytest.mark.parametrize(
    "name",
    [
        *("._IMG_1.jpg", ".DS_Store", ".hidden", ".hidden.jpg", "__MACOSX", "__macosx", "@eaDir", "@EADIR"),
        *("#recycle", "$RECYCLE.BIN", "$Recycle.Bin", "lost+found", "Thumbs.db", "thumbs.db", "desktop.ini", ".git"),
        *("System Volume Information", "#snapshot", "~snapshot", ".AppleDouble", "Temporary Items", "...jpg"),
    ],
)
def test_names_of_operating_systems_are_ignored(name: str) -> None:
    assert reason_to_ignore(name)
    assert reason_to_ignore_path(f"a/{name}/b.jpg") == reason_to_ignore_path(f"./{name}") == reason_to_ignore(name)


@pytest.mark.parametrize("name", ["a.jpg", "_a.jpg", "lost.jpg", "@home", "#1.jpg", "$5.jpg", "Desktop", "", ".", ".."])
def test_ordinary_names_are_not_ignored(name: str) -> None:
    assert reason_to_ignore(name) is None
    assert reason_to_ignore_path(f"./{name}/b.jpg") is None
