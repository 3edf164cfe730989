"""Starts two sessions, one after the other, and prints as JSON who can reach them; a script that a test runs."""

from __future__ import annotations

import json
import os
import stat
import urllib.request

import psutil
import ray

from pipeline.cluster.session import ray_session


def main() -> None:
    environment = dict(os.environ)
    sessions = []
    for _ in range(2):
        with ray_session(cpus=2):
            sessions.append(_inspect())
    left = [name for name in os.environ if name.startswith("RAY_AUTH") and name not in environment]
    print(json.dumps({"sessions": sessions, "left": left}))


def _inspect() -> dict[str, object]:
    @ray.remote
    class Actor:
        def token(self) -> str:
            return os.environ["RAY_AUTH_TOKEN"]

    actor = Actor.remote()
    token = ray.get(actor.token.remote())
    session = ray.get_runtime_context().get_session_name()
    driver = psutil.Process()
    listening = [
        (_role(process), connection.laddr.ip, connection.laddr.port)
        for process in [driver, *driver.children(recursive=True)]
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    folder = os.path.dirname(ray._private.worker._global_node.get_temp_dir_path())
    return {
        "session": session,
        "token": token,
        "listening": listening,
        "open": sorted({role for role, _, port in listening if _answers(port)}),
        "mode": stat.S_IMODE(os.stat(folder).st_mode),
        "folder": folder,
    }


def _role(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    return next((role for role in ("monitor.py", "dashboard.py") if f"/{role}" in words), process.name())


def _answers(port: int) -> bool:
    """Whether a web server at `port` answers requests without a token."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            return bool(answer.status == 200)
    except Exception:  # a server of another protocol may answer anything
        return False


if __name__ == "__main__":
    main()
