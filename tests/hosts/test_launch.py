"""`ray up` to `ray down` with `cluster-onprem.yaml`, on machines that are hosts of their own; see `launch.py`."""

from __future__ import annotations

import os

import pytest

from tests.hosts import namespaces, ssh_machine
from tests.hosts.launch import installed, machines, use

WHY_NOT = namespaces.missing() or ssh_machine.missing()


def test_setup_commands_ask_for_the_torch_that_is_there() -> None:
    import torch
    import torchvision

    here = f"torch=={torch.__version__.partition('+')[0]} torchvision=={torchvision.__version__.partition('+')[0]}"
    asked = installed("pip install torch==2.0.1+cu126 torchvision==0.1.2+cu126 ray==2.60.0")
    assert asked.replace("+cpu", "") == f"pip install {here} ray==2.60.0"


@pytest.mark.cluster
@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif("QPERT_HOSTS" not in os.environ, reason="takes minutes on two cores: set QPERT_HOSTS=1")
@pytest.mark.timeout(900)
@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
def test_a_cluster_of_ones_own_machines_comes_up_works_and_goes_down() -> None:
    with machines(pip=False) as cluster:
        cluster.up()
        found = use(cluster, 24)
        cluster.launcher("down", "--yes")
        assert cluster.services(cluster.head) == 0
    assert (found["photos"], found["unique"], found["failed"]) == (24, 24, 0), cluster.said[-1]
    # So few photos may all be done before the second model is loaded.
    assert {*found["devices"]} <= {"cuda:A100", "cuda:GeForce-GTX-1080-Ti"}
