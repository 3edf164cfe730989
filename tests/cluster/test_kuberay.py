"""`kuberay/`: the manifests satisfy KubeRay's schema and fit this project."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.ray_compat import ACCELERATOR
from tests.cluster.files import (
    A100,
    DOCKERFILE,
    GTX_1080_TI,
    MANIFESTS,
    checked_by_ray_start,
    config_of,
    kuberay_errors,
    manifest,
    name_of,
    put,
)


def test_manifests_exist() -> None:
    assert MANIFESTS


@pytest.mark.parametrize("path", MANIFESTS, ids=name_of)
def test_kuberay_accepts_the_job(path: Path) -> None:
    assert kuberay_errors(manifest(path)) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("spec/shutdownAfterJobFinished", True),
        ("spec/shutdownAfterJobFinishes", "yes"),
        ("spec/backoffLimit", "3"),
        ("spec/rayClusterSpec/authOptions/mode", "tokens"),
        ("spec/rayClusterSpec/rayVersion", 2.60),
        ("spec/rayClusterSpec/headGroupSpec/rayStartParams/num-cpus", 0),
        ("spec/rayClusterSpec/workerGroupSpecs/0/label", {}),
        ("spec/rayClusterSpec/workerGroupSpecs/0/replicas", "2"),
        ("spec/rayClusterSpec/workerGroupSpecs/1/template/spec/nodeSelectors", {}),
        ("spec/rayClusterSpec/workerGroupSpecs/1/template/spec/containers/0/resources/limits/memory", "24 GB"),
        ("spec/rayClusterSpec/workerGroupSpecs/1", {"groupName": "empty"}),
        ("spec/rayClusterSpec/headGroupSpec/template/spec/securityContext/runAsNotRoot", True),
        ("spec/rayClusterSpec/headGroupSpec/template/spec/containers/0/securityContext/capabilities", ["ALL"]),
        ("spec/submitterPodTemplate/spec/containers/0/securityContext/readOnlyRootFileSystem", True),
        ("spec/preRunningDeadlineSeconds", 0),
    ],
)
@pytest.mark.parametrize("path", MANIFESTS, ids=name_of)
def test_kuberay_rejects_mistakes_in_the_job(path: Path, field: str, value: Any) -> None:
    job = manifest(path)
    put(job, field, value)
    assert kuberay_errors(job) != []


@pytest.mark.parametrize("path", MANIFESTS, ids=name_of)
def test_the_job_fits_the_project(path: Path) -> None:
    spec = manifest(path)["spec"]
    rays = spec["rayClusterSpec"]
    groups = {group["labels"][ACCELERATOR]: group for group in rays["workerGroupSpecs"]}
    config = config_of(spec["entrypoint"])
    assert list(groups) == config.accelerators == [A100, GTX_1080_TI]
    for kind, group in groups.items():
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert group["replicas"] > 0, "a run uses the GPUs that exist when it starts"
        pod = group["template"]["spec"]
        assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert pod["nodeSelector"]["nvidia.com/gpu.product"].startswith(f"NVIDIA-{kind}")
        assert ("12.6" in pod["containers"][0]["image"]) is (kind == GTX_1080_TI)
    # KubeRay rejects rayStartParams["labels"], since labels have a field of their own.
    starts = [group.get("rayStartParams", {}) for group in (rays["headGroupSpec"], *groups.values())]
    assert all("labels" not in start for start in starts)
    for start in starts:
        checked_by_ray_start([f"--{name}" if value == "true" else f"--{name}={value}" for name, value in start.items()])
    assert rays["authOptions"] == {"mode": "token"}
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"] is True


@pytest.mark.parametrize("path", MANIFESTS, ids=name_of)
def test_every_pod_sees_photos_and_features(path: Path) -> None:
    spec = manifest(path)["spec"]
    config = config_of(spec["entrypoint"])
    for group in (spec["rayClusterSpec"]["headGroupSpec"], *spec["rayClusterSpec"]["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        for folder in (config.source, config.out):
            assert any(folder.startswith(f"{path}/") and name in volumes for path, name in mounts.items())


@pytest.mark.parametrize("path", MANIFESTS, ids=name_of)
def test_no_pod_has_more_rights_than_the_standard_restricted_allows(path: Path) -> None:
    """Of the Pod Security Standards; for all containers, those that KubeRay adds included."""
    spec = manifest(path)["spec"]
    rays = spec["rayClusterSpec"]
    groups = [rays["headGroupSpec"], *rays["workerGroupSpecs"]]
    pods = [template["spec"] for template in (*(group["template"] for group in groups), spec["submitterPodTemplate"])]
    user = re.search(r"useradd .*--uid (\d+) --gid users", DOCKERFILE.read_text(encoding="utf-8"))
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert user is not None
        assert pod["securityContext"]["runAsUser"] == int(user[1])
        assert {name for volume in pod["volumes"] for name in volume} <= {"name", "emptyDir", "persistentVolumeClaim"}
    for container in (*(container for pod in pods for container in pod["containers"]), rays["autoscalerOptions"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
        assert {"name": "HOME", "value": "/tmp"} in container["env"]


@pytest.mark.parametrize("path", MANIFESTS, ids=name_of)
def test_only_the_head_has_the_token_of_a_service_account(path: Path) -> None:
    """The autoscaler beside it talks to Kubernetes; nobody else does."""
    spec = manifest(path)["spec"]
    rays = spec["rayClusterSpec"]
    assert "automountServiceAccountToken" not in rays["headGroupSpec"]["template"]["spec"]
    others = [*(group["template"] for group in rays["workerGroupSpecs"]), spec["submitterPodTemplate"]]
    assert all(template["spec"]["automountServiceAccountToken"] is False for template in others)
