"""A host as a machine that Ray's launcher finds: reached by SSH, with a home of its own, and a made-up GPU.

Its software is that of this process, copied on write: what `pip` does there stays there. Nothing outside the network's
folder is written, and the real home of root is not to be seen from it.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from pipeline.cluster.ray_compat import ACCELERATOR
from tests.hosts.fake_gpu import FakeGpu, write_driver
from tests.hosts.namespaces import Host, Network

SSHD = "/usr/sbin/sshd"
SHARED = "/srv"
"""The same folder on all machines, as if by NFS."""
HOME = Path("/root")
KEY = HOME / ".ssh" / "qpert"


def missing() -> str | None:
    """What a machine needs and this one lacks, beside what hosts need."""
    absent = [tool for tool in (SSHD, "ssh", "ssh-keygen", "rsync", "bash") if shutil.which(tool) is None]
    return f"machines to be reached by SSH need {', '.join(absent)}" if absent else None


def make_key(network: Network) -> Path:
    """A pair of SSH keys for this network alone; every machine lets its owner in."""
    key = network.folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    return key


def furnish(network: Network, host: Host, key: Path, gpu: FakeGpu | None = None) -> Path:
    """Gives a host its own home, with the key, and a copy-on-write environment at ``~/venv``; returns the home."""
    home = network.folder / "machines" / host.name / "home"
    for folder in (home / ".ssh", home / ".config" / "pip", home.with_name("upper"), home.with_name("work")):
        folder.mkdir(parents=True)
    (network.folder / "shared").mkdir(exist_ok=True)
    shutil.copy(key, home / ".ssh" / KEY.name)
    shutil.copy(f"{key}.pub", home / ".ssh" / "authorized_keys")
    (home / "venv").symlink_to(sys.prefix)
    # No network, so no index: what is asked for must be there already.
    (home / ".config" / "pip" / "pip.conf").write_text("[global]\nno-index = true\nno-build-isolation = false\n")
    (home / ".bashrc").write_text("\n".join(_settings(home, gpu)) + "\n")
    copied = f"lowerdir={sys.prefix},upperdir={home.with_name('upper')},workdir={home.with_name('work')}"
    mounts = [["-t", "overlay", "overlay", "-o", copied, sys.prefix], ["--bind", network.folder / "shared", SHARED]]
    if Path(sys.base_prefix).is_relative_to(HOME):  # such as pyenv's
        python = home / Path(sys.base_prefix).relative_to(HOME)
        python.mkdir(parents=True)
        mounts.append(["--bind", sys.base_prefix, python])
    mounts.append(["--rbind", home, HOME])
    host.run(["sh", "-ec", "\n".join(shlex.join(["mount", *map(str, words)]) for words in mounts)])
    return home


def serve_ssh(network: Network, host: Host) -> subprocess.Popen[bytes]:
    """Starts an SSH server on a host that `furnish` has seen, with keys and a configuration of its own."""
    folder = network.folder / "machines" / host.name
    host_key, config, log = folder / "host_key", folder / "sshd_config", folder / "sshd.log"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", host_key], check=True)
    options = {"HostKey": host_key, "PidFile": "none", "UsePAM": "no", "PasswordAuthentication": "no"}
    options |= {"PermitRootLogin": "prohibit-password", "UseDNS": "no", "PrintMotd": "no"}
    config.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    host.run(["sh", "-ec", "mount -t tmpfs -o mode=755 tmpfs /run; mkdir /run/sshd"])
    with log.open("wb") as file:
        return host.popen([SSHD, "-D", "-e", "-f", config], stdout=file, stderr=file)


def _settings(home: Path, gpu: FakeGpu | None) -> list[str]:
    """What the machine's owner has in ``~/.bashrc``."""
    patience = "RAY_worker_register_timeout_seconds=300"  # on a busy machine
    settings = [f"export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0 {patience}"]
    if gpu is None:
        return settings
    write_driver(home / "fake", gpu)
    labels, resources = json.dumps({ACCELERATOR: gpu.label}), json.dumps({"GPU": 1})
    return [
        *settings,
        f"export PATH={HOME}/fake:$PATH PYTHONPATH={HOME}/fake",
        f"export RAY_OVERRIDE_LABELS='{labels}' RAY_OVERRIDE_RESOURCES='{resources}'",
    ]


def environment() -> dict[str, str]:
    """This process's environment without what is said about Ray and Python in it, for commands on such a machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHON", "PIP_"))}
    return {**kept, "HOME": str(HOME)}
