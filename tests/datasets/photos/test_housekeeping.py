"""Names that systems and programs keep for themselves."""

from __future__ import annotations

import pytest

from pipeline.datasets.photos.housekeeping import housekeeping_in, is_housekeeping


@pytest.mark.parametrize(
    "name",
    [
        *("._IMG_1.jpg", ".DS_Store", ".hidden", ".hidden.jpg", "__MACOSX", "__macosx", "@eaDir", "@EADIR"),
        *("#recycle", "$RECYCLE.BIN", "$Recycle.Bin", "lost+found", "Thumbs.db", "thumbs.db", "desktop.ini", ".git"),
        *("System Volume Information", "#snapshot", "~snapshot", ".AppleDouble", "Temporary Items", "...jpg"),
    ],
)
def test_names_of_systems(name: str) -> None:
    assert is_housekeeping(name)
    assert housekeeping_in(f"a/{name}/b.jpg") == housekeeping_in(f"./{name}") == is_housekeeping(name)


@pytest.mark.parametrize("name", ["a.jpg", "_a.jpg", "lost.jpg", "@home", "#1.jpg", "$5.jpg", "Desktop", "", ".", ".."])
def test_names_of_people(name: str) -> None:
    assert is_housekeeping(name) is None
    assert housekeeping_in(f"./{name}/b.jpg") is None
