"""A host as a pod: the image's files, read-only, a user without rights, and writable only what is mounted.

The image is made as the Dockerfile makes it, the wheel on top of the packages, which are those installed here. Pods see
it through a root of their own. What a container runtime adds and this cannot: cgroups and the seccomp profile.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hosts.namespaces import ROOT, Host, Network

USER, GROUP = 1000, 100
"""As in the Dockerfile."""
FILES = ("usr", "etc")
LINKS = ("bin", "sbin", "lib", "lib64")


def build_image(network: Network) -> Path:
    """The layer that holds qpert, as a wheel installed over the packages of this environment."""
    folder = network.folder / "image"
    for name in ("layer", "work", "source"):
        (folder / name).mkdir(parents=True)
    copy = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    for name in " ".join(copy).split():
        subprocess.run(["cp", "-a", ROOT / name, folder / "source"], check=True)
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "wheels", folder / "source"]
    subprocess.run([sys.executable, *build], check=True, capture_output=True)
    (wheel,) = (folder / "wheels").glob("*.whl")
    host = network.add("image")
    layers = f"lowerdir={sys.prefix},upperdir={folder / 'layer'},workdir={folder / 'work'}"
    host.run(["mount", "-t", "overlay", "overlay", "-o", layers, sys.prefix])
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--force-reinstall", wheel]
    host.run([sys.executable, *install], cwd="/", env={"PYTHONPATH": ""})
    host.kill()
    return folder / "layer"


@dataclass(frozen=True)
class Pod:
    """A host whose commands see the image alone."""

    host: Host
    root: Path
    environment: Mapping[str, str]

    def words(self, *command: str) -> list[str]:
        """A command of its container, with the rights that the manifest's securityContext leaves."""
        variables = {"PATH": f"{sys.prefix}/bin:/usr/bin:/bin", "PYTHONUNBUFFERED": "1", **self.environment}
        inside = ["chroot", str(self.root), "env", "-i", "--chdir=/data", *(f"{n}={v}" for n, v in variables.items())]
        rights = [f"--reuid={USER}", f"--regid={GROUP}", f"--groups={GROUP}", "--no-new-privs"]
        return [*inside, "setpriv", *rights, "--bounding-set=-all", "--inh-caps=-all", "--", *command]

    def popen(self, *command: str, **how: Any) -> subprocess.Popen[Any]:
        """Starts a command in it."""
        return self.host.popen(self.words(*command), **how)

    def run(self, *command: str, timeout: float = 120) -> str:
        """What a command says in it."""
        return self.host.run(self.words(*command), timeout)


def start_pod(
    network: Network,
    name: str,
    layer: Path,
    environment: Mapping[str, str],
    driver: Path | None = None,
    logs: bool = False,
) -> Pod:
    """A new pod with the volumes of the manifest: /data for all, /tmp of its own; and what KubeRay adds for Ray.

    Args:
        network: its cluster.
        name: of the pod, by which the others find it.
        layer: from `build_image`.
        environment: of its container.
        driver: a folder of `fake_gpu.write_driver`, for a node with a GPU.
        logs: /tmp/ray is a volume too, which a head shares with its autoscaler.
    """
    host, root = network.add(name), network.folder / "pods" / name
    for folder in (root, network.folder / "data"):
        folder.mkdir(parents=True, exist_ok=True)
    users = network.folder / "passwd"
    users.write_text(f"root:x:0:0::/root:/bin/bash\nqpert:x:{USER}:{GROUP}::/home/qpert:/bin/bash\n")
    python, environment_folder = (Path(path).relative_to("/") for path in (sys.base_prefix, sys.prefix))
    made = ["proc", "dev", "sys", "tmp", "data", "opt/driver", "home/qpert", *FILES, python, environment_folder]
    mounts: list[list[str | Path]] = [["-t", "tmpfs", "-o", "mode=755", "tmpfs", root]]
    volumes: list[list[str | Path]] = [["--rbind", f"/{name}", root / name] for name in ("proc", "dev", "etc")]
    volumes += [["--bind", "-o", "ro", f"/{name}", root / name] for name in ("usr", "sys", python)]
    volumes += [["--bind", users, root / "etc/passwd"]]
    # A home that others may not look into, such as root's, would hide Python from the user.
    volumes += [["-t", "overlay", "-o", f"lowerdir={layer}:{sys.prefix}", "overlay", root / environment_folder]]
    empty = ["-t", "tmpfs", "-o", f"mode=2777,gid={GROUP}", "tmpfs"]  # an emptyDir, by fsGroup
    volumes += [[*empty, root / "tmp"]]
    volumes += [["--bind", network.folder / "data", root / "data"]]
    if driver:
        volumes += [["--bind", "-o", "ro", driver, root / "opt/driver"]]
        environment = {**environment, "PYTHONPATH": "/opt/driver"}
    steps = [["mount", *mounts[0]], ["mkdir", "-p", *(root / name for name in made)]]
    steps += [["ln", "-s", f"usr/{name}", root / name] for name in LINKS]
    steps += [["mount", *volume] for volume in volumes]
    steps += [["mkdir", root / "tmp/ray"], ["mount", *empty, root / "tmp/ray"]] if logs else []
    steps += [["chown", f"root:{GROUP}", network.folder / "data"], ["chmod", "2775", network.folder / "data"]]
    steps += [["mount", "-o", "remount,ro", root]]
    host.run(["sh", "-ec", "\n".join(shlex.join(map(str, step)) for step in steps)])
    if driver:
        return Pod(host, root, {**environment, "PATH": f"/opt/driver:{sys.prefix}/bin:/usr/bin:/bin"})
    return Pod(host, root, environment)
