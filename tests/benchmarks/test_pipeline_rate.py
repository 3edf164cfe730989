from __future__ import annotations

from collections import Counter

from pipeline.benchmarks.pipeline_rate import PipelineRates, busy_shares
from pipeline.runs.run_stats import RunStats


def test_the_share_of_time_at_work_is_by_actor() -> None:
    stats = RunStats(started=100.0, history=[(105.0, 10), (110.0, 40)], seconds={"detect": 9.0, "encode": 10.0})
    stats.devices = {"detect": Counter({"cpu": 1}), "encode": Counter({"cuda:A": 1, "cuda:B": 1})}
    assert busy_shares(stats) == {"detect": 0.9, "encode": 0.5}
    assert busy_shares(RunStats()) == {}


def test_where_it_waits_is_said() -> None:
    rates = PipelineRates(
        64, "coca", "miniature", 2, 10.0, 10.0, 9.0, 8.0, 30.0, {"detect": 0.9, "encode": 0.5}, {0: 71.6}
    )
    said = str(rates).splitlines()
    assert said[-2:] == ["  actors at work: detect 90%, encode 50%", "  GPU 0 at work: 72 %"]
    assert rates.ratio == 0.9
