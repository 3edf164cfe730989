"""What the tests of `cluster.yaml` and `kuberay/` share: the files, read and checked by those who take them.

`kuberay_schema.json` holds facts of KubeRay 1.7.0, from version v1 of its resource definition rayjobs.ray.io: of every
field that our manifests use, and of the fields above it, the keywords type, required, enum, minimum, maximum, pattern,
format, anyOf, items and additionalProperties. Fields that no manifest uses are left out. Where properties are listed,
any other is refused; Kubernetes would drop it without a word. A manifest that uses one more field needs it added there.
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
MANIFESTS = sorted((ROOT / "kuberay").glob("*.yaml"))
FILES = [CLUSTER, *MANIFESTS]
CUDA_12 = "+cu126"
A100, GTX_1080_TI, P100 = "A100", "GeForce-GTX-1080-Ti", "P100"
"""Ray's labels for the GPUs that `test_labels_are_those_that_ray_finds` names in full."""


def name_of(path: Path) -> str:
    return path.name


def spoken(path: Path) -> list[str]:
    """The lines of a file without the marks of comments, continued ones as one."""
    text = re.sub(r"^ *#+ ?", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return re.sub(r" *\\\n *", " ", text).splitlines()


def cluster() -> dict[str, Any]:
    return dict(yaml.safe_load(CLUSTER.read_text(encoding="utf-8")))


def manifest(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def put(tree: Any, way: str, value: Any) -> None:
    """Set what stands at the end of `way`, "a/0/b"."""
    *above, last = [int(part) if part.isdigit() else part for part in way.split("/")]
    for part in above:
        tree = tree[part]
    tree[last] = value


def checked_by_ray(config: dict[str, Any]) -> dict[str, Any]:
    """What the launcher makes of a file, by its own code; no cloud is asked."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared: dict[str, Any] = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def complaints_of_kuberay(job: dict[str, Any]) -> list[str]:
    schema = json.loads(Path(__file__).with_name("kuberay_schema.json").read_text(encoding="utf-8"))["schema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    return [f"{error.json_path}: {error.message}" for error in jsonschema.Draft202012Validator(schema).iter_errors(job)]


def checked_by_ray_start(words: list[str]) -> dict[str, Any]:
    """The options of a `ray start`, parsed by Ray and not run."""
    from ray.scripts.scripts import start

    return dict(start.make_context("start", list(words)).params)


def commands(path: Path) -> list[str]:
    return [found for line in spoken(path) for found in re.findall(r"python -m jobs .+", line)]


def config_of(command: str) -> Any:
    """The configuration that a command line comes to, by the project's own parser."""
    python, m, jobs, verb, *words = shlex.split(command)
    assert (python, m, jobs) == ("python", "-m", "jobs")
    return parse(importlib.import_module(f"jobs.{verb}").Config, words, verb=verb)
