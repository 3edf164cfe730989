"""A run over three hosts, of which one dies with its actors."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.features.feature_set import FeatureSet
from tests.end_to_end.chaos_verbs import Index
from tests.hosts.namespaces import Network, missing
from tests.hosts.ray_hosts import RayHosts

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(missing() is not None, reason=str(missing()))]


@pytest.mark.ray
@pytest.mark.slow
def test_a_host_that_dies_with_its_actors_costs_no_photo_and_doubles_none(tmp_path: Path) -> None:
    with Network() as network, (tmp_path / "log").open("w") as log:
        cluster = RayHosts(network)
        cluster.start_head(jobs=False)
        workers = [network.add(), network.add()]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda host: cluster.start(host, 2), workers))
        verb, out = Index(network.folder, 64), network.folder / "features"
        words = [sys.executable, "-m", "jobs", *verb.words(out), "--address", cluster.address]
        driver = cluster.head.popen(words, cluster.env, stdout=log, stderr=subprocess.STDOUT)
        while not verb.done(out) and driver.poll() is None:
            time.sleep(0.1)
        done = verb.done(out)
        workers[1].kill()
        assert driver.wait(240) == 0, (tmp_path / "log").read_text()[-3000:]
        assert 0 < done < 64
        assert Counter(FeatureSet.open(str(out)).ids) == dict.fromkeys(verb.expected, 1)
