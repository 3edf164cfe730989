"""Tries a Ray session in a process that has none yet, and prints what was found as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

import psutil

from pipeline.diagnosis import listening
from pipeline.diagnosis.sessions import try_session


def main() -> None:
    """Looks at the processes of this session alone, whatever else runs on the machine."""
    everything = listening._ray_processes

    def of_this_session() -> list[psutil.Process]:
        ours = {process.pid for process in psutil.Process().children(recursive=True)}
        return [process for process in everything() if process.pid in ours]

    listening._ray_processes = of_this_session
    print(json.dumps([asdict(finding) for finding in try_session()]))


if __name__ == "__main__":
    main()
