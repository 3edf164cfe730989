from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest

from pipeline.diagnosis.finding import Finding
from pipeline.diagnosis.packages import check_packages

REQUIRED = [
    "ray[data]>=2.60,<2.62",
    "numpy>=2",
    'pywin32; sys_platform == "win32"',
    'ultralytics>=8.4; extra == "yolo"',
    'onnxruntime>=1.23; extra == "onnx"',
    'pytest>=9; extra == "dev"',
]
INSTALLED = {"ray": "2.60.0", "numpy": "2.3.0", "ultralytics": "8.4.190", "onnxruntime": "1.32.0"}


def findings(**changes: str | None) -> dict[str, Finding]:
    """What is found where versions differ from `INSTALLED`; None: the package is missing."""
    installed = INSTALLED | changes

    def version_of(name: str) -> str:
        version = installed.get(name)
        if version is None:
            raise PackageNotFoundError(name)
        return version

    return {finding.name: finding for finding in check_packages(REQUIRED, version_of)}


def test_all_is_installed() -> None:
    found = findings()
    assert {finding.state for finding in found.values()} == {"ok"}
    assert found["ray"].text == "2.60.0"
    assert found["further packages"].text == "1 are as required"  # numpy; not those of other systems or developers
    assert {"pywin32", "pytest"}.isdisjoint(found)


@pytest.mark.parametrize(
    ("changes", "name", "state", "text", "remedy"),
    [
        ({"ray": None}, "ray", "problem", "is not installed", "pip install 'ray<2.62,>=2.60'"),
        ({"ray": "2.62.0"}, "ray", "problem", "2.62.0, not <2.62,>=2.60", "pip install 'ray<2.62,>=2.60'"),
        ({"numpy": "1.26"}, "numpy", "problem", "1.26, not >=2", "pip install 'numpy>=2'"),
        (
            {"ultralytics": None},
            "ultralytics",
            "warning",
            "not installed; for detection in photos, also by the default detector (AGPL-3.0)",
            "pip install 'qpert[yolo]'",
        ),
        ({"ultralytics": "8.3"}, "ultralytics", "warning", "8.3, not >=8.4", "pip install 'qpert[yolo]'"),
        (
            {"onnxruntime": None},
            "onnxruntime",
            "ok",
            "not installed; for detectors in .onnx files",
            "pip install 'qpert[onnx]'",
        ),
    ],
)
def test_what_is_missing_or_too_old_is_said_with_the_command(
    changes: dict[str, str | None], name: str, state: str, text: str, remedy: str
) -> None:
    found = findings(**changes)
    assert found.pop(name) == Finding("versions", name, state, text, remedy)  # type: ignore[arg-type]
    assert {finding.state for finding in found.values()} == {"ok"}


def test_the_installed_project_says_itself_what_it_requires() -> None:
    names = {finding.name for finding in check_packages()}
    assert {"Python", "qpert", "ray", "torch", "pyarrow", "further packages"} <= names
