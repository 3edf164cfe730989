"""Shared by the tests of the launcher's files, the Dockerfile and `kuberay/`: these, parsed and checked by their users.

`kuberay_schema.json` holds facts of KubeRay 1.7.0, from version v1 of its resource definition rayjobs.ray.io: of every
field that our manifests use, and of the fields above it, the keywords type, required, enum, minimum, maximum, pattern,
format, anyOf, items and additionalProperties. Fields that no manifest uses are left out. Where properties are listed,
any other is refused; Kubernetes would drop it silently. A manifest that uses a further field needs it added there.
"""

from __future__ import annotations

import copy
import importlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from jobs.cli.parsing import parse

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster.yaml"
ONPREM = ROOT / "cluster-onprem.yaml"
DOCKERFILE = ROOT / "Dockerfile"
MANIFESTS = sorted((ROOT / "kuberay").glob("*.yaml"))
FILES = [CLUSTER, ONPREM, *MANIFESTS]
CUDA_12 = "+cu126"
A100, GTX_1080_TI, P100 = "A100", "GeForce-GTX-1080-Ti", "P100"
"""Ray's labels for the GPUs whose full names are in `test_gpu_labels_are_those_that_ray_derives`."""


def name_of(path: Path) -> str:
    return path.name


def uncommented_lines(path: Path) -> list[str]:
    """The lines of a file with comments uncommented and continued lines joined."""
    text = re.sub(r"^ *#+ ?", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return re.sub(r" *\\\n *", " ", text).splitlines()


def cluster(path: Path = CLUSTER) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def manifest(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def put(tree: Any, path: str, value: Any) -> None:
    """Sets the value at a path such as "a/0/b"."""
    *above, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    for part in above:
        tree = tree[part]
    tree[last] = value


def checked_by_ray(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration as Ray's launcher prepares and validates it, without contacting a cloud."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared: dict[str, Any] = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def kuberay_errors(job: dict[str, Any]) -> list[str]:
    schema = json.loads(Path(__file__).with_name("kuberay_schema.json").read_text(encoding="utf-8"))["schema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    return [f"{error.json_path}: {error.message}" for error in jsonschema.Draft202012Validator(schema).iter_errors(job)]


def checked_by_ray_start(words: list[str]) -> dict[str, Any]:
    """The options of a `ray start` command, as Ray parses them; nothing is run."""
    from ray.scripts.scripts import start

    return dict(start.make_context("start", list(words)).params)


def commands(path: Path) -> list[str]:
    return [command for line in uncommented_lines(path) for command in re.findall(r"python -m jobs .+", line)]


def config_of(command: str) -> Any:
    """The configuration that the project's own parser makes of a command line."""
    python, m, jobs, verb, *words = shlex.split(command)
    assert (python, m, jobs) == ("python", "-m", "jobs")
    return parse(importlib.import_module(f"jobs.{verb}").Config, words, verb=verb)
