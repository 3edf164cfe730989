"""What KubeRay 1.7.0 makes of a RayJob: the commands, environments and health checks of its pods.

Facts of its source (ray-operator/controllers/ray/common/pod.go and job.go), for what our manifests use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GCS, DASHBOARD, AGENT, METRICS = 6379, 8265, 52365, 8080
BASH = ("/bin/bash", "-c", "--")
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
HEALTH = "/api/healthz"
"""Asked by the kubelet on the agent's port, for readiness and liveness, since Ray 2.53."""


def container_of(group: Mapping[str, Any]) -> dict[str, Any]:
    """Ray's container of a group of pods."""
    return dict(group["template"]["spec"]["containers"][0])


def start_command(group: Mapping[str, Any], head: str | None = None) -> str:
    """What the Ray container of a pod runs.

    Args:
        group: a workerGroupSpec, or the headGroupSpec.
        head: name of the head's service; None for the head itself.
    """
    limits = container_of(group)["resources"]["limits"]
    options = dict(group["rayStartParams"])
    if labels := group.get("labels"):
        options["labels"] = ",".join(f"{name}={labels[name]}" for name in sorted(labels))
    if head is None:
        options |= {"no-monitor": "true", "dashboard-host": options.get("dashboard-host", "0.0.0.0")}
    else:
        options.setdefault("address", f"{head}:{GCS}")
    options |= {"block": "true"}
    options.setdefault("metrics-export-port", str(METRICS))
    options.setdefault("dashboard-agent-listen-port", str(AGENT))
    options.setdefault("num-cpus", limits["cpu"])
    options.setdefault("memory", str(int(limits["memory"][:-2]) * UNITS[limits["memory"][-2:]]))
    if "nvidia.com/gpu" in limits:
        options.setdefault("num-gpus", limits["nvidia.com/gpu"])
    flags = [f" --{name} " if options[name] == "true" else f" --{name}={options[name]} " for name in sorted(options)]
    start = "ray start --head " if head is None else "ray start "
    return f"ulimit -n ${{RAY_START_ULIMIT_OPEN_FILES:-65536}}; {start}{''.join(flags)}"


def environment(group: Mapping[str, Any], pod: str, token: str, head: str | None = None) -> dict[str, str]:
    """The variables of a Ray container, beside those of its image."""
    given = {each["name"]: each["value"] for each in container_of(group).get("env", [])}
    added = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_CLUSTER_NAME": "qpert-index",
        "RAY_CLUSTER_NAMESPACE": "default",
        "RAY_CLOUD_INSTANCE_ID": pod,
        "RAY_NODE_TYPE_NAME": group.get("groupName", "headgroup"),
        "RAY_PORT": str(GCS),
        "RAY_ADDRESS": f"{head or '127.0.0.1'}:{GCS}",
        "RAY_USAGE_STATS_KUBERAY_IN_USE": "1",
        "RAY_DASHBOARD_ENABLE_K8S_DISK_USAGE": "1",
    }
    if head is None:
        return {**given, **added, "RAY_enable_autoscaler_v2": "true"}
    return {**given, **added, "FQ_RAY_IP": head, "RAY_IP": head}


def wait_command(head: str) -> str:
    """What a worker's first container does before Ray starts, but for its messages."""
    return f"until ray health-check --address {head}:{GCS} > /dev/null 2>&1; do sleep 5; done"


def submit_command(entrypoint: str, head: str, job: str) -> str:
    """What the submitter's container runs, by ``/bin/bash -ce --``, in submissionMode K8sJobMode."""
    address = f"http://{head}:{DASHBOARD}"
    healthy = (
        f"python -c \"import urllib.request; r=urllib.request.urlopen('{address}/api/gcs_healthz', timeout=10);"
        " exit(0 if b'success' in r.read() else 1)\""
    )
    return (
        f"until {healthy} >/dev/null 2>&1 ; do echo waiting ; sleep 2 ; done ;"
        f" if ! ray job status --address {address} {job} >/dev/null 2>&1 ; then"
        f" ray job submit --address {address} --no-wait --submission-id {job} -- {entrypoint.strip()} ; fi ;"
        f" ray job logs --address {address} --follow {job}"
    )
