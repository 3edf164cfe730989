"""`cluster.yaml` and `kuberay/` agree with each other, the documentation and `pyproject.toml`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from pipeline.errors import QpertError
from tests.cluster.files import (
    A100,
    CLUSTER,
    CUDA_12,
    FILES,
    GTX_1080_TI,
    MANIFESTS,
    P100,
    ROOT,
    commands,
    config_of,
    manifest,
    name_of,
)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_commands_parse(path: Path) -> None:
    assert commands(path)
    assert all(config_of(command) is not None for command in commands(path))


def test_commands_with_mistakes_do_not_parse() -> None:
    with pytest.raises(QpertError, match="unknown option"):
        config_of(commands(CLUSTER)[0].replace("--accelerators", "--accelerator-types"))


@pytest.mark.parametrize("page", ["README.md", "docs/guides/clusters.md"])
def test_documentation_names_the_same_gpus(page: str) -> None:
    named = [command for command in commands(ROOT / page) if "--accelerators" in command]
    assert named
    assert all(config_of(command).accelerators == [A100, GTX_1080_TI] for command in named)
    assert config_of(commands(CLUSTER)[0]).accelerators == [A100, P100]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_installed_versions_are_those_that_the_project_allows(path: Path) -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    requirements = map(Requirement, re.findall(r'^    "(.+)",$', text, re.MULTILINE))
    allowed = {requirement.name: requirement.specifier for requirement in requirements}
    pinned = re.findall(r"\b(torch|torchvision|ray)==([\w.+]+)", path.read_text(encoding="utf-8"))
    pinned += [
        ("ray", version) for version in re.findall(r"rayproject/ray:([\d.]+)-py", path.read_text(encoding="utf-8"))
    ]
    assert {name for name, _ in pinned} == {"torch", "torchvision", "ray"}
    for name in ("torch", "torchvision", "ray"):
        versions = {Version(version) for package, version in pinned if package == name}
        assert all(allowed[name].contains(version) for version in versions)
        assert len({version.public for version in versions}) == 1, "nodes may differ in the build, not in the version"
    builds = {Version(version).local for name, version in pinned if name != "ray"}
    assert builds == {None, CUDA_12.removeprefix("+")}


@pytest.mark.parametrize("path", MANIFESTS, ids=name_of)
def test_ray_versions_agree(path: Path) -> None:
    version = manifest(path)["spec"]["rayClusterSpec"]["rayVersion"]
    assert f"rayproject/ray:{version}-py" in path.read_text(encoding="utf-8")
    assert f"ray=={version} " in CLUSTER.read_text(encoding="utf-8")
