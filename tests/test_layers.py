"""The rooms stand in layers: no import circle, none upwards, and heavy libraries only where they belong.

Imports inside functions and under TYPE_CHECKING count as much as all others.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = (
    ("errors", "printing"),
    ("io",),
    ("method",),
    ("features",),
    ("datasets",),
    ("detectors", "encoders"),
    ("retrieval",),
    ("vectors",),
    ("reports",),
    ("workers",),
    ("stages",),
    ("cluster",),
    ("runs",),
    ("building", "diagnosis", "duplicates", "experiments", "exports", "queries", "simulation"),
    ("serving",),
    ("benchmarks",),
    ("miniature", "reproduction", "tuning"),
    ("api",),
)
"""Rooms of `pipeline`, the lowest first. A room may import those on the lines above its own, and nothing else."""
ON_RAY = {"building", "stages", "workers", "cluster", "runs", "serving", "tuning"}
"""Rooms that may import ray."""
MODEL_LIBRARIES = {"lavis", "open_clip", "timm", "transformers", "ultralytics"}
ON_MODELS = {"encoders", "detectors", "miniature", "benchmarks"}
"""Rooms that may import them; the last two train and time such models."""


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of `pipeline` and `jobs`, by its dotted name."""
    paths = sorted(path for top in ("pipeline", "jobs") for path in (ROOT / top).rglob("*.py"))
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths}
    return {name: ast.parse(path.read_text(encoding="utf-8")) for path, name in names.items()}


def imported(tree: ast.Module) -> Iterator[str]:
    """What a module imports, wherever in it: modules, and names that may be modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def imports() -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports. A name from a package counts as the package."""
    known = modules()
    found: dict[str, set[str]] = {name: set() for name in known}
    for name, tree in known.items():
        for target in imported(tree):
            module = target if target in known else target.rpartition(".")[0]
            if module in known and module != name:
                found[name].add(module)
    return found


def room(module: str) -> str:
    """The room of a module: the first part below `pipeline`, "" for the API itself, "jobs" for the commands."""
    top, _, below = module.partition(".")
    return "jobs" if top == "jobs" else below.partition(".")[0]


def circles() -> list[list[str]]:
    """Modules that import each other around a corner, by Tarjan's strongly connected components."""
    graph, order, low, stack, found = imports(), {}, {}, [], []

    def visit(module: str) -> None:
        order[module] = low[module] = len(order)
        stack.append(module)
        for target in sorted(graph[module]):
            if target not in order:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], order[target])
        if low[module] == order[module]:
            members = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(members) > 1:
                found.append(sorted(members))

    for module in graph:
        if module not in order:
            visit(module)
    return found


def test_every_room_has_a_layer() -> None:
    rooms = {room(module) for module in modules()} - {"", "jobs"}
    assert rooms <= {name for layer in LAYERS for name in layer}


def test_there_are_no_circles() -> None:
    assert circles() == []


def test_no_room_imports_a_higher_one_or_a_sibling() -> None:
    height = {name: number for number, layer in enumerate(LAYERS) for name in layer} | {"": 98, "jobs": 99}
    wrong = [
        f"{module} imports {target}"
        for module, targets in imports().items()
        for target in sorted(targets)
        if room(target) != room(module) and target != "pipeline" and height[room(target)] >= height[room(module)]
    ]
    assert wrong == []


def test_only_some_rooms_import_ray() -> None:
    assert [name for name, tree in modules().items() if room(name) not in ON_RAY and uses(tree, {"ray"})] == []


def test_only_some_rooms_import_model_libraries() -> None:
    wrong = [name for name, tree in modules().items() if room(name) not in ON_MODELS and uses(tree, MODEL_LIBRARIES)]
    assert wrong == []


def uses(tree: ast.Module, libraries: set[str]) -> bool:
    """Whether a module imports one of these."""
    return any(target.partition(".")[0] in libraries for target in imported(tree))


def test_commands_do_not_import_each_other() -> None:
    wrong = [
        f"{module} imports {target}"
        for module, targets in imports().items()
        for target in sorted(targets)
        if room(module) == room(target) == "jobs"
        and not target.startswith("jobs.cli")
        and not module.startswith("jobs.cli")
        and module != "jobs.__main__"
    ]
    assert wrong == []
