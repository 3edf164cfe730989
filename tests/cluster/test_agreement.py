"""The launcher's files, the Dockerfile and `kuberay/` agree with each other, the documentation and `pyproject.toml`."""

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
    DOCKERFILE,
    FILES,
    GTX_1080_TI,
    MANIFESTS,
    ONPREM,
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
    assert config_of(commands(ONPREM)[0]).accelerators == [A100, GTX_1080_TI]


@pytest.mark.parametrize("path", [CLUSTER, ONPREM, DOCKERFILE], ids=name_of)
def test_installed_versions_are_those_that_the_project_allows(path: Path) -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    dependencies = text.partition("\ndependencies = [\n")[2].partition("\n]\n")[0]
    requirements = map(Requirement, re.findall(r'^    "(.+)",$', dependencies, re.MULTILINE))
    allowed = {requirement.name: requirement.specifier for requirement in requirements}
    pinned = pins(path)
    assert {name for name, _ in pinned} == {"torch", "torchvision", "ray"}
    for name in ("torch", "torchvision", "ray"):
        versions = {Version(version) for package, version in pinned if package == name}
        assert all(allowed[name].contains(version) for version in versions)
        assert len({version.public for version in versions}) == 1, "nodes may differ in the build, not in the version"
    builds = {Version(version).local for name, version in pinned if name != "ray"}
    # The Dockerfile takes the build as an argument; its CPU image has one of its own.
    assert builds == ({None, CUDA_12.removeprefix("+")} if path != DOCKERFILE else {None})


def pins(path: Path) -> list[tuple[str, str]]:
    """(package, version) of all that is installed in one version alone, as an argument of the Dockerfile or not."""
    text = path.read_text(encoding="utf-8")
    arguments = re.findall(r"^ARG (TORCH|TORCHVISION|RAY)=(\S+)$", text, re.MULTILINE)
    return [
        *re.findall(r"\b(torch|torchvision|ray)==([\w.+]+)", text),
        *((name.lower(), version) for name, version in arguments),
    ]


def test_images_and_nodes_have_the_same_versions() -> None:
    paths = (CLUSTER, ONPREM, DOCKERFILE)
    public = [{(name, Version(version).public) for name, version in pins(path)} for path in paths]
    assert public[0] == public[1] == public[2]
    assert len(public[0]) == 3


@pytest.mark.parametrize("path", MANIFESTS, ids=name_of)
def test_the_images_of_a_job_are_those_that_the_dockerfile_makes(path: Path) -> None:
    rays = manifest(path)["spec"]["rayClusterSpec"]
    pods = [group["template"]["spec"] for group in (rays["headGroupSpec"], *rays["workerGroupSpecs"])]
    images = {pod["containers"][0]["image"] for pod in pods}
    for text in (DOCKERFILE.read_text(encoding="utf-8"), path.read_text(encoding="utf-8")):
        built = dict(re.findall(r"docker build --target cuda (.*?)-t (registry\S+) \.", text))
        assert set(built.values()) == images
        assert {arguments.strip(): "12.6" in image for arguments, image in built.items()} == {
            "": False,
            f"--build-arg TORCH_BUILD={CUDA_12}": True,
        }


@pytest.mark.parametrize("path", MANIFESTS, ids=name_of)
def test_ray_versions_agree(path: Path) -> None:
    version = manifest(path)["spec"]["rayClusterSpec"]["rayVersion"]
    assert ("ray", version) in pins(DOCKERFILE)
    assert all(f"ray=={version} " in file.read_text(encoding="utf-8") for file in (CLUSTER, ONPREM))
