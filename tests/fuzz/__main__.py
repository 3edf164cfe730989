"""`python -m tests.fuzz TARGET --minutes 10`: runs a target for long, guided by coverage where atheris is installed."""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path

from tests.fuzz import mutation

TARGETS = ("annotations", "lists", "manifests", "tables", "tars")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--corpus", help="folder in which inputs are kept that reach new code")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    corpus = Path(arguments.corpus or tempfile.mkdtemp(prefix="corpus-"))
    corpus.mkdir(parents=True, exist_ok=True)
    try:
        import atheris
    except ImportError:
        _blindly(arguments.target, arguments.minutes)
        return
    with atheris.instrument_imports(include=["pipeline"]):
        target = importlib.import_module(f"tests.fuzz.{arguments.target}")
    for number, seed in enumerate(target.SEEDS):
        (corpus / f"seed-{number}").write_bytes(seed)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        draw = random.Random(seed)
        if draw.random() < 0.5:
            return bytes(atheris.Mutate(data, most))[:most]
        return mutation.mutate(data, draw)[:most]

    options = [f"-max_total_time={int(arguments.minutes * 60)}", "-timeout=60", "-rss_limit_mb=4096", "-max_len=65536"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.run_one, custom_mutator=mutate)
    atheris.Fuzz()


def _blindly(name: str, minutes: float) -> None:
    target = importlib.import_module(f"tests.fuzz.{name}")
    end, count = time.monotonic() + minutes * 60, 0
    while time.monotonic() < end:
        draw = random.Random(count)
        data = mutation.mutate(draw.choice(target.SEEDS), draw)
        try:
            target.run_one(data)
        except BaseException:
            path = Path(tempfile.gettempdir(), f"crash-{name}-{count}")
            path.write_bytes(data)
            print(f"failed with {path}")
            raise
        count += 1
    print(f"Done {count} runs in {minutes * 60:.0f} second(s)")


if __name__ == "__main__":
    main()
