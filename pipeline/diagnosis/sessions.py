"""Whether a Ray session can run here: its folder, the cluster that is named, and a session as a trial."""

from __future__ import annotations

import os
import time

from pipeline.cluster.local_ray import SHARED_MEMORY, object_store, session_parent
from pipeline.cluster.ray_compat import total_and_free
from pipeline.cluster.session import named_cluster, ray_session
from pipeline.diagnosis.finding import Finding
from pipeline.diagnosis.listening import check_listeners, ray_listeners
from pipeline.errors import QpertError

TOPIC = "Ray"


def check_sessions() -> list[Finding]:
    """Where a session would be, without starting one. A cluster that is named must answer."""
    try:
        folder = session_parent()
    except QpertError as error:
        return [Finding(TOPIC, "folder of sessions", "problem", str(error), "name a folder with room in RAY_TMPDIR")]
    findings = [Finding(TOPIC, "folder of sessions", "ok", folder), check_shared_memory(folder)]
    address = os.environ.get("RAY_ADDRESS")
    try:
        cluster = named_cluster(None)
    except QpertError as error:
        return [*findings, Finding(TOPIC, "RAY_ADDRESS", "problem", str(error), "unset RAY_ADDRESS")]
    said = f"{address} answers" if cluster else "not set; runs start Ray here, on free ports of the loopback interface"
    return [*findings, Finding(TOPIC, "RAY_ADDRESS", "ok", said)]


def check_shared_memory(folder: str) -> Finding:
    """Where the objects of a session would be kept.

    Args:
        folder: that of the session, which is used if shared memory is too small.
    """
    try:
        place, size = object_store(folder)
    except QpertError as error:
        return Finding(TOPIC, SHARED_MEMORY, "problem", str(error), "docker run --shm-size=2g, or RAY_TMPDIR=FOLDER")
    if place == SHARED_MEMORY:
        return Finding(TOPIC, SHARED_MEMORY, "ok", f"{size / 1e9:,.1f} GB of it for Ray's objects")
    said = f"too small, so that Ray's objects are kept in files below {place}, which may be slower"
    return Finding(TOPIC, SHARED_MEMORY, "warning", said, "docker run --shm-size=2g")


def try_session() -> list[Finding]:
    """Starts a session as a run does, looks at what it listens on, and stops it.

    Ray's own limits hold: three attempts, of some two minutes each where Ray hangs.
    """
    started = time.monotonic()
    try:
        with ray_session(cpus=2):
            seconds = time.monotonic() - started
            resources, _ = total_and_free()
            listeners = check_listeners(ray_listeners())
    except QpertError as error:
        return [Finding(TOPIC, "session", "problem", str(error), "qpert index --verbose shows Ray's own messages")]
    said = f"started in {seconds:.1f} s, with {resources.get('CPU', 0):g} CPUs"
    return [Finding(TOPIC, "session", "ok", said), *listeners]
